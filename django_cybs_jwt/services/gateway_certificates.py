"""Request-MLE certificates: kept from an owner's own files, or added for a whole host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ExpiredKey, KeyMaterialError, WrongKeyFile
from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    Organization,
    Purpose,
    State,
)
from django_cybs_jwt.protocol import GatewayCertificate as WireCertificate
from django_cybs_jwt.protocol import pem
from django_cybs_jwt.protocol.certificate_facts import clean_text, is_gateway
from django_cybs_jwt.protocol.hosts import parse_host
from django_cybs_jwt.protocol.keys import spki_fingerprint
from django_cybs_jwt.protocol.shared_secrets import parse_key_id
from django_cybs_jwt.services import audit, epoch
from django_cybs_jwt.tracebacks import forgetful


def keep(
    owner: Organization, certificates: Iterable[x509.Certificate], credential: Credential
) -> None:
    """Store what an owner's upload carried, for that owner alone; used once its key is.

    A weak or nameless one is left out: it could never encrypt. An ended one stays, to be named
    in errors.
    """
    for certificate in certificates:
        try:
            wire = WireCertificate.from_x509(certificate)
            parse_key_id(wire.kid)
        except KeyMaterialError:
            continue
        row = _build(wire, certificate, host=owner.host, source=f"P12 {credential.key_id}")
        row.organization = owner
        row.credential, row.in_use = credential, False
        row.save(force_insert=True)


@forgetful
def add(
    data: bytes, *, host: str, actor: str, now: datetime, preferred: bool = False
) -> GatewayCertificate:
    """Store a certificate that serves every organization of *host*; audited.

    *preferred* puts it before the ones that owners' files carry, and takes that from every other
    one of the host. One that is there already is returned, and put first where that is asked for.
    """
    certificate = pem.load_certificate(data)
    wire = WireCertificate.from_x509(certificate)
    _check(certificate, wire, now)
    row = _build(wire, certificate, host=parse_host(host), source=f"added by {actor}")
    known = _stored_already(row)
    row = known or row
    with transaction.atomic():
        audit.take_turn()  # or two who put one first at once would leave two of them
        others = _others_preferred(row)
        if known is not None and (not preferred or (known.preferred and not others)):
            return known
        row.preferred = preferred
        row.save()
        if preferred:
            _of_host(row.host).exclude(pk=row.pk).update(preferred=False)
        _record("gateway-cert", row, actor=actor, now=now, before=others if preferred else [])
        epoch.bump()
    return row


@forgetful
def remove(key_id: str, *, host: str, actor: str, now: datetime) -> list[GatewayCertificate]:
    """Take back what `add` stored for *host* under *key_id*; audited. Returns what was there.

    A certificate that came with an owner's P12 stays, as the key that brought it does.
    """
    host = parse_host(host)
    with transaction.atomic():
        audit.take_turn()
        rows = list(_of_host(host).filter(key_id=key_id))
        if not rows:
            _check_not_of_a_file(key_id, host)
            return []
        for row in rows:
            _record("gateway-cert-remove", row, actor=actor, now=now)
        _of_host(host).filter(key_id=key_id).delete()
        epoch.bump()
    return rows


def listing() -> QuerySet[GatewayCertificate]:
    """Every certificate with its owner."""
    return GatewayCertificate.objects.select_related("organization")


def candidates(owner: Organization, signing: Credential | None = None) -> list[GatewayCertificate]:
    """All rows that may serve *owner*: its own and its host's. One query.

    What came with the key that is *signing* is in use, though that key's planned time may have
    come without its switch being written down yet.
    """
    came_with_it = Q(credential=signing) if signing else Q()
    return list(
        GatewayCertificate.stored.order_by().filter(
            Q(in_use=True) | came_with_it,
            Q(organization=owner) | Q(organization=None, host=owner.host),
        )
    )


def choose(rows: Sequence[GatewayCertificate], *, now: datetime) -> GatewayCertificate | None:
    """The certificate to encrypt for: preferred, own, host-wide; the newest valid one of each.

    Where none is valid, the newest ended one, so that the error can name it.
    """

    def rank(row: GatewayCertificate) -> tuple[bool, bool, bool, datetime, datetime]:
        valid = row.not_before <= now < row.not_after
        own = row.organization_id is not None
        # The end too: of two that began together every process takes the same one.
        return valid, row.preferred, own, row.not_before, row.not_after

    return max(rows, key=rank, default=None)


def hosts_without_certificate(*, now: datetime) -> dict[str, int]:
    """Hosts where active signing keys have no valid certificate: host -> how many keys."""
    signing = Credential.objects.filter(state=State.ACTIVE, slot__purpose=Purpose.SIGNING)
    valid = GatewayCertificate.objects.filter(not_before__lte=now, not_after__gt=now)
    own = valid.filter(organization=OuterRef("organization"))
    shared = valid.filter(organization=None, host=OuterRef("organization__host"))
    lacking = signing.exclude(Exists(own)).exclude(Exists(shared))
    counted = lacking.values("organization__host").annotate(keys=Count("pk"))
    return dict(counted.values_list("organization__host", "keys"))


def _check(certificate: x509.Certificate, wire: WireCertificate, now: datetime) -> None:
    """Of the gateway by its name, with a key ID, and not ended."""
    names = conf.current().GATEWAY_CERTIFICATE_NAMES
    if not is_gateway(certificate, names):
        raise WrongKeyFile(
            "The certificate is of {name!r}, not of the gateway ({known}): nobody could read what "
            "is encrypted for it. If that is what the gateway calls itself for your brand, add "
            "the name to CYBS_JWT['GATEWAY_CERTIFICATE_NAMES'].",
            name=clean_text(wire.common_name)[:80],
            known=", ".join(names),
        )
    if not wire.kid:
        raise WrongKeyFile("The certificate's subject has no serialNumber, so it has no key ID.")
    parse_key_id(wire.kid)
    if wire.not_after <= now:
        raise ExpiredKey(
            "The certificate ended on {ends:%Y-%m-%d}. Get the newer one.", ends=wire.not_after
        )


def _of_host(host: str) -> QuerySet[GatewayCertificate]:
    return GatewayCertificate.objects.filter(organization=None, host=host)


def _stored_already(row: GatewayCertificate) -> GatewayCertificate | None:
    same = _of_host(row.host).filter(key_id=row.key_id, certificate=row.certificate)
    return same.order_by("created_at").first()


def _others_preferred(row: GatewayCertificate) -> list[GatewayCertificate]:
    return list(_of_host(row.host).filter(preferred=True).exclude(pk=row.pk))


def _record(
    action: str,
    row: GatewayCertificate,
    *,
    actor: str,
    now: datetime,
    before: Sequence[GatewayCertificate] = (),
) -> None:
    reason = f"kid {row.key_id} fingerprint {row.fingerprint}"
    if before:
        reason += f"; no longer preferred: {' '.join(other.key_id for other in before)}"
    entry = audit.Entry(action=action, actor=actor, organization=f"@{row.host}", reason=reason)
    audit.record(entry, now=now)


def _check_not_of_a_file(key_id: str, host: str) -> None:
    if GatewayCertificate.stored.filter(host=host, key_id=key_id).exists():
        raise WrongKeyFile(
            "The certificate {key_id} came with an organization's P12 and stays with that key. "
            "`manage.py cybs_gateway_cert add --prefer` puts another one before it.",
            page="The certificate {key_id} came with an organization's P12 and stays with that key."
            " Another one of the host may be preferred to it.",
            key_id=key_id[:128],
        )


def _build(
    wire: WireCertificate, certificate: x509.Certificate, *, host: str, source: str
) -> GatewayCertificate:
    return GatewayCertificate(
        host=host,
        key_id=wire.kid,
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        common_name=clean_text(wire.common_name),
        fingerprint=spki_fingerprint(wire.public_key),
        not_before=wire.not_before,
        not_after=wire.not_after,
        source=source[:200],
    )
