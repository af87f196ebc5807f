"""Change the ring of key-encryption keys in its file, with an audit row where there is a database.

A process that runs sees a new key when it meets what is sealed under it, and everything else that
was changed here after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain, count
from pathlib import Path

from django.db import Error

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError, CybsError, KeyRingError
from django_cybs_jwt.sealing import KeyRing, Status, ring_file
from django_cybs_jwt.services import audit, database_faults
from django_cybs_jwt.services.audit import chain as audit_chain
from django_cybs_jwt.services.sealed import columns

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One key of the ring; *sealed* counts its secrets, None without a database."""

    id: str
    status: str
    primary: bool
    created: date | None
    fingerprint: str
    sealed: int | None


def generate(kek_id: str, *, actor: str, now: datetime) -> KeyRing:
    """Write a new ring with one key; FileExistsError where there is a ring."""
    path = _path()
    ring = KeyRing.generate(kek_id or _name(now), created=now.date())
    ring_file.write_new(path, ring)
    _changed("kek-generate", ring, ring.primary_id, actor=actor, now=now)
    return ring


def add(kek_id: str, *, actor: str, now: datetime) -> KeyRing:
    """Add a new key that opens and does not seal; by default the day is its name, or DAY-2."""

    def added(ring: KeyRing) -> KeyRing:
        return ring.with_new(kek_id or _free_name(ring, now), created=now.date())

    ring = ring_file.change(_path(), added)
    _changed("kek-add", ring, ring.ids()[-1], actor=actor, now=now)
    return ring


def promote(kek_id: str, *, actor: str, now: datetime) -> KeyRing:
    """Make a key the one that seals: by default the one added after it, where that is one alone.

    KeyBlocked for a blocked one.
    """
    ring = ring_file.change(_path(), lambda ring: ring.promoted(kek_id or _next_in(ring)))
    _changed("kek-promote", ring, ring.primary_id, actor=actor, now=now)
    return ring


def block(kek_id: str, *, actor: str, now: datetime, force: bool = False) -> KeyRing:
    """Make a key open nothing; refused while something is sealed under it, unless forced."""

    def blocked(ring: KeyRing) -> KeyRing:
        ring.status(kek_id)
        if kek_id == ring.primary_id:
            raise CybsError(
                "{kek_id!r} is the primary key. Promote another one first.", kek_id=kek_id
            )
        if not force:
            _check_nothing_under(kek_id)
        return ring.with_status(kek_id, Status.BLOCKED)

    reason = "forced" if force else ""
    return _change("kek-block", kek_id, blocked, actor=actor, now=now, reason=reason)


def unblock(kek_id: str, *, actor: str, now: datetime) -> KeyRing:
    """Let a blocked key open again."""

    def unblocked(ring: KeyRing) -> KeyRing:
        if ring.status(kek_id) is not Status.BLOCKED:
            raise CybsError(
                "{kek_id!r} is not blocked: it is {status}.",
                kek_id=kek_id,
                status=ring.status(kek_id),
            )
        return ring.with_status(kek_id, Status.DECRYPT_ONLY)

    return _change("kek-unblock", kek_id, unblocked, actor=actor, now=now)


def listing() -> list[Listed]:
    """Every key of the ring in use."""
    ring = conf.keyring()
    return [
        Listed(
            id=kek_id,
            status=ring.status(kek_id).value,
            primary=kek_id == ring.primary_id,
            created=ring.created(kek_id),
            fingerprint=ring.fingerprint(kek_id),
            sealed=_count_under(kek_id),
        )
        for kek_id in ring.ids()
    ]


def _change(
    action: str,
    kek_id: str,
    edit: Callable[[KeyRing], KeyRing],
    *,
    actor: str,
    now: datetime,
    reason: str = "",
) -> KeyRing:
    ring = ring_file.change(_path(), edit)
    _changed(action, ring, kek_id, actor=actor, now=now, reason=reason)
    return ring


def _changed(
    action: str, ring: KeyRing, kek_id: str, *, actor: str, now: datetime, reason: str = ""
) -> None:
    conf.forget_keyring()
    told = f"{kek_id} {ring.fingerprint(kek_id)} {reason}".rstrip()
    entry = audit.Entry(action=action, actor=actor, organization="", reason=told)
    try:
        if not audit_chain.is_of_this_ring():
            # One row under another audit key, and the chain would never verify again.
            logger.warning("Not in the audit chain, which is another ring's: %s %s", action, told)
            return
        audit.record(entry, now=now)
    except Error as error:
        # The ring comes before the database; it must be possible to make and mend it without.
        # A first ring has nothing to be traced in yet: the command says so, and nobody is warned.
        is_first = action == "kek-generate" or precedes_the_database()
        level = logging.DEBUG if is_first else logging.WARNING
        told = f"({type(error).__name__}): {action} {told}"
        logger.log(level, "Not in the audit chain %s", told)


def precedes_the_database() -> bool:
    """True before the first `migrate`: there is no audit chain that a change could stand in."""
    try:
        return database_faults.is_behind()
    except Error:
        return False


def reaches_the_database() -> bool:
    """False where nobody answers: the change stands in no audit chain."""
    try:
        database_faults.is_behind()
    except Error:
        return False
    return True


def suits_the_database() -> bool:
    """False where the audit chain is another ring's; True without a database."""
    try:
        return audit_chain.is_of_this_ring()
    except Error:
        return True


def _path() -> Path:
    settings = conf.current()
    if settings.KEYRING is not None:
        raise ConfigurationError(
            "CYBS_JWT['KEYRING'] holds the ring: change it where it comes from. "
            "This command changes the file of CYBS_JWT['KEYRING_FILE']."
        )
    if settings.KEYRING_FILE is None:
        raise ConfigurationError("Set CYBS_JWT['KEYRING_FILE'] to a path first.")
    return Path(settings.KEYRING_FILE)


def _check_nothing_under(kek_id: str) -> None:
    sealed = _count_under(kek_id)
    if sealed is None:
        raise CybsError(
            "The database does not say what is sealed under {kek_id!r}. Give --force if nothing.",
            kek_id=kek_id,
        )
    if sealed:
        raise CybsError(
            "{sealed} secrets are sealed under {kek_id!r} and would not open any more. "
            "Run `manage.py cybs_rewrap` first, or give --force.",
            sealed=sealed,
            kek_id=kek_id,
        )


def _count_under(kek_id: str) -> int | None:
    try:
        return columns.count_under(kek_id)
    except Error:
        return None


def _name(now: datetime) -> str:
    return f"{now:%Y-%m-%d}"


def _free_name(ring: KeyRing, now: datetime) -> str:
    day = _name(now)
    names = chain([day], (f"{day}-{number}" for number in count(2)))
    return next(name for name in names if name not in ring.ids())


def _next_in(ring: KeyRing) -> str:
    """The one key that was added behind the primary and only opens; what stands before was one."""
    behind = ring.ids()[ring.ids().index(ring.primary_id) + 1 :]
    found = [kek_id for kek_id in behind if ring.status(kek_id) is Status.DECRYPT_ONLY]
    if len(found) == 1:
        return found[0]
    if not found:
        raise KeyRingError(
            "No key was added after {kek_id!r}, which seals. Add one, or name an older one.",
            kek_id=ring.primary_id,
        )
    raise KeyRingError("Name the key that is to seal: {ids}.", ids=", ".join(found))
