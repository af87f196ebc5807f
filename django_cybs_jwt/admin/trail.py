"""From the page of a row into the audit trail: what happened to it, and where that is listed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest

from django_cybs_jwt.admin.requests import scope_of
from django_cybs_jwt.models import KeyEvent

if TYPE_CHECKING:
    from django_cybs_jwt.admin.base import CybsAdmin

NEWEST: Final = 20
_DIGESTS: Final = re.compile(r"\bsealed_\w+=\S+\s*")
"""What an import notes for machines; the event's own page has it."""


def url(admin: CybsAdmin, request: HttpRequest, row: Any) -> str:
    """The audit events of *row*; empty where there are none, or where they may not be seen."""
    named = admin.audited(row)
    if not named or not _may(request):
        return ""
    return f"{admin.url_of(KeyEvent, 'changelist')}?{urlencode(named)}"


def newest(admin: CybsAdmin, request: HttpRequest, row: Any) -> list[KeyEvent]:
    """The last of them, for a page whose rows are named by columns alone."""
    if not _may(request):
        return []
    found = KeyEvent.objects.filter(**admin.audited(row)).order_by("-seq")[:NEWEST]
    return told(request, found)


def redacted(request: HttpRequest, events: Iterable[KeyEvent]) -> list[KeyEvent]:
    """The same rows, whose reasons name nobody that the visitor does not see."""
    rows = list(events)
    reasons = scope_of(request).redact(event.reason for event in rows)
    for event, reason in zip(rows, reasons, strict=True):
        event.reason = reason
    return rows


def told(request: HttpRequest, events: Iterable[KeyEvent]) -> list[KeyEvent]:
    """As `redacted`, with reasons that a person reads in a row."""
    rows = redacted(request, events)
    for event in rows:
        event.reason = _DIGESTS.sub("", event.reason)
    return rows


def _may(request: HttpRequest) -> bool:
    return request.user.has_perm("cybs_jwt.view_keyevent")
