"""Write the audit chain. Each row's digest covers the row and the digest before it."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from django.db import Error, connection, transaction
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import AuditHead, Credential, KeyEvent, Organization

logger = logging.getLogger(__name__)

_watched: ContextVar[bool] = ContextVar("cybs_jwt_denials", default=False)

CHAINED = (
    "id",
    "seq",
    "at",
    "actor",
    "action",
    "outcome",
    "organization",
    "credential",
    "key_id",
    "fingerprint",
    "from_state",
    "to_state",
    "reason",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one audit row will say. No secret belongs in any field."""

    action: str
    actor: str
    organization: str
    credential: Credential | None = field(default=None, repr=False)
    from_state: str = ""
    to_state: str = ""
    reason: str = ""
    outcome: str = KeyEvent.Outcome.DONE


def record(entry: Entry, *, now: datetime | None = None) -> KeyEvent:
    """Append one row in the caller's transaction: both commit, or neither does."""
    with transaction.atomic():
        head = _lock_head()
        event = _event(entry, seq=head.seq + 1, at=now or timezone.now())
        event.digest = chain_digest(head.digest, event)
        event.save(force_insert=True)
        head.seq, head.digest = event.seq, event.digest
        head.save(update_fields=["seq", "digest"])
    return event


def take_turn() -> None:
    """Wait for every other change; the caller's transaction then has the chain to itself."""
    _lock_head()


@contextmanager
def denials(
    action: str,
    *,
    actor: str,
    organization: Organization,
    credential: Credential | None = None,
    now: datetime | None = None,
) -> Iterator[None]:
    """Audit a refusal of ours inside the block as denied, then let it go on.

    Of nested blocks the outermost speaks: it stands outside the transaction that rolls back.
    *credential* is the key it is about, where that is stored already.
    """
    if _watched.get():
        yield
        return
    token = _watched.set(True)
    try:
        yield
    except CybsError as error:
        entry = Entry(
            action=action,
            actor=actor,
            organization=str(organization),
            credential=credential,
            reason=f"{type(error).__name__}: {error.english}",
        )
        record_denied(entry, now=now)
        raise
    finally:
        _watched.reset(token)


def denials_of(
    credential: Credential, action: str, *, actor: str, now: datetime
) -> AbstractContextManager[None]:
    """`denials` of what somebody wants with a key that is stored."""
    owner = credential.organization
    return denials(action, actor=actor, organization=owner, credential=credential, now=now)


@contextmanager
def rehearsal() -> Iterator[None]:
    """Roll back at the end what is done inside; refusals are not audited, as none is an attempt."""
    token = _watched.set(True)
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    finally:
        _watched.reset(token)


def refused(
    action: str, error: type[CybsError], *, actor: str, organization: str, now: datetime
) -> None:
    """Audit a refusal of what somebody brought, unless that was a rehearsal.

    Without its text: that may repeat what was typed into the wrong field.
    """
    if not _watched.get():
        reason = error.__name__
        entry = Entry(action=action, actor=actor, organization=organization, reason=reason)
        record_denied(entry, now=now)


def record_denied(entry: Entry, *, now: datetime | None = None) -> None:
    """Append a denied row that stays when the caller's transaction rolls back.

    Where that transaction has the chain to itself the row shares its fate, and the log says so.
    """
    denied = replace(entry, outcome=KeyEvent.Outcome.DENIED)
    if not connection.in_atomic_block:
        record(denied, now=now)
    # SQLite has one writer, and that is the transaction that is open.
    elif connection.vendor == "sqlite" or not _is_recorded_apart(denied, now):
        _record_within(denied, now)


def _is_recorded_apart(entry: Entry, now: datetime | None) -> bool:
    """Write on a connection of its own, so that the caller's rollback does not take it."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        try:
            executor.submit(_record_impatiently, entry, now).result()
        except Error:
            return False
    return True


def _record_within(entry: Entry, now: datetime | None) -> None:
    told = "Denied, not in the audit chain if the transaction around it rolls back"
    key_id = entry.credential.key_id if entry.credential else "no key"
    logger.error("%s: %s of %s", told, entry, key_id)
    try:
        record(entry, now=now)
    except Error as error:
        logger.error("It does: %s", type(error).__name__)  # the refusal goes on


def _record_impatiently(entry: Entry, now: datetime | None) -> None:
    try:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                # The caller may hold the head row; waiting for it would never end.
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '2s'")
            elif connection.vendor == "mysql":
                with connection.cursor() as cursor:
                    cursor.execute("SET SESSION innodb_lock_wait_timeout = 2")
            record(entry, now=now)
    finally:
        connection.close()


def chain_digest(previous: str, event: KeyEvent) -> str:
    """HMAC-SHA256 under the ring's audit key, as 64 hex digits."""
    key = conf.keyring().audit_key()
    return hmac.new(key, previous.encode() + _canonical(event), hashlib.sha256).hexdigest()


def chained(event: KeyEvent) -> dict[str, Any]:
    """What the digest of a row covers, ready for JSON."""
    row: dict[str, Any] = {name: getattr(event, name) for name in CHAINED}
    row["id"] = str(event.id)
    row["credential"] = str(event.credential) if event.credential else None
    # In UTC, as the row is read back, whatever zone the caller's clock had.
    row["at"] = event.at.astimezone(UTC).isoformat(timespec="microseconds")
    return row


def _canonical(event: KeyEvent) -> bytes:
    return json.dumps(chained(event), sort_keys=True, separators=(",", ":")).encode()


def _lock_head() -> AuditHead:
    # Locked before anything is read: MySQL shows a transaction what was there at its first read.
    locking = AuditHead.objects.select_for_update().filter(pk=1)
    head = locking.first()
    if head is None:
        AuditHead.objects.get_or_create(pk=1)
        head = locking.get()
    return head


def _event(entry: Entry, *, seq: int, at: datetime) -> KeyEvent:
    credential = entry.credential
    return KeyEvent(
        seq=seq,
        at=at,
        actor=entry.actor,
        action=entry.action,
        outcome=entry.outcome,
        organization=entry.organization,
        credential=credential.id if credential else None,
        key_id=credential.key_id if credential else "",
        fingerprint=credential.fingerprint if credential else "",
        from_state=entry.from_state,
        to_state=entry.to_state,
        reason=entry.reason,
    )
