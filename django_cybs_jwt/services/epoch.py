"""The epoch: bumped in the transaction of every change that signing must see."""

from __future__ import annotations

import secrets

from django_cybs_jwt.models import Epoch


def bump() -> None:
    """Tell every process to look again; call it inside the change's transaction."""
    # Drawn, not counted: what a rolled back change showed to its own process never comes again.
    value = secrets.randbelow(2**63)
    _, made = Epoch.objects.get_or_create(pk=1, defaults={"value": value})
    if not made:
        Epoch.objects.filter(pk=1).update(value=value)


def value() -> int:
    """The epoch now: one query."""
    return next(iter(Epoch.objects.filter(pk=1).values_list("value", flat=True)), 0)
