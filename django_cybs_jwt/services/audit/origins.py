"""Every key and every organization began with a row of the chain: where it is gone, so is more.

A chain that was emptied, or cut off together with its head, is whole by itself. What the other
tables hold gives it away, unless that was cut off as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django_cybs_jwt.models import Credential, KeyEvent, Organization
from django_cybs_jwt.services import keyset
from django_cybs_jwt.texts import Text

_CURE: Final = Text("the chain was cut off or emptied, or it came in past this app")


def missing() -> Iterator[str]:
    """A sentence for each key without the row of its import, each organization without its own."""
    yield from _keys()
    yield from _organizations()


def _keys() -> Iterator[str]:
    rows = Credential.objects.select_related("organization").only(
        "key_id", "organization__org_id", "organization__host"
    )
    done = KeyEvent.objects.filter(action="import", outcome=KeyEvent.Outcome.DONE).order_by()
    for page in keyset.pages(rows):
        known = done.filter(credential__in=[row.pk for row in page])
        imported = set(known.values_list("credential", flat=True))
        for row in page:
            if row.pk not in imported:
                yield Text(
                    "Key {key_id} of {organization} has no row of its import: {cure}.",
                    key_id=row.key_id,
                    organization=row.organization,
                    cure=_CURE,
                )


def _organizations() -> Iterator[str]:
    first = KeyEvent.objects.order_by("seq").first()
    if first is None:
        return  # they may have come before the ring, and so before the chain
    done = KeyEvent.objects.filter(action="add", outcome=KeyEvent.Outcome.DONE).order_by()
    rows = Organization.objects.filter(created_at__gt=first.at).only("org_id", "host")
    for page in keyset.pages(rows):
        known = done.filter(organization__in=[str(row) for row in page])
        added = set(known.values_list("organization", flat=True))
        for row in page:
            if str(row) not in added:
                yield Text(
                    "Organization {row} has no row of its beginning: {cure}.", row=row, cure=_CURE
                )
