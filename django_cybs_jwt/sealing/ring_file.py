"""The file that a ring of keys lives in: read, written once, and changed whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from django_cybs_jwt.exceptions import KeyRingError
from django_cybs_jwt.sealing.keyring import GENERATE, KeyRing


def read(path: str | os.PathLike[str]) -> KeyRing:
    """Read a ring from its file, or raise KeyRingError."""
    return KeyRing.from_json(content(path))


def content(path: str | os.PathLike[str]) -> bytes:
    """What stands in the file of a ring, or KeyRingError that names it."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise KeyRingError(
            "There is no key ring at {path}. {cure}", path=path, cure=GENERATE
        ) from None
    except OSError as error:
        raise KeyRingError(
            "The key ring at {path} cannot be read: {cause}. "
            "It must be a file that this process may read.",
            path=path,
            cause=error.strerror,
        ) from None


def write_new(path: str | os.PathLike[str], ring: KeyRing) -> None:
    """Write *ring* to a file that only its owner reads; FileExistsError if there is one."""
    with _new_file(path) as file:
        file.write(ring.to_json())


def change(path: str | os.PathLike[str], edit: Callable[[KeyRing], KeyRing]) -> KeyRing:
    """Replace the ring in a file by what *edit* makes of it, whole or not at all.

    One change at a time: of two that read the same ring, one would lose its key. Owner and group
    keep their access, others get none. KeyRingError or OSError leaves the file as it is.
    """
    file = Path(path).resolve()
    draft = file.with_name(f"{file.name}.new")
    try:
        with _new_file(draft) as new:
            ring = edit(read(file))
            _give_to_readers_of(file, new.fileno())
            new.write(ring.to_json())
    except FileExistsError:
        raise KeyRingError(
            "The ring is being changed by somebody else. If nobody does, delete {draft}.",
            draft=draft,
        ) from None
    try:
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(file.parent)
    return ring


def is_world_readable(path: str | os.PathLike[str]) -> bool:
    """True if the file is there and every user of this machine may read it."""
    file = Path(path)
    return file.exists() and bool(file.stat().st_mode & stat.S_IROTH)


@contextmanager
def _new_file(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A new file, on the disk when the block ends and gone when it fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        # Half a ring would stand in the way of the next try.
        Path(path).unlink(missing_ok=True)
        raise


def _give_to_readers_of(file: Path, descriptor: int) -> None:
    # A worker that reads the ring as another user must still read it after root changed it.
    before, now = file.stat(), os.fstat(descriptor)
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o770)


def _sync_folder(folder: Path) -> None:
    # Best effort: some file systems cannot, and the change is made by now.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
