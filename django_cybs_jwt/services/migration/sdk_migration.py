"""Take keys over from the official SDK's configuration; HTTP-Signature credentials become HS256.

The same key id and secret go on: only what signs with them changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.db import transaction

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import (
    ConfigurationError,
    CybsError,
)
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization
from django_cybs_jwt.services import audit, coverage, importing
from django_cybs_jwt.services.migration import bulk_import, sdk_keys
from django_cybs_jwt.services.migration.bulk_import import Outcome
from django_cybs_jwt.services.migration.sdk_keys import Opened
from django_cybs_jwt.services.migration.sdk_settings import Configuration, Members
from django_cybs_jwt.tracebacks import forgetful


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedKey:
    """One key of a configuration, and what became of it."""

    purpose: str
    kind: str
    key_id: str
    algorithm: str
    outcome: Outcome
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What became of one configuration; *used* and *ignored* are its members, by name.

    *owner* holds the keys: the portfolio under a meta key, else the merchant itself.
    """

    name: str
    outcome: Outcome
    organization: str = ""
    owner: str = ""
    host: str = ""
    keys: tuple[MigratedKey, ...] = ()
    used: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    error: str = ""


class _Refused(NamedTuple):
    """What the audit trail will say of a configuration that cannot be taken."""

    error: type[CybsError]
    merchant: str


def migrate(
    configurations: Sequence[Configuration], *, actor: str, now: datetime, activate: bool = False
) -> Iterator[Migration]:
    """Import each configuration in a transaction of its own; a refused one does not stop the rest.

    Keys are STAGED, or with *activate* the first active ones of their slots; what is stored
    already stays as it is. Raises ConfigurationError.
    """
    conf.keyring()
    for each in configurations:
        yield _carry_out(*_prepare(each, now), actor=actor, now=now, activate=activate)


def rehearse(
    configurations: Sequence[Configuration], *, actor: str, now: datetime, activate: bool = False
) -> list[Migration]:
    """What `migrate` would do, storing nothing: every file is opened, every rule applied."""
    conf.keyring()
    prepared = [_prepare(each, now) for each in configurations]
    with audit.rehearsal():
        done = [
            _carry_out(report, opened, actor=actor, now=now, activate=activate)
            for report, opened in prepared
        ]
    return [_as_rehearsed(each) for each in done]


@forgetful
def _prepare(configuration: Configuration, now: datetime) -> tuple[Migration, Opened | _Refused]:
    """A report to fill in, and the opened keys, or what refused the configuration already."""
    members, error = Members({}), ""
    opened: Opened | _Refused
    try:
        members = Members(configuration.raw)
        opened = sdk_keys.open_keys(members, configuration.folder, now=now)
    except ConfigurationError:
        raise
    except CybsError as refusal:
        error = refusal.text
        opened = _Refused(type(refusal), sdk_keys.merchant_in(members))
    report = Migration(
        name=configuration.name,
        outcome=Outcome.REFUSED,
        used=members.used,
        error=error,
    )
    if not isinstance(opened, Opened):
        return report, opened
    filled = replace(
        report,
        organization=opened.merchant,
        owner=opened.owner,
        host=opened.host,
        ignored=members.ignored,
        notices=(*members.notices, *opened.notices),
    )
    return filled, opened


def _carry_out(
    report: Migration,
    opened: Opened | _Refused,
    *,
    actor: str,
    now: datetime,
    activate: bool,
) -> Migration:
    if not isinstance(opened, Opened):
        audit.refused(
            importing.ACTION, opened.error, actor=actor, organization=opened.merchant, now=now
        )
        return report
    try:
        label = _known(opened.owner, opened) or Organization(org_id=opened.owner, host=opened.host)
        with (
            audit.denials(importing.ACTION, actor=actor, organization=label, now=now),
            transaction.atomic(),
        ):
            keys, covered = _store(opened, actor=actor, now=now, activate=activate)
    except ConfigurationError:
        raise
    except CybsError as error:
        return replace(report, error=bulk_import.reason(error))
    changed = covered or any(key.outcome == Outcome.IMPORTED for key in keys)
    return replace(report, outcome=Outcome.IMPORTED if changed else Outcome.PRESENT, keys=keys)


def _store(
    opened: Opened, *, actor: str, now: datetime, activate: bool
) -> tuple[tuple[MigratedKey, ...], bool]:
    """The keys, and whether the owner's key serves the merchant only since now."""
    kind = Organization.Kind.PORTFOLIO if opened.is_meta else Organization.Kind.MERCHANT
    owner = _organization(opened.owner, opened, actor=actor, kind=kind)
    stored = []
    for inspected in opened.found:
        covers = _covers(owner, inspected.purpose) if opened.is_meta else None
        credential, outcome = bulk_import.import_missing(
            owner, inspected, actor=actor, now=now, covers=covers, activate=activate
        )
        stored.append(_key(credential, inspected.purpose, outcome))
    return tuple(stored), opened.is_meta and _cover(owner, opened, actor=actor)


def _organization(
    org_id: str, opened: Opened, *, actor: str, kind: str, parent: str | None = None
) -> Organization:
    known = _known(org_id, opened)
    return known or bulk_import.add_organization(
        f"{org_id}@{opened.host}", actor=actor, kind=kind, parent=parent
    )


def _known(org_id: str, opened: Opened) -> Organization | None:
    return bulk_import.known_organization(f"{org_id}@{opened.host}")


def _covers(owner: Organization, purpose: str) -> str | None:
    """What a new slot covers: the portfolio's other key decides. A slot that is there stays."""
    slots = dict(owner.slots.filter(name="").values_list("purpose", "coverage"))
    if purpose in slots:
        return None
    return Coverage.ALL if Coverage.ALL in slots.values() else Coverage.SELECTED


def _cover(owner: Organization, opened: Opened, *, actor: str) -> bool:
    """Let the owner's keys serve the merchant; False when they did already."""
    is_new = _known(opened.merchant, opened) is None
    merchant = _organization(
        opened.merchant,
        opened,
        actor=actor,
        kind=Organization.Kind.MERCHANT,
        parent=str(owner),
    )
    slots = list(owner.slots.filter(name="").exclude(coverage=Coverage.OWN))
    by_descent = owner in merchant.chain()[1:]
    if slots and all(_serves(slot, merchant, by_descent=by_descent) for slot in slots):
        return is_new
    coverage.add(str(owner), [str(merchant)], actor=actor)
    return True


def _serves(slot: KeySlot, merchant: Organization, *, by_descent: bool) -> bool:
    if slot.coverage == Coverage.ALL:
        return by_descent
    return slot.merchants.filter(pk=merchant.pk).exists()


def _key(credential: Credential, purpose: str, outcome: Outcome) -> MigratedKey:
    return MigratedKey(
        purpose=purpose,
        kind=credential.kind,
        key_id=credential.key_id,
        algorithm=credential.algorithm,
        outcome=outcome,
        state=credential.state,
    )


def _as_rehearsed(report: Migration) -> Migration:
    def renamed(outcome: Outcome) -> Outcome:
        return Outcome.IMPORTABLE if outcome == Outcome.IMPORTED else outcome

    keys = tuple(replace(key, outcome=renamed(key.outcome)) for key in report.keys)
    return replace(report, outcome=renamed(report.outcome), keys=keys)
