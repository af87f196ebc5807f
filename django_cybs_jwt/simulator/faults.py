"""What can go wrong on demand."""

from __future__ import annotations

import http
import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from .bodies import FLAGS
from .ledger import Operation


class FaultKind(StrEnum):
    """One way to fail.

    | kind | what happens | needs |
    |---|---|---|
    | latency | the answer comes late | seconds |
    | clock_skew | its clock runs ahead, or behind: its checks and its Date header | seconds |
    | status | the gateway answers this status instead | status |
    | redirect | 307 to the same place, or the status given | |
    | reset_before | the connection is reset, nothing was processed | |
    | reset_after | the connection is reset after the ledger was written | |
    | truncate | half of the body that Content-Length promised | |
    | garbage | processed, and the answer has no status line | |
    | page | 200 with a page of whoever stands in between, nothing was processed | |
    | plain_reply | a plain reply although an encrypted one was asked for | |
    | broken_jwe | an encrypted reply that does not open | |
    | unknown_kid | an encrypted reply under a key id nobody registered | |
    """

    LATENCY = "latency"
    CLOCK_SKEW = "clock_skew"
    STATUS = "status"
    REDIRECT = "redirect"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    TRUNCATE = "truncate"
    GARBAGE = "garbage"
    PAGE = "page"
    PLAIN_REPLY = "plain_reply"
    BROKEN_JWE = "broken_jwe"
    UNKNOWN_KID = "unknown_kid"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"A kind is one of {', '.join(cls)}; {str(value)[:80]!r} is none.")


_YEAR: Final = 365 * 24 * 3600.0
_NEEDS_SECONDS: Final = (FaultKind.LATENCY, FaultKind.CLOCK_SKEW)
_STATUSES: Final = frozenset({200, 201} | {s.value for s in http.HTTPStatus if s >= 400})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DEFAULT_REASONS: Final = {201: "PROCESSOR_TIMEOUT", 400: "PROCESSOR_UNAVAILABLE"}


_NUMBER: Final = (int, float)
_MEMBERS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "kind": str,
    "times": int,
    "probability": _NUMBER,
    "org_id": str,
    "operation": str,
    "seconds": _NUMBER,
    "status": int,
    "reason": str,
    "retry_after": int,
    "processed": bool,
    "flag": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, for *times* requests (1 by default) or with *probability* until cleared.

    *org_id* and *operation* narrow it down. *processed* lets a status fault write the ledger
    first, *flag* is what the search then shows of it, like ETIMEOUT; *reason* is the gateway's
    word in its body; *retry_after* is in seconds.
    Raises ValueError when it makes no sense.
    """

    kind: FaultKind
    times: int | None = None
    probability: float | None = None
    org_id: str | None = None
    operation: Operation | None = None
    seconds: float = 0.0
    status: int = 0
    reason: str = ""
    retry_after: int | None = None
    processed: bool = False
    flag: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FaultKind(self.kind))
        if self.operation is not None:
            object.__setattr__(self, "operation", Operation(self.operation))
        if self.times is None and self.probability is None:
            object.__setattr__(self, "times", 1)
        if self.kind is FaultKind.REDIRECT and not self.status:
            object.__setattr__(self, "status", 307)
        if self.kind is FaultKind.STATUS and not self.reason:
            object.__setattr__(self, "reason", _DEFAULT_REASONS.get(self.status, "SYSTEM_ERROR"))
        self._check()

    def _check(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError("times is at least 1.")
        if self.probability is not None and not 0 < self.probability <= 1:
            raise ValueError("probability is above 0 and at most 1.")
        if self.kind in _NEEDS_SECONDS and not self.seconds:
            raise ValueError(f"{self.kind} needs seconds.")
        if not abs(self.seconds) <= _YEAR or (self.kind is FaultKind.LATENCY and self.seconds < 0):
            raise ValueError("seconds are within a year, and positive for latency.")
        if self.kind is FaultKind.CLOCK_SKEW and self.operation is not None:
            raise ValueError("The clock is read before the operation is known: give org_id only.")
        if self.kind is FaultKind.STATUS and self.status not in _STATUSES:
            raise ValueError("A status is 200, 201, or a known one from 400 to 599.")
        if self.flag and (self.flag not in FLAGS or not self.processed):
            raise ValueError(f"A flag is of what was processed: {', '.join(FLAGS)}.")
        if self.kind is FaultKind.REDIRECT and self.status not in _REDIRECTS:
            raise ValueError("A redirect is 301, 302, 303, 307 or 308.")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Fault:
        """Read a fault from a JSON object, or raise ValueError."""
        if not set(document) <= set(_MEMBERS) or "kind" not in document:
            others = ", ".join(name for name in _MEMBERS if name != "kind")
            raise ValueError(
                f"A fault has kind and may have {others}. A kind is one of {', '.join(FaultKind)}."
            )
        for name, value in document.items():
            # bool is an int to Python, never to us.
            if not isinstance(value, _MEMBERS[name]) or (
                isinstance(value, bool) and name != "processed"
            ):
                raise ValueError(f"{name} has the wrong type.")
        return cls(**document)

    def as_json(self) -> dict[str, Any]:
        """The fault as a JSON object."""
        return asdict(self)

    def concerns(self, org_id: str, operation: Operation) -> bool:
        """True if the fault is meant for this request."""
        return self.org_id in (None, org_id) and self.operation in (None, operation)


class Faults:
    """The faults in force. The same *seed* draws the same lots."""

    def __init__(self, *, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - draws lots, makes no secrets
        self._active: list[tuple[Fault, int | None]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Put *fault* in force, behind those that are."""
        with self._lock:
            self._active.append((fault, fault.times))

    def clear(self) -> None:
        """Lift every fault."""
        with self._lock:
            self._active.clear()

    def active(self) -> list[Fault]:
        """The faults in force."""
        with self._lock:
            return [fault for fault, _ in self._active]

    def take(self, kind: FaultKind, org_id: str, operation: Operation) -> Fault | None:
        """The first fault of this *kind* that strikes this request, used up by one."""
        with self._lock:
            for index, (fault, left) in enumerate(self._active):
                if fault.kind is kind and fault.concerns(org_id, operation) and self._drawn(fault):
                    self._use_up(index, fault, left)
                    return fault
        return None

    def _drawn(self, fault: Fault) -> bool:
        return fault.probability is None or self._random.random() < fault.probability

    def _use_up(self, index: int, fault: Fault, left: int | None) -> None:
        if left == 1:
            del self._active[index]
        elif left is not None:
            self._active[index] = (fault, left - 1)
