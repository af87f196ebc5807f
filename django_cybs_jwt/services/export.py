"""Write a key out again, as a P12 file under a new password.

The one place that opens `sealed_p12`; only the command line calls it. The key lies in memory and
in the file that was asked for, nowhere else.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.db import transaction

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import (
    InvalidTransition,
    KeyMaterialError,
    KeyMismatch,
    WeakKey,
)
from django_cybs_jwt.models import Credential, State
from django_cybs_jwt.protocol import p12
from django_cybs_jwt.protocol.file_password import encode_password
from django_cybs_jwt.protocol.keys import Secret, spki_fingerprint
from django_cybs_jwt.protocol.p12_writer import write_p12
from django_cybs_jwt.sealing import open_blob
from django_cybs_jwt.services import approvals, audit, lifecycle, opened_keys
from django_cybs_jwt.services.keys import sealing_context

SHORTEST_PASSWORD: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class _Contents(Secret):
    private_key: RSAPrivateKey
    certificate: x509.Certificate | None
    others: Sequence[x509.Certificate] = ()


def export(
    credential: Credential,
    path: str | os.PathLike[str],
    new_password: str,
    *,
    actor: str,
    now: datetime,
    reason: str,
) -> None:
    """Write a new P12 file at *path* that only its owner reads; audited with the path.

    Raises FileExistsError for a path that is taken, WeakKey or UnreadableKeyFile for the password,
    KeyMaterialError for a shared secret, InvalidTransition, ApprovalRequired, SealingError.
    """
    with audit.denials_of(credential, "export", actor=actor, now=now):
        _check_password(new_password)
        # Made before the key is opened: a wrong path uses no approval up.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            try:
                # Committed before it is written: no crash leaves a key without its audit row.
                key = _release(credential, path, actor=actor, now=now, reason=reason)
                file.write(write_p12(key.private_key, key.certificate, key.others, new_password))
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                Path(path).unlink(missing_ok=True)
                raise


def _release(
    credential: Credential,
    path: str | os.PathLike[str],
    *,
    actor: str,
    now: datetime,
    reason: str,
) -> _Contents:
    with transaction.atomic():
        current = lifecycle.locked(credential.pk)
        _check(current, reason)
        approvals.require(approvals.EXPORT, current, now=now)
        opened = _open(current, now)
        # Last: everybody's audit rows wait behind this one.
        entry = audit.Entry(
            action="export",
            actor=actor,
            organization=str(current.organization),
            credential=current,
            reason=f"{_printable(path)}: {reason}",
        )
        audit.record(entry, now=now)
    return opened


def _check_password(password: str) -> None:
    if len(password) < SHORTEST_PASSWORD:
        raise WeakKey(
            "The new password needs at least {least} characters.", least=SHORTEST_PASSWORD
        )
    encode_password(password)


def _check(credential: Credential, reason: str) -> None:
    if not reason:
        raise InvalidTransition("Exporting a key takes a reason.")
    check_writable(credential)


def check_writable(credential: Credential) -> None:
    """Raise InvalidTransition or KeyMaterialError for what no file could be made of."""
    if credential.state == State.DESTROYED:
        raise InvalidTransition(
            "{key_id} is {state}; nothing is left.",
            key_id=credential.key_id,
            state=credential.state,
        )
    if credential.kind == Credential.Kind.SHARED_SECRET:
        raise KeyMaterialError(
            "A shared secret has no encrypted file that the gateway's software reads, so it is "
            "not written out. Generate another pair in the Business Center: both work side by side."
        )


def _open(credential: Credential, now: datetime) -> _Contents:
    if credential.kind == Credential.Kind.P12:
        return _open_p12(credential, now)
    opened = opened_keys.material(credential)
    if not isinstance(opened, RSAPrivateKey):
        raise KeyMismatch(credential=str(credential.pk))
    pem = credential.certificate.encode()
    return _Contents(
        private_key=opened, certificate=x509.load_pem_x509_certificate(pem) if pem else None
    )


def _open_p12(credential: Credential, now: datetime) -> _Contents:
    context = sealing_context(credential, "sealed_p12")
    packed = open_blob(credential.sealed_p12, context=context, ring=conf.keyring())
    (length,) = struct.unpack_from(">I", packed)
    settings = conf.current()
    bundle = p12.load_p12(
        packed[4 : 4 + length],
        packed[4 + length :],
        # Judged as on the day it came in: a key that has ended may still be needed elsewhere.
        now=credential.staged_at or now,
        common_name=credential.common_name,
        gateway_aliases=settings.GATEWAY_CERTIFICATE_NAMES,
        interpreter=settings.P12_INTERPRETER,
    )
    if spki_fingerprint(bundle.private_key.public_key()) != credential.fingerprint:
        raise KeyMismatch(credential=str(credential.pk))
    return _Contents(
        private_key=bundle.private_key,
        certificate=bundle.certificate,
        others=(*bundle.gateway_certificates, *bundle.others),
    )


def _printable(path: str | os.PathLike[str]) -> str:
    """*path* in full; a name that is not text would not fit into an audit row."""
    return os.fsencode(Path(path).absolute()).decode("utf-8", "replace")
