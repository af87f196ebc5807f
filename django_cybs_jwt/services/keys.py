"""Stage a key: seal it into a row that cannot sign yet. List keys."""

from __future__ import annotations

import struct
import uuid
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import DuplicateKey, OrganizationInactive, WrongKeyFile
from django_cybs_jwt.models import Credential, KeySlot, Organization, Purpose, State
from django_cybs_jwt.sealing import Context, payload_digest, seal
from django_cybs_jwt.services import (
    audit,
    contents,
    coverage,
    epoch,
    gateway_certificates,
    key_payload,
)
from django_cybs_jwt.services.inspection import Inspection
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import forgetful

_PURPOSES: Final = {
    Purpose.SIGNING: Text("request signing"),
    Purpose.RESPONSE_MLE: Text("response MLE"),
}

_DIGITS: Final = 32
"""128 bits of a digest: enough that nobody finds another blob with it."""


@forgetful
def stage(
    organization: Organization,
    inspection: Inspection,
    *,
    actor: str,
    now: datetime,
    slot: str = "",
    covers: str | None = None,
) -> Credential:
    """Seal *inspection* into a STAGED row of *organization*, with its audit row.

    Raises WrongKeyFile for another organization's file or a key of the other purpose,
    DuplicateKey for a key that is stored already. A refusal is audited and stores nothing.
    """
    with (
        audit.denials("import", actor=actor, organization=organization, now=now),
        transaction.atomic(),
    ):
        _check_owner(organization, inspection)
        place = coverage.slot_for(organization, inspection.purpose, name=slot, covers=covers)
        _take_turn(place)
        _check_not_stored(organization, inspection)
        credential = _build(place, organization, inspection, actor=actor, now=now)
        try:
            with transaction.atomic():
                credential.save(force_insert=True)
        except IntegrityError:
            raise _taken(organization, inspection) from None
        gateway_certificates.keep(organization, inspection.gateway_certificates, credential)
        audit.record(
            audit.Entry(
                action="import",
                actor=actor,
                organization=str(organization),
                credential=credential,
                to_state=State.STAGED,
                reason=sealed_digests(credential),
            ),
            now=now,
        )
        epoch.bump()
    return credential


def _taken(organization: Organization, inspection: Inspection) -> DuplicateKey:
    return DuplicateKey(
        "{owner} has a key {key_id} already.",
        owner=organization.org_id,
        key_id=inspection.key_id,
    )


def _take_turn(place: KeySlot) -> None:
    """Wait for changes of this slot, then for all others.

    In this order, as every change of a key takes them: else two would wait for each other.
    Without the second, one key imported for two merchants at once would be stored for both.
    """
    slot = KeySlot.objects.select_for_update().get(pk=place.pk)
    audit.take_turn()
    owner = Organization.objects.get(pk=slot.organization_id)
    if not owner.active:
        raise OrganizationInactive(
            "{owner} is disabled; no key is stored for it. "
            "`manage.py cybs_org enable {owner}` takes that back.",
            page="{owner} is disabled; no key is stored for it. "
            "Who runs commands here can enable it again.",
            owner=owner,
        )


def listing() -> QuerySet[Credential]:
    """Every key without its sealed columns, newest first."""
    return Credential.objects.select_related("organization", "slot").defer(
        "sealed_secret", "sealed_p12"
    )


def sealing_context(credential: Credential, field: str) -> Context:
    """What a sealed column is bound to: recomputed from the row, never read from the blob."""
    return Context(
        live=credential.organization.live,
        kind="credential",
        owner=credential.organization_id,
        row=credential.id,
        field=field,
    )


def sealed_digests(credential: Credential) -> str:
    """What the import's audit row says of the sealed columns; a rewrap does not change it."""
    blobs = {field: getattr(credential, field) for field in ("sealed_secret", "sealed_p12")}
    return " ".join(_told(field, blob) for field, blob in blobs.items() if blob is not None)


def is_as_imported(field: str, blob: bytes, told: str) -> bool:
    """False where the import's audit row, *told*, speaks of another blob: an older one is back."""
    return f"{field}=" not in told or _told(field, blob) in told.split()


def owner_warning(organization: Organization, inspection: Inspection) -> str | None:
    """What to say when a customer's own certificate carries another name."""
    if _names(organization, inspection) or inspection.issued_by_gateway:
        return None
    return Text(
        "The certificate is for {inside!r}, the organization is "
        "{org_id!r}. Right for a certificate of your own; wrong file otherwise.",
        inside=inspection.common_name,
        org_id=organization.org_id,
    )


def _told(field: str, blob: bytes) -> str:
    return f"{field}={payload_digest(blob)[:_DIGITS]}"


def _names(organization: Organization, inspection: Inspection) -> bool:
    name = inspection.common_name
    return inspection.certificate is None or name.lower() == organization.org_id.lower()


def _check_owner(organization: Organization, inspection: Inspection) -> None:
    if inspection.issued_by_gateway and not _names(organization, inspection):
        raise WrongKeyFile(
            "The file belongs to organization {inside!r}, not to {org_id!r}.",
            inside=inspection.common_name,
            org_id=organization.org_id,
        )


def _check_not_stored(organization: Organization, inspection: Inspection) -> None:
    twins = (
        Credential.objects.select_related("organization", "slot")
        .filter(fingerprint=inspection.fingerprint)
        .exclude(state=State.DESTROYED, compromised_at=None)
    )
    for twin in twins:
        _refuse_compromised(twin)
        if twin.organization_id == organization.id:
            _refuse_own_twin(twin, inspection)
        same_id = twin.organization.org_id == organization.org_id
        if not same_id or twin.organization.live != organization.live:
            # One id may use one key on several hosts of the same side, and nothing more.
            raise DuplicateKey(
                "This key is stored for {organization} already. "
                "Merchants do not share keys; a portfolio's key serves them as a meta key.",
                organization=twin.organization,
            )


def _refuse_compromised(twin: Credential) -> None:
    if twin.compromised_at is not None:
        raise DuplicateKey(
            "This key was stored as {key_id} and marked as compromised on {day:%Y-%m-%d}. "
            "Others may have it: make a new one in the Business Center.",
            key_id=twin.key_id,
            day=twin.compromised_at,
        )


def _refuse_own_twin(twin: Credential, inspection: Inspection) -> None:
    if twin.slot.purpose == inspection.purpose:
        raise DuplicateKey(
            "This key is stored already: {key_id}, {state}.", key_id=twin.key_id, state=twin.state
        )
    raise WrongKeyFile(
        "This key is stored already as the {purpose} key. Is it the other file?",
        purpose=_PURPOSES[Purpose(twin.slot.purpose)],
    )


def _build(
    slot: KeySlot,
    organization: Organization,
    inspection: Inspection,
    *,
    actor: str,
    now: datetime,
) -> Credential:
    certificate = inspection.certificate
    credential = Credential(
        id=uuid.uuid4(),
        slot=slot,
        organization=organization,
        kind=inspection.kind,
        key_id=inspection.key_id,
        live_key_id=inspection.key_id,
        algorithm=inspection.algorithm,
        fingerprint=inspection.fingerprint,
        certificate=certificate.public_bytes(Encoding.PEM).decode() if certificate else "",
        common_name=inspection.common_name,
        serial=_serial(certificate) if certificate else "",
        not_before=certificate.not_valid_before_utc if certificate else None,
        not_after=certificate.not_valid_after_utc if certificate else None,
        expires_at=inspection.expires_at,
        contents=contents.of(inspection, warning=owner_warning(organization, inspection)),
        uploaded_by=actor,
        staged_at=now,
    )
    _seal(credential, inspection)
    return credential


def _serial(certificate: x509.Certificate) -> str:
    # RFC 5280 allows 20 bytes; a longer one fits no column and identifies nothing.
    number = certificate.serial_number
    return str(number) if number.bit_length() <= 160 else ""


def _seal(credential: Credential, inspection: Inspection) -> None:
    ring = conf.keyring()
    payload = key_payload.pack(
        inspection.secret, key_id=credential.key_id, algorithm=credential.algorithm
    )
    credential.sealed_secret = seal(
        payload, context=sealing_context(credential, "sealed_secret"), ring=ring
    )
    if inspection.original:
        packed = (
            struct.pack(">I", len(inspection.original)) + inspection.original + inspection.password
        )
        credential.sealed_p12 = seal(
            packed, context=sealing_context(credential, "sealed_p12"), ring=ring
        )
