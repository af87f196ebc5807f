"""Import a key: stage it, and where asked make it the first active one, or store nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from django_cybs_jwt.exceptions import CybsError, InvalidTransition, TooManyImports
from django_cybs_jwt.models import Credential, KeyEvent, Organization
from django_cybs_jwt.services import audit, keys, rotation
from django_cybs_jwt.services.inspection import Inspection
from django_cybs_jwt.tracebacks import forgetful

ACTION: Final = "import"
MOST_AN_HOUR: Final = 30
HOUR: Final = timedelta(hours=1)


@contextmanager
def looking(organization: Organization, *, actor: str, now: datetime) -> Iterator[None]:
    """Look into what somebody brings; what is refused there is audited.

    What it then becomes is `import_key`'s to audit, so that every import is one row.
    """
    try:
        yield
    except CybsError as error:
        named = str(organization)
        audit.refused(ACTION, type(error), actor=actor, organization=named, now=now)
        raise


@contextmanager
def by_hand(organization: Organization, *, actor: str, now: datetime) -> Iterator[None]:
    """The same of what a person uploads: thirty an hour at most."""
    with looking(organization, actor=actor, now=now):
        _check_pace(actor, now)
        yield


def _check_pace(actor: str, now: datetime) -> None:
    uploads = KeyEvent.objects.filter(actor=actor, action=ACTION, at__gt=now - HOUR)
    if uploads.exclude(reason=TooManyImports.__name__).count() >= MOST_AN_HOUR:
        raise TooManyImports(
            "{most} uploads within an hour. Wait, or use `manage.py cybs_import`.",
            page="{most} uploads within an hour. Wait an hour and go on.",
            most=MOST_AN_HOUR,
        )


@forgetful
def import_key(
    organization: Organization,
    inspection: Inspection,
    *,
    actor: str,
    now: datetime,
    slot: str = "",
    covers: str | None = None,
    activate: bool = False,
) -> Credential:
    """Store *inspection* as STAGED, or with *activate* as the slot's first ACTIVE key.

    One transaction: a refused activation stores nothing, so the same file can be tried again.
    The network is never used.
    """
    with (
        audit.denials(ACTION, actor=actor, organization=organization, now=now),
        transaction.atomic(),
    ):
        credential = keys.stage(
            organization, inspection, actor=actor, now=now, slot=slot, covers=covers
        )
        if activate:
            _check_begun(credential, now)
            credential = rotation.activate(credential, actor=actor, now=now)
    return credential


def _check_begun(credential: Credential, now: datetime) -> None:
    if credential.not_before is not None and credential.not_before > now:
        raise InvalidTransition(
            "{key_id} begins on {begins:%Y-%m-%d}: nothing was stored. Import it without "
            "--activate; `manage.py cybs_rotate` takes it into use then.",
            page="{key_id} begins on {begins:%Y-%m-%d}: nothing was stored. Import it without "
            "activating it; it is taken into use then.",
            key_id=credential.key_id,
            begins=credential.not_before,
        )
