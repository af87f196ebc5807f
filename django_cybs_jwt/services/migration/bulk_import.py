"""Import many keys from a CSV manifest: one transaction and one result a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from django.db import transaction

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import (
    ApprovalRequired,
    ConfigurationError,
    CybsError,
    DuplicateKey,
    OrganizationConflict,
    OrganizationNotFound,
)
from django_cybs_jwt.models import Credential, Organization, State
from django_cybs_jwt.protocol.certificate_facts import clean_text
from django_cybs_jwt.protocol.hosts import is_live
from django_cybs_jwt.services import audit, importing, keys, organizations
from django_cybs_jwt.services.inspection import Inspection
from django_cybs_jwt.services.migration import manifest as key_manifest
from django_cybs_jwt.services.migration.manifest import Manifest, Row, Variables
from django_cybs_jwt.texts import Text


class Outcome(StrEnum):
    """What became of a row; IMPORTABLE is what a dry run says for IMPORTED."""

    IMPORTED = "imported"
    IMPORTABLE = "importable"
    PRESENT = "present"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one row; *error* says why it was refused, and the cure."""

    row: int
    organization: str
    host: str
    purpose: str
    outcome: Outcome
    key_id: str = ""
    state: str = ""
    error: str = ""
    notices: tuple[str, ...] = ()


def import_many(
    manifest: Manifest, *, variables: Variables, actor: str, now: datetime
) -> Iterator[Result]:
    """Import row by row, each in a transaction of its own; a refused row does not stop the rest.

    A key that is stored already is PRESENT, so a run can be repeated. *variables* is what
    `password_env` and `secret_env` name: the environment. Raises ConfigurationError.
    """
    conf.keyring()
    seen: dict[tuple[str, str, str], int] = {}
    for row in manifest.rows:
        found = _inspect(row, manifest, variables, now)
        yield _import(row, found, seen, actor=actor, now=now)


def rehearse_many(
    manifest: Manifest, *, variables: Variables, actor: str, now: datetime
) -> list[Result]:
    """What `import_many` would do, storing nothing: every file is opened, every rule applied.

    All is inspected first, so that the transaction to roll back is short.
    """
    conf.keyring()
    seen: dict[tuple[str, str, str], int] = {}
    found = [(row, _inspect(row, manifest, variables, now)) for row in manifest.rows]
    with audit.rehearsal():
        results = [_import(row, one, seen, actor=actor, now=now) for row, one in found]
    return [
        replace(each, outcome=Outcome.IMPORTABLE) if each.outcome == Outcome.IMPORTED else each
        for each in results
    ]


def import_missing(
    organization: Organization,
    inspected: Inspection,
    *,
    actor: str,
    now: datetime,
    slot: str = "",
    covers: str | None = None,
    activate: bool = False,
) -> tuple[Credential, Outcome]:
    """Import a key unless *organization* holds it for this purpose already, in any state."""
    stored = (
        Credential.objects.select_related("slot", "organization")
        .filter(organization=organization, fingerprint=inspected.fingerprint)
        .filter(slot__purpose=inspected.purpose)
        .exclude(state=State.DESTROYED)
        .first()
    )
    if stored is not None:
        return stored, Outcome.PRESENT
    credential = importing.import_key(
        organization, inspected, actor=actor, now=now, slot=slot, covers=covers, activate=activate
    )
    return credential, Outcome.IMPORTED


def add_organization(
    name: str, *, actor: str, kind: str, parent: str | None = None, label: str = ""
) -> Organization:
    """Store the organization `ORG_ID@HOST` on the side, live or test, that its host is known for.

    Raises OrganizationConflict for a host that has no preset and no organization yet.
    """
    org_id, _, host = name.partition("@")
    live = is_live(host)
    if live is None:
        live = Organization.objects.filter(host=host.lower()).values_list("live", flat=True).first()
    if live is None:
        raise OrganizationConflict(
            "Whether this host is live is not known. Store its first organization with "
            "`manage.py cybs_org add ORG_ID --kind KIND --host HOST [--live]`."
        )
    return organizations.add(
        org_id, actor=actor, kind=kind, host=host, parent=parent, live=live, name=label
    )


def known_organization(name: str) -> Organization | None:
    """The organization of that name, or None; OrganizationAmbiguous goes on."""
    try:
        return organizations.find(name)
    except OrganizationNotFound:
        return None


def reason(error: CybsError) -> str:
    """Why something was refused, and the cure; where nothing is stored, nothing can be approved."""
    if isinstance(error, ApprovalRequired):
        return Text(
            "FOUR_EYES is on: import without activating; `cybs_verify` and `cybs_rotate` then "
            "take the key into use, with a second person."
        )
    return error.text


def _inspect(
    row: Row, manifest: Manifest, variables: Variables, now: datetime
) -> Inspection | CybsError:
    try:
        return key_manifest.inspect(row, manifest.folder, variables, now=now)
    except ConfigurationError:
        raise
    except CybsError as error:
        return error


def _import(
    row: Row,
    found: Inspection | CybsError,
    seen: dict[tuple[str, str, str], int],
    *,
    actor: str,
    now: datetime,
) -> Result:
    if isinstance(found, CybsError):
        named = clean_text(row.organization)
        audit.refused(importing.ACTION, type(found), actor=actor, organization=named, now=now)
        return _refused(row, found)
    try:
        return _store(row, found, seen, actor=actor, now=now)
    except ConfigurationError:
        raise
    except CybsError as error:
        return _refused(row, error, key_id=found.key_id)


def _twice(line: int, named: object) -> DuplicateKey:
    return DuplicateKey(
        "Line {line} holds the same key for {named}. Leave one out.", line=line, named=named
    )


def _store(
    row: Row,
    inspected: Inspection,
    seen: dict[tuple[str, str, str], int],
    *,
    actor: str,
    now: datetime,
) -> Result:
    known = known_organization(row.organization)
    named = known or _unknown(row)
    key = (str(named), inspected.purpose, inspected.fingerprint)
    if key in seen:
        raise _twice(seen[key], named)
    with (
        audit.denials(importing.ACTION, actor=actor, organization=named, now=now),
        transaction.atomic(),
    ):
        owner = known or add_organization(
            row.organization,
            actor=actor,
            kind=row.kind,
            parent=row.parent or None,
            label=row.name,
        )
        credential, outcome = import_missing(
            owner,
            inspected,
            actor=actor,
            now=now,
            slot=row.slot,
            covers=row.covers or None,
            activate=row.activates,
        )
    seen[key] = row.number
    warning = keys.owner_warning(owner, inspected)
    return Result(
        row=row.number,
        organization=owner.org_id,
        host=owner.host,
        purpose=row.purpose,
        outcome=outcome,
        key_id=credential.key_id,
        state=credential.state,
        notices=(*inspected.notices, *([warning] if warning else [])),
    )


def _unknown(row: Row) -> Organization:
    """An organization that is not stored, to be named in the audit trail."""
    org_id, _, host = row.organization.partition("@")
    if not row.kind or not host:
        raise OrganizationNotFound(
            "The organization is not stored. Give its kind and host in the manifest, "
            "or add it with `manage.py cybs_org add`."
        )
    return Organization(org_id=org_id[:60], host=host.lower()[:253])


def _refused(row: Row, error: CybsError, *, key_id: str = "") -> Result:
    org_id, _, host = row.organization.partition("@")
    return Result(
        row=row.number,
        organization=clean_text(org_id),
        host=clean_text(host),
        purpose=clean_text(row.purpose),
        outcome=Outcome.REFUSED,
        key_id=key_id,
        error=reason(error),
    )
