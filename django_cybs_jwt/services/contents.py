"""What an upload held, kept in clear beside the sealed key: what a preview shows, later too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django_cybs_jwt.models import Credential, Purpose
from django_cybs_jwt.protocol.certificate_facts import CertificateFacts
from django_cybs_jwt.services.inspection import Inspection
from django_cybs_jwt.texts import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """For a page: *bits* is the length of the key, None where a version did not note it."""

    bits: int | None
    certificates: tuple[CertificateFacts, ...]
    notices: tuple[str, ...]


def of(inspection: Inspection, *, warning: str | None = None) -> dict[str, Any]:
    """The value of `Credential.contents`: nothing in it is secret."""
    return {
        "bits": inspection.bits,
        "certificates": [_plain(facts) for facts in inspection.certificates],
        "notices": [*inspection.notices, *([warning] if warning else [])],
    }


def read(credential: Credential) -> Contents:
    """What `of` wrote; empty for a key stored before it was kept."""
    stored: Mapping[str, Any] = credential.contents
    return Contents(
        bits=stored.get("bits"),
        certificates=tuple(_facts(item) for item in stored.get("certificates", ())),
        notices=tuple(map(Text, stored.get("notices", ()))),
    )


def missing(credential: Credential) -> list[str]:
    """What a complete download would have held and this one did not, with the way to mend it."""
    roles = {facts.role for facts in read(credential).certificates}
    gaps: list[str] = []
    if credential.kind == Credential.Kind.P12 and "request-MLE" not in roles:
        gaps.append(
            Text(
                "No request-MLE certificate is inside: requests cannot be encrypted with this file "
                "alone. Add the host's with `manage.py cybs_gateway_cert add`.",
                page="No request-MLE certificate is inside: requests cannot be encrypted with "
                "this file alone. Import a P12 that carries it.",
            )
        )
    if credential.kind == Credential.Kind.PRIVATE_KEY and "own" not in roles:
        gaps.append(Text("No certificate is inside: the key ID was typed by hand."))
    if credential.expires_at is None:
        gaps.append(Text("No end is known, so nothing will warn of it."))
    return gaps


def looks_like(credential: Credential) -> str:
    """Which download of the gateway the upload looks like."""
    if credential.kind == Credential.Kind.SHARED_SECRET:
        return Text("A shared secret of REST - Shared Secret.")
    if credential.kind == Credential.Kind.PRIVATE_KEY:
        return Text("A PEM private key: one you made yourself, or an unpacked P12.")
    purpose = Purpose(credential.slot.purpose)
    known = {
        Purpose.SIGNING: Text("A P12 of REST - Certificate"),
        Purpose.RESPONSE_MLE: Text("A P12 of REST - API Response MLE"),
    }
    return Text(
        "{download}, as you said; both look alike inside, verification tells them apart.",
        download=known[purpose],
    )


def _plain(facts: CertificateFacts) -> dict[str, Any]:
    dates = {name: getattr(facts, name).isoformat() for name in ("not_before", "not_after")}
    return asdict(facts) | dates


def _facts(item: Mapping[str, Any]) -> CertificateFacts:
    dates = {name: datetime.fromisoformat(item[name]) for name in ("not_before", "not_after")}
    return CertificateFacts(**{**item, **dates})
