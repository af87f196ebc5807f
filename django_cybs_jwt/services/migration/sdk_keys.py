"""Open the keys that an SDK configuration names: whose they are, and for whom they sign."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from django_cybs_jwt.exceptions import (
    CybsError,
    KeyMaterialError,
    OrganizationConflict,
    WrongKeyFile,
)
from django_cybs_jwt.models import Purpose
from django_cybs_jwt.protocol import pem
from django_cybs_jwt.protocol.file_password import encode_password
from django_cybs_jwt.protocol.keys import subject_serial_number
from django_cybs_jwt.services import inspection
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.services.migration import sdk_settings
from django_cybs_jwt.services.migration.sdk_settings import Members
from django_cybs_jwt.texts import Text

_ORG_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A configuration with its files opened; *owner* is the portfolio under a meta key."""

    merchant: str
    owner: str
    host: str
    found: tuple[Inspection, ...]
    notices: tuple[str, ...]

    @property
    def is_meta(self) -> bool:
        """True when the keys are a portfolio's and sign for the merchant."""
        return self.owner != self.merchant


def open_keys(members: Members, folder: Path, *, now: datetime) -> Opened:
    """Read the members that name keys and open these; a refusal is a CybsError."""
    merchant = _org_id(members, "merchantid")
    owner = _org_id(members, "portfolio_id") if members.flag("use_metakey") else merchant
    host = sdk_settings.host_of(members)
    with _about(Text("Signing key")):
        signing, notices = _signing_key(members, folder, merchant, owner, now)
    with _about(Text("Response MLE key")):
        response = _response_key(members, folder, owner, now)
    with _about(Text("Request-MLE certificate")):
        certificate = _request_certificate(members, folder)
    if certificate is not None:
        kept = (*signing.gateway_certificates, certificate)
        signing = replace(signing, gateway_certificates=kept)
    return Opened(
        merchant=merchant,
        owner=owner,
        host=host,
        found=(signing, response) if response else (signing,),
        notices=(*notices, *signing.notices, *(response.notices if response else ())),
    )


def merchant_in(members: Members) -> str:
    """Whom a configuration is about; empty where it does not say."""
    try:
        return _org_id(members, "merchantid")
    except CybsError:
        return ""


@contextmanager
def _about(what: str) -> Iterator[None]:
    """A refusal says which of the files it speaks of; without that one the others can be taken."""
    try:
        yield
    except KeyMaterialError as error:
        raise type(error)(Text("{what}: {cause}", what=what, cause=error.text)) from None


def _org_id(members: Members, name: str) -> str:
    if not _ORG_ID.fullmatch(found := members.need(name)):
        raise OrganizationConflict(
            "{name} is not an organization id of the gateway: 1 to 60 letters, digits "
            "and . - _ only, the first a letter or digit.",
            name=name,
        )
    return found


def _signing_key(
    members: Members, folder: Path, merchant: str, owner: str, now: datetime
) -> tuple[Inspection, tuple[str, ...]]:
    kind = members.need("authentication_type").strip().lower()
    if kind not in {"jwt", "http_signature"}:
        raise KeyMaterialError(
            "authentication_type is neither JWT nor HTTP_Signature. OAuth and mutual TLS have no "
            "counterpart here: generate a REST key in the Business Center."
        )
    key_type = members.text("jwt_key_type").strip().upper() if kind == "jwt" else "SHARED_SECRET"
    if key_type == "SHARED_SECRET":
        wanted = Wanted(
            purpose=Purpose.SIGNING, key_id=members.need("merchant_keyid"), algorithm="HS256"
        )
        secret = members.need("merchant_secretkey")
        return inspection.inspect_shared_secret(secret, wanted, now=now), ()
    if key_type not in {"", "P12"}:
        raise KeyMaterialError("jwt_key_type is P12 or SHARED_SECRET.")
    data = sdk_settings.read_p12(members, folder, merchant)
    password = members.text("key_password")
    notices = (
        () if password else (Text("key_password is not given: the merchant id is, as in the SDK."),)
    )
    wanted = Wanted(purpose=Purpose.SIGNING, owner=owner)
    return (
        inspection.inspect_file(data, encode_password(password or merchant), wanted, now=now),
        notices,
    )


def _response_key(members: Members, folder: Path, owner: str, now: datetime) -> Inspection | None:
    pasted = members.text("responseMlePrivateKey")
    named = members.text("responseMlePrivateKeyFilePath")
    if not (pasted or named):
        return None
    if pasted and (named or "-----BEGIN " not in pasted):
        raise KeyMaterialError(
            "responseMlePrivateKey must be PEM text, alone. "
            "Else name the file in responseMlePrivateKeyFilePath and leave the other out."
        )
    data = pasted.encode(errors="replace")
    if named:
        data = sdk_settings.read_named(members, folder, "responseMlePrivateKeyFilePath")
    password = encode_password(members.text("responseMlePrivateKeyFilePassword"))
    key_id = members.text("responseMleKID")
    wanted = Wanted(purpose=Purpose.RESPONSE_MLE, owner=owner, key_id=key_id)
    return inspection.inspect_file(data, password or None, wanted, now=now)


def _request_certificate(members: Members, folder: Path) -> x509.Certificate | None:
    """The gateway's certificate that the configuration names: it serves this owner alone."""
    if not members.text("mleForRequestPublicCertPath"):
        return None
    data = sdk_settings.read_named(members, folder, "mleForRequestPublicCertPath")
    certificate = pem.load_certificate(data)
    if not subject_serial_number(certificate):
        raise WrongKeyFile(
            "The certificate that mleForRequestPublicCertPath names has no key ID "
            "(serialNumber) in its subject."
        )
    return certificate
