"""Meta keys: which merchants a slot's key may sign for."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from django_cybs_jwt.exceptions import OrganizationConflict
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization, Purpose, State
from django_cybs_jwt.services import approvals, audit, epoch, force, organizations, resolution
from django_cybs_jwt.texts import Text

_LONGEST_NAME: Final = 60


def slot_for(
    organization: Organization, purpose: str, *, name: str = "", covers: str | None = None
) -> KeySlot:
    """The slot of that name, made when it is not there yet.

    A transacting merchant's key covers nobody else; an existing slot keeps its coverage.
    """
    wanted = covers or Coverage.OWN
    if wanted != Coverage.OWN and organization.kind == Organization.Kind.MERCHANT:
        raise OrganizationConflict(
            "A transacting merchant cannot own a meta key. Import it for the portfolio or account."
        )
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise OrganizationConflict(
            "A slot's name has at most {most} printable characters.", most=_LONGEST_NAME
        )
    slot, made = KeySlot.objects.get_or_create(
        organization=organization, purpose=purpose, name=name, defaults={"coverage": wanted}
    )
    if not made and covers is not None and slot.coverage != covers:
        raise OrganizationConflict(
            "Slot {slot!r} covers {coverage!r} already. Use another --slot name.",
            page="Slot {slot!r} covers {coverage!r} already. Give the slot another name below.",
            slot=slot.named,
            coverage=slot.get_coverage_display(),
        )
    return slot


def add(
    owner: str,
    merchants: Sequence[str],
    *,
    actor: str,
    slot: str = "",
    now: datetime | None = None,
) -> list[Organization]:
    """Let *owner*'s slots of that name serve *merchants*; returns all it serves then.

    Raises ApprovalRequired where that takes a second person: see `check_extension`.
    """
    return _change("cover", owner, merchants, actor=actor, slot=slot, now=now)


def remove(
    owner: str,
    merchants: Sequence[str],
    *,
    actor: str,
    slot: str = "",
    now: datetime | None = None,
) -> list[Organization]:
    """Stop *owner*'s slots of that name from serving *merchants*."""
    return _change("uncover", owner, merchants, actor=actor, slot=slot, now=now)


def check_extension(
    slots: Iterable[KeySlot], covers: str, added: Iterable[Organization], *, now: datetime
) -> None:
    """To let a key speak for more merchants raises exposure: it takes two people.

    A key that one person alone can bring into force counts like one that is. Where there is none
    yet, whoever approves its activation is to see whom it covers: what was approved before ends.
    Raises ApprovalRequired while FOUR_EYES is on and nobody else has approved just these.
    """
    names = sorted(row.org_id for row in added) if covers == Coverage.SELECTED else []
    signing = next(slot for slot in slots if slot.purpose == Purpose.SIGNING)
    speaking = signing.credentials.filter(_speaks_unasked(now))
    if not speaking:
        signing.credentials.update(lock_version=F("lock_version") + 1)
        return
    key = max(speaking, key=lambda row: _standing(row, now))
    detail = " ".join([f"covers {covers}", *(f"+{name}" for name in names)])
    approvals.require(approvals.COVER, key, now=now, detail=detail)


def locked(slots: Iterable[KeySlot]) -> list[KeySlot]:
    """The same slots as they are now; no key of theirs moves until the transaction ends."""
    wanted = [slot.pk for slot in slots]
    rows = KeySlot.objects.select_for_update().filter(pk__in=wanted).order_by("pk")
    found = {row.pk: row for row in rows}
    return [found[key] for key in wanted]


def _speaks_unasked(now: datetime) -> Q:
    """Keys in force, and those that a plan, a roll back or an older approval brings into it."""
    was_in_force = Q(state=State.SUSPENDED, activated_at__isnull=False)
    return force.is_in_force(now) | force.is_planned() | Q(state=State.RETIRING) | was_in_force


def _standing(key: Credential, now: datetime) -> tuple[bool, bool, float]:
    """The key in force comes last, and of those the one that is due: it has taken over."""
    since = key.activated_at.timestamp() if key.activated_at else 0.0
    return resolution.in_force(key, now), key.activate_at is not None, since


def listing(owner: str, *, slot: str = "") -> list[Organization]:
    """The merchants that *owner*'s signing slot of that name serves."""
    organization = organizations.find(owner)
    return _served(_meta_slots(organization, slot))


def _change(
    action: str,
    owner: str,
    merchants: Sequence[str],
    *,
    actor: str,
    slot: str,
    now: datetime | None,
) -> list[Organization]:
    organization, now = organizations.find(owner), now or timezone.now()
    with (
        audit.denials(action, actor=actor, organization=organization, now=now),
        transaction.atomic(),
    ):
        slots = locked(_meta_slots(organization, slot))
        if any(item.coverage != Coverage.SELECTED for item in slots):
            raise OrganizationConflict(
                "{org_id}'s key covers all its descendants; there is no list of them.",
                org_id=organization.org_id,
            )
        chosen = [_coverable(name, organization) for name in merchants]
        if action == "cover":
            _check_others(organization, chosen)
        if action == "cover" and (added := _added(slots, chosen)):
            check_extension(slots, Coverage.SELECTED, added, now=now)
        for item in slots:
            (item.merchants.add if action == "cover" else item.merchants.remove)(*chosen)
        reason = " ".join(merchant.org_id for merchant in chosen)
        owned = str(organization)
        entry = audit.Entry(action=action, actor=actor, organization=owned, reason=reason)
        audit.record(entry, now=now)
        epoch.bump()
    return _served(slots)


def _added(slots: Iterable[KeySlot], chosen: Iterable[Organization]) -> list[Organization]:
    """Those of *chosen* that not every slot serves yet."""
    served = [set(slot.merchants.values_list("pk", flat=True)) for slot in slots]
    return [row for row in chosen if not all(row.pk in known for known in served)]


def _meta_slots(organization: Organization, name: str) -> list[KeySlot]:
    """Signing and response slots of one name change together: the gateway ties them."""
    slots = list(
        organization.slots.filter(name=name).exclude(coverage=Coverage.OWN).order_by("-purpose")
    )
    if not any(slot.purpose == Purpose.SIGNING for slot in slots):
        raise _no_meta_key(organization, name)
    return slots


def _no_meta_key(organization: Organization, name: str) -> OrganizationConflict:
    others = organization.slots.filter(purpose=Purpose.SIGNING).exclude(coverage=Coverage.OWN)
    where = Text(" in slot {name!r}", name=name) if name else ""
    if found := others.order_by("name").first():
        return OrganizationConflict(
            "{org_id} has no meta key{where}; it has one in slot {other!r}. Name that with --slot.",
            page="{org_id} has no meta key{where}; it has one in slot {other!r}.",
            org_id=organization.org_id,
            where=where,
            other=found.name,
        )
    return OrganizationConflict(
        "{org_id} has no meta key{where}. Import one with --covers selected or --covers all.",
        page="{org_id} has no meta key{where}. Import one that covers selected merchants, or all.",
        org_id=organization.org_id,
        where=where,
    )


def _coverable(name: str, owner: Organization) -> Organization:
    qualified = name if "@" in name else f"{name}@{owner.host}"
    merchant = organizations.find(qualified)
    if merchant.host != owner.host:
        raise OrganizationConflict(
            "{merchant} is not on {host}; the key is of no use there.",
            merchant=merchant,
            host=owner.host,
        )
    if merchant.parent is not None and owner not in merchant.chain()[1:]:
        raise OrganizationConflict(
            "{org_id} stands under {parent}, not under {owner}.",
            org_id=merchant.org_id,
            parent=merchant.parent.org_id,
            owner=owner.org_id,
        )
    return merchant


def _check_others(owner: Organization, chosen: Sequence[Organization]) -> None:
    """Its own key serves the owner anyway; only `remove` takes a list that names it."""
    if owner in chosen:
        raise OrganizationConflict(
            "{owner} owns the key, which serves it without a choice. Name merchants under it.",
            owner=owner,
        )


def _served(slots: list[KeySlot]) -> list[Organization]:
    return covered(next(slot for slot in slots if slot.purpose == Purpose.SIGNING))


def covered(slot: KeySlot) -> list[Organization]:
    """The merchants a slot's key may speak for besides its owner."""
    return list(covered_rows(slot))


def covered_rows(slot: KeySlot) -> QuerySet[Organization]:
    """The same as rows that are not read yet."""
    if slot.coverage == Coverage.OWN:
        return Organization.objects.none()
    if slot.coverage == Coverage.SELECTED:
        return slot.merchants.order_by("org_id")
    return descendants(slot.organization)


def speaks_for(slot: KeySlot) -> Q:
    """The same as a condition on organizations; a slot that covers none speaks for its owner."""
    if slot.coverage == Coverage.OWN:
        return Q(pk=slot.organization_id)
    if slot.coverage == Coverage.SELECTED:
        return Q(pk__in=slot.merchants.order_by().values("pk"))
    return _stands_under(slot.organization_id)


def descendants(owner: Organization) -> QuerySet[Organization]:
    """All that stand under *owner*, with their parents; not read yet."""
    return (
        Organization.objects.select_related("parent__parent")
        .filter(_stands_under(owner.pk))
        .order_by("org_id")
    )


def _stands_under(owner: uuid.UUID) -> Q:
    return Q(parent=owner) | Q(parent__parent=owner)
