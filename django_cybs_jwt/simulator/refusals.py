"""Why the gateway says no, in one typed word each."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """The typed reason. It never goes into a body: the gateway keeps it to itself."""

    # Before the caller is known: 401, always in clear.
    NO_TOKEN = "NO_TOKEN"  # noqa: S105
    BAD_TOKEN = "BAD_TOKEN"  # noqa: S105
    BAD_CLAIM = "BAD_CLAIM"
    WRONG_VERSION = "WRONG_VERSION"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    KEY_EXPIRED = "KEY_EXPIRED"
    WRONG_ALGORITHM = "WRONG_ALGORITHM"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    LIFETIME_TOO_LONG = "LIFETIME_TOO_LONG"
    NOT_YET_VALID = "NOT_YET_VALID"
    EXPIRED = "EXPIRED"
    WRONG_METHOD = "WRONG_METHOD"
    WRONG_PATH = "WRONG_PATH"
    WRONG_DIGEST = "WRONG_DIGEST"
    UNKNOWN_MERCHANT = "UNKNOWN_MERCHANT"
    WRONG_HOST = "WRONG_HOST"
    NOT_COVERED = "NOT_COVERED"
    UNKNOWN_RESPONSE_KEY = "UNKNOWN_RESPONSE_KEY"
    REPLAYED = "REPLAYED"
    # The message itself.
    TOO_LARGE = "TOO_LARGE"
    WRONG_CONTENT_TYPE = "WRONG_CONTENT_TYPE"
    MLE_REQUIRED = "MLE_REQUIRED"
    MLE_UNREADABLE = "MLE_UNREADABLE"
    BAD_BODY = "BAD_BODY"
    # The business.
    NOT_FOUND = "NOT_FOUND"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_DATA = "INVALID_DATA"
    REPEATED_TRANSACTION_ID = "REPEATED_TRANSACTION_ID"
    NO_SUCH_ORIGINAL = "NO_SUCH_ORIGINAL"
    ALREADY_UNDONE = "ALREADY_UNDONE"


_STATUS = {
    Refusal.TOO_LARGE: 413,
    Refusal.WRONG_CONTENT_TYPE: 415,
    Refusal.NOT_FOUND: 404,
}
_REFUSALS = tuple(Refusal)
_UNAUTHENTICATED = frozenset(_REFUSALS[: _REFUSALS.index(Refusal.TOO_LARGE)])


class RefusalError(Exception):
    """The request is refused.

    *hint* is for the person who reads the list of refusals; *reason* and *field* are what the
    gateway itself would name in a 400.
    """

    def __init__(
        self, refusal: Refusal, hint: str, *, reason: str = "INVALID_DATA", field: str = ""
    ) -> None:
        super().__init__(f"{refusal}: {hint}")
        self.refusal = refusal
        self.hint = hint
        self.reason = reason
        self.field = field

    @property
    def status(self) -> int:
        """The HTTP status the gateway answers with."""
        if self.refusal in _UNAUTHENTICATED:
            return 401
        return _STATUS.get(self.refusal, 400)


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """One refused request: enough to find it, nothing of its body."""

    time: str
    org: str
    refusal: Refusal
    hint: str
    method: str
    path: str
    jti: str


class RefusalLog:
    """The last refusals, oldest first."""

    def __init__(self, size: int = 200) -> None:
        self._records: deque[RefusalRecord] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, record: RefusalRecord) -> None:
        """Remember *record*; the oldest one makes room."""
        with self._lock:
            self._records.append(record)

    def as_json(self) -> list[dict[str, object]]:
        """List the records as JSON objects."""
        with self._lock:
            return [asdict(record) for record in self._records]
