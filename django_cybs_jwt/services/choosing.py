"""Choose whom a meta key serves as a whole: say first what would change, then change it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.exceptions import OrganizationConflict, OrganizationNotFound
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization, Purpose
from django_cybs_jwt.services import audit, coverage, epoch, resolution
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.services.readiness.candidates import Candidates
from django_cybs_jwt.services.scope import EVERYTHING, Scope
from django_cybs_jwt.texts import Text

MOST_SHOWN: Final = 200
HIDDEN: Final = _("a key that you do not see")
_MOST_NAMED: Final = 10
_MOST_ASKED: Final = 2000  # of those who stay


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One merchant, and the key ID that signs for it before and after.

    Empty: none does. HIDDEN: one whose owner the reader does not see.
    """

    merchant: Organization
    before: str | Promise
    after: str | Promise

    @property
    def changes(self) -> bool:
        """True where another key signs, as far as the reader sees."""
        return self.before != self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a choice would change.

    *effects* are those of the first 200 merchants that it lets in or out, or whose key changes
    though they stay; *unshown* counts the rest.
    """

    slots: Sequence[KeySlot]
    covers: str
    chosen: Sequence[Organization]
    added: Sequence[Organization]
    removed: Sequence[Organization]
    kept: int
    effects: Sequence[Effect] = ()
    unshown: int = 0

    @property
    def changes_nothing(self) -> bool:
        """True where all stays as it is."""
        return not (self.is_another_kind or self.added or self.removed)

    @property
    def is_another_kind(self) -> bool:
        """True where the slots cover in another way than before."""
        return any(slot.coverage != self.covers for slot in self.slots)

    @property
    def gaining(self) -> Sequence[Organization]:
        """Those whom the key may sign for where it did not.

        A key that names a merchant goes before one of an account nearer to it, which a key that
        covers all does not: all of a new list count.
        """
        named = self.covers == Coverage.SELECTED and self.is_another_kind
        return self.chosen if named else self.added

    @property
    def extends(self) -> bool:
        """True where the key may speak for somebody it does not speak for now."""
        return bool(self.gaining) or (self.covers == Coverage.ALL and self.is_another_kind)


def plan(
    slot: KeySlot,
    *,
    covers: str,
    names: Sequence[str],
    now: datetime,
    scope: Scope = EVERYTHING,
) -> Plan:
    """What it would change if the key of *slot* served *names*, or all descendants.

    *names* are ids on the owner's host, or `MID@HOST`; those that *scope* does not see are
    unknown. Whoever is served now and is not seen stays served; a choice that would end that is
    refused. Nothing is changed.
    """
    planned = _plan(slot, covers=covers, names=names, scope=scope)
    moved = [*planned.added, *planned.removed]
    shown = min(len(moved), MOST_SHOWN)
    asked = [*moved[:shown], *_kept(planned)[:_MOST_ASKED]]
    before = _signers(asked, scope, now)
    with audit.rehearsal():
        _apply(planned)
        after = _signers(asked, scope, now)
    effects = [Effect(merchant=row, before=before[row.pk], after=after[row.pk]) for row in asked]
    kept = [effect for effect in effects[shown:] if effect.changes]
    told = [*effects[:shown], *kept][:MOST_SHOWN]
    return replace(planned, effects=told, unshown=len(moved) + len(kept) - len(told))


def _kept(planned: Plan) -> list[Organization]:
    """Those who stay, where another key may sign for them all the same."""
    if not planned.is_another_kind:
        return []
    added = {row.pk for row in planned.added}
    return [row for row in planned.chosen if row.pk not in added]


def choose(
    slot: KeySlot,
    *,
    covers: str,
    names: Sequence[str],
    actor: str,
    now: datetime,
    scope: Scope = EVERYTHING,
) -> Plan:
    """Carry out what `plan` says, with its audit row; signing and response slots together.

    Raises ApprovalRequired where that takes a second person: see `coverage.check_extension`.
    """
    owner = slot.organization
    with audit.denials("choose", actor=actor, organization=owner, now=now), transaction.atomic():
        coverage.locked(_together(slot))
        planned = _plan(slot, covers=covers, names=names, scope=scope)
        if planned.extends:
            coverage.check_extension(planned.slots, covers, planned.gaining, now=now)
        _apply(planned)
        reason = " ".join(
            [
                f"covers {covers};",
                *(f"+{row.org_id}" for row in planned.added if covers != Coverage.ALL),
                *(f"-{row.org_id}" for row in planned.removed if covers != Coverage.ALL),
            ]
        )
        entry = audit.Entry(action="choose", actor=actor, organization=str(owner), reason=reason)
        audit.record(entry, now=now)
        epoch.bump()
    return planned


def _plan(slot: KeySlot, *, covers: str, names: Sequence[str], scope: Scope) -> Plan:
    owner = slot.organization
    if covers not in Coverage.values:
        raise OrganizationConflict(
            "{covers!r} is not one of {known}.", covers=covers, known=", ".join(Coverage.values)
        )
    if covers != Coverage.OWN and owner.kind == Organization.Kind.MERCHANT:
        raise OrganizationConflict("A transacting merchant's key covers nobody else.")
    slots = _together(slot)
    served = coverage.covered(slots[0])
    seen = set(scope.visible(coverage.covered_rows(slots[0])).values_list("pk", flat=True))
    unseen = [row for row in served if row.pk not in seen]
    chosen = _chosen(slots[0], covers=covers, names=names, scope=scope)
    if covers == Coverage.SELECTED:
        chosen += unseen
    was, will = {row.pk for row in served}, {row.pk for row in chosen}
    _check_none_is_lost([row for row in unseen if row.pk not in will])
    return Plan(
        slots=slots,
        covers=covers,
        chosen=chosen,
        added=[row for row in chosen if row.pk not in was],
        removed=[row for row in served if row.pk not in will],
        kept=len(was & will),
    )


def _chosen(
    slot: KeySlot, *, covers: str, names: Sequence[str], scope: Scope
) -> list[Organization]:
    if covers == Coverage.OWN:
        return []
    if covers == Coverage.ALL:
        return list(coverage.descendants(slot.organization))
    return _named(names, slot.organization, scope.visible(Organization.objects.all()))


def _check_none_is_lost(unseen: Sequence[Organization]) -> None:
    if unseen:
        raise OrganizationConflict(
            "The key serves {count} merchant(s) outside of what you see and would not then. "
            "Choose selected merchants, which keeps them, or ask somebody who sees them.",
            count=len(unseen),
        )


def _together(slot: KeySlot) -> list[KeySlot]:
    """The signing slot first, then the response slots that serve others under the same name."""
    if slot.purpose != Purpose.SIGNING:
        raise OrganizationConflict(
            "{slot!r} is for Response MLE: it follows the signing slot of its owner and name. "
            "Choose there.",
            slot=str(slot),
        )
    same = slot.organization.slots.filter(name=slot.name)
    others = same.exclude(purpose=Purpose.SIGNING).exclude(coverage=Coverage.OWN)
    return [slot, *others]


def _named(
    names: Sequence[str], owner: Organization, among: QuerySet[Organization]
) -> list[Organization]:
    """The merchants of these names, or one error that names all that do not fit."""
    wanted = dict.fromkeys(_plain(name, owner) for name in names)
    found: dict[str, Organization] = {}
    for batch in in_batches([name for name in wanted if name.isprintable()]):
        here = among.select_related("parent__parent").filter(host=owner.host, org_id__in=batch)
        found |= {row.org_id: row for row in here.order_by()}
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise OrganizationNotFound(
            "Not known on {host}: {unknown}.", host=owner.host, unknown=_listed(unknown)
        )
    strangers = [name for name in wanted if not _is_below(found[name], owner)]
    if strangers:
        raise OrganizationConflict(
            "Not merchants under {owner}: {strangers}. A meta key serves its own descendants.",
            owner=owner.org_id,
            strangers=_listed(strangers),
        )
    return sorted((found[name] for name in wanted), key=lambda row: row.org_id)


def _plain(name: str, owner: Organization) -> str:
    """The bare id; with a host of another side it stays as it is, and is found nowhere."""
    org_id, _at, host = name.partition("@")
    return org_id if host.lower() in ("", owner.host) else name


def _is_below(row: Organization, owner: Organization) -> bool:
    """As `coverage.add` has it: one without a parent may belong to anybody."""
    return row.pk != owner.pk and (row.parent is None or owner in row.chain()[1:])


def _listed(names: Sequence[str]) -> str:
    named = ", ".join(name[:80] for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return Text("{named} and {more} more", named=named, more=more) if more > 0 else named


def _apply(planned: Plan) -> None:
    for slot in planned.slots:
        KeySlot.objects.filter(pk=slot.pk).update(coverage=planned.covers)
        # A list that stands for nothing would come back with the next choice.
        slot.merchants.set(planned.chosen if planned.covers == Coverage.SELECTED else [])


def _signers(
    merchants: Iterable[Organization], scope: Scope, now: datetime
) -> Mapping[uuid.UUID, str | Promise]:
    rows = list(merchants)
    known = Candidates.of(rows)
    return {row.pk: _key_id(row, known.keys(row), scope, now) for row in rows}


def _key_id(
    merchant: Organization, keys: Sequence[Credential], scope: Scope, now: datetime
) -> str | Promise:
    found = resolution.deciding_signing_key(merchant, keys, now=now)
    if found is None or not resolution.in_force(found, now):
        return ""
    return found.key_id if scope.sees(found.organization) else HIDDEN
