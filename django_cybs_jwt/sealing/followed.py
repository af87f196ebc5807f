"""A ring that follows its file: a key that it lacks may be there by now.

Without it every process that runs would refuse what a re-wrap has moved to a new key, until it is
restarted. The trust root stays the one file, and a key that it has not either is refused.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final, NamedTuple, Self

from django_cybs_jwt.exceptions import KeyBlocked, KeyRingError, KeyUnavailable
from django_cybs_jwt.sealing import ring_file
from django_cybs_jwt.sealing.keyring import KeyRing

logger: Final = logging.getLogger(__name__)

_Stamp = tuple[int, ...] | None


class _Held(NamedTuple):
    ring: FollowingRing
    stamp: _Stamp


class FollowingRing(KeyRing):
    """A ring as its file had it once; it takes from the newest what it does not give out itself."""

    __slots__ = ("_file",)
    _file: FollowedFile

    def following(self, file: FollowedFile) -> Self:
        """This ring, told which file it is from."""
        self._file = file
        return self

    def kek(self, kek_id: str) -> bytes:
        """The key's 32 bytes, of the ring in the file as it is now where this one refuses."""
        try:
            return super().kek(kek_id)
        except (KeyUnavailable, KeyBlocked):
            newest = self._file.newest()
            if newest is self:
                raise
        return newest.kek(kek_id)


class FollowedFile:
    """The file of a ring, read once and again only when it is another one than was read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        # Before the file is read: a change in between is one that is still to be seen.
        stamp = self._stamp()
        # Replaced as one: whoever looks again at the same time disturbs no other thread.
        self._held = _Held(self._read(), stamp)

    def ring(self) -> KeyRing:
        """The ring that was read last."""
        return self._held.ring

    def newest(self) -> KeyRing:
        """The ring that is in the file now; what cannot be read, or is another ring, is not taken.

        It is tried once for each change of the file, however many secrets ask for it.
        """
        stamp = self._stamp()
        if stamp != self._held.stamp:
            self._held = _Held(self._taken(), stamp)
        return self._held.ring

    def _taken(self) -> FollowingRing:
        held = self._held.ring
        try:
            ring = self._read()
        except KeyRingError as error:
            logger.warning("The key ring was changed and is not taken: %s", error.english)
            return held
        if not ring.continues(held):
            # Its audit key would spoil the chain; a restart says that this is meant.
            logger.warning("The key ring was replaced by another one, which is not taken.")
            return held
        return ring

    def _read(self) -> FollowingRing:
        return FollowingRing.from_json(ring_file.content(self._path)).following(self)

    def _stamp(self) -> _Stamp:
        try:
            found = self._path.stat()
        except OSError:
            return None
        # The change time too: a file that could not be read becomes readable by it alone.
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
