"""End an organization in one step: disabled, its keys destroyed, its history kept.

What it has in the queue is cancelled where it was not sent; money in doubt keeps it here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction

from django_cybs_jwt.exceptions import InvalidTransition, KeyNotUsable, NoKey
from django_cybs_jwt.models import (
    Credential,
    KeySlot,
    Organization,
    OutboundRequest,
    Purpose,
    State,
)
from django_cybs_jwt.services import (
    approvals,
    audit,
    coverage,
    epoch,
    lifecycle,
    organizations,
    resolution,
)
from django_cybs_jwt.services.lifecycle import TABLE, Action
from django_cybs_jwt.services.queue import leaving
from django_cybs_jwt.services.queue.leaving import Standing
from django_cybs_jwt.texts import Text

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that offboarding does, for people to read before or after."""

    step: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ends with an organization.

    *keys* are its own versions that are not destroyed yet, *slots* those of others that select
    it, *losing* the merchants that its meta keys serve, or served until they were suspended,
    *requests* what stands in the queue; *steps* says all of it in the order in which it is done.
    """

    organization: Organization
    keys: list[Credential]
    slots: list[KeySlot]
    losing: list[Organization]
    requests: Standing
    steps: list[Step]


def plan(name: str, *, now: datetime) -> Plan:
    """What `offboard` would do, changing nothing."""
    return _plan(organizations.find(name), now)


def offboard(
    name: str,
    *,
    actor: str,
    now: datetime,
    reason: str,
    losing: Collection[str] = (),
    abandon: bool = False,
) -> Plan:
    """Disable an organization, destroy its keys and take it out of other owners' meta keys.

    One transaction. With FOUR_EYES on, destroying each of its keys takes an approval.
    Requests that were not sent are cancelled. Raises InvalidTransition while others are in doubt,
    unless *abandon* gives them up, and unless *losing* names exactly the merchants whose key ends
    with it.
    """
    organization = organizations.find(name)
    with (
        audit.denials("offboard", actor=actor, organization=organization, now=now),
        transaction.atomic(),
    ):
        if not reason:
            raise InvalidTransition("Offboarding takes a reason.")
        _lock(organization)
        planned = _plan(organization, now)
        _check_losing(planned, losing)
        if not abandon:
            _check_nothing_in_doubt(planned)
        approvals.require_all(Action.DESTROY, planned.keys, now=now)
        _disable(planned, actor=actor, now=now, reason=reason)
        told = f"offboard: {reason}"
        leaving.cancel(planned.requests.unsent, actor=actor, now=now, reason=told)
        for row in planned.keys:
            for action in _ways_out(row):
                lifecycle.move(row, action, actor=actor, now=now, reason=told)
        for slot in planned.slots:
            _uncover(slot, organization, actor=actor, now=now)
        epoch.bump()
    return planned


def _lock(organization: Organization) -> None:
    """Slots before keys, as everywhere: no rotation or import of a key slips in between."""
    list(KeySlot.objects.select_for_update().filter(organization=organization).order_by("pk"))
    list(Credential.objects.select_for_update().filter(organization=organization).order_by("pk"))
    audit.take_turn()


def _plan(organization: Organization, now: datetime) -> Plan:
    own = Credential.objects.filter(organization=organization).exclude(state=State.DESTROYED)
    keys = list(own.order_by("staged_at", "pk"))
    slots = list(organization.selected_by.select_related("organization").order_by("pk"))
    losing = _losing(organization, now) if organization.active else []
    requests = leaving.standing(organization, losing)
    steps = [
        *([Step("disable", str(organization))] if organization.active else []),
        *(_request("cancel", row) for row in requests.unsent),
        *(_ending(row, now) for row in keys),
        *(Step("uncover", slot.named, f"selects {organization.org_id}") for slot in slots),
        *(Step("loses its key", str(merchant)) for merchant in losing),
        *(_request("leave in doubt", row) for row in requests.in_doubt),
    ]
    return Plan(
        organization=organization,
        keys=keys,
        slots=slots,
        losing=losing,
        requests=requests,
        steps=steps,
    )


def _request(step: str, row: OutboundRequest) -> Step:
    return Step(step, f"request {row.pk}", f"{row.state} {row.operation} of {row.organization}")


def _ending(row: Credential, now: datetime) -> Step:
    approved = approvals.is_granted(Action.DESTROY, row, now=now)
    detail = row.state if approved else f"{row.state}, waits for a second person"
    return Step(" + ".join(_ways_out(row)), row.named, detail)


def _losing(owner: Organization, now: datetime) -> list[Organization]:
    slots = owner.slots.filter(purpose=Purpose.SIGNING).select_related("organization")
    covered = {merchant.pk: merchant for slot in slots for merchant in coverage.covered(slot)}
    losing = (row for row in covered.values() if row.active and _depends(row, owner, now))
    return sorted(losing, key=lambda row: (row.org_id, row.host))


def _depends(merchant: Organization, owner: Organization, now: datetime) -> bool:
    rows = resolution.candidates(merchant)
    try:
        return resolution.signing_key(merchant, rows, now=now).organization_id == owner.pk
    except NoKey:
        return False
    except KeyNotUsable:
        # Nothing signs for it now; what is stopped may be the owner's key, waiting to be resumed.
        return any(row.organization_id == owner.pk for row in rows)


def _check_losing(planned: Plan, named: Collection[str]) -> None:
    names = {name: row for row in planned.losing for name in (row.org_id, str(row))}
    agreed = {names[name].pk for name in named if name in names}
    strangers = sorted(set(named) - names.keys())
    if strangers:
        raise InvalidTransition(
            "These lose no key: {strangers}. Leave them out.", strangers=", ".join(strangers)
        )
    if len(agreed) < len(planned.losing):
        losing = " ".join(row.org_id for row in planned.losing)
        raise InvalidTransition(
            "{count} merchants lose their key with {organization}. "
            "Give them keys of their own first, or name them all: --force {losing}",
            count=len(planned.losing),
            organization=planned.organization,
            losing=losing,
            merchants=[str(row) for row in planned.losing],
        )


def _check_nothing_in_doubt(planned: Plan) -> None:
    in_doubt = planned.requests.in_doubt
    if in_doubt:
        named = ", ".join(str(row.pk) for row in in_doubt[:_MOST_NAMED])
        more = len(in_doubt) - _MOST_NAMED
        if more > 0:
            named = Text("{named} and {more} more", named=named, more=more)
        raise InvalidTransition(
            "Nobody knows yet what became of {count} requests, and to find out takes the "
            "keys: {named}. Let them end, or settle them with `manage.py cybs_queue`; "
            "--abandon gives them up.",
            count=len(in_doubt),
            named=named,
            requests=[str(row.pk) for row in in_doubt],
        )


def _ways_out(row: Credential) -> list[Action]:
    if row.state in TABLE[Action.DESTROY].sources:
        return [Action.DESTROY]
    return [Action.RETIRE, Action.DESTROY]


def _disable(planned: Plan, *, actor: str, now: datetime, reason: str) -> None:
    organization = planned.organization
    Organization.objects.filter(pk=organization.pk).update(active=False)
    facts = {
        "lose their key": [row.org_id for row in planned.losing],
        "left in doubt": [str(row.pk) for row in planned.requests.in_doubt],
    }
    told = (f"{what}: {' '.join(names)}" for what, names in facts.items() if names)
    entry = audit.Entry(
        action="offboard",
        actor=actor,
        organization=str(organization),
        reason="; ".join([reason, *told]),
    )
    audit.record(entry, now=now)


def _uncover(slot: KeySlot, merchant: Organization, *, actor: str, now: datetime) -> None:
    slot.merchants.remove(merchant)
    entry = audit.Entry(
        action="uncover",
        actor=actor,
        organization=str(slot.organization),
        reason=f"{merchant.org_id} offboarded",
    )
    audit.record(entry, now=now)
