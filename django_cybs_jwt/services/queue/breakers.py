"""Leave alone for a while who fails everybody: a host, or one merchant.

Each process learns by itself; nothing is shared, so nothing can be stale. An open breaker costs
a row no try: it is put off until somebody may knock again.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django_cybs_jwt.models import Attempt, OutboundRequest
from django_cybs_jwt.services.queue import database_clock, outcomes
from django_cybs_jwt.services.queue.outcomes import Verdict

_SILENT: Final = frozenset({"not_sent", "no_answer", "incomplete"})
_REFUSED: Final = frozenset({outcomes.UNAUTHORIZED, "gateway_configuration"})
_OURS: Final = frozenset({"no_connection_free"})
"""What says nothing about the other side: it has not been asked."""
_PROBE: Final = 10.0  # seconds that the one who knocks has, before another may
_KNOCKS: Final = 20
"""That are remembered: more than knock while the longest exchange lasts."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Opens after *failures* in a row, for *shortest* seconds, twice that, at most *longest*."""

    failures: int
    shortest: float
    longest: float


SILENCE: Final = Patience(failures=5, shortest=5.0, longest=60.0)
REFUSAL: Final = Patience(failures=3, shortest=60.0, longest=900.0)


class Breaker:
    """Closed until too many fail in a row; then one knocks at a time, until one succeeds."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0
        self._times_opened = 0
        self._until = 0.0
        self._knocked: deque[object] = deque(maxlen=_KNOCKS)

    def wait(self, now: float) -> float:
        """Seconds to wait; with 0.0 this one may go through, and then must `pass_by`."""
        return max(self._until - now, 0.0)

    def pass_by(self, now: float, who: object) -> None:
        """*who* goes through: where it was open that one knocks, and the others wait for it."""
        if self._times_opened:
            self._until = now + _PROBE
            self._knocked.append(who)

    def has_let_in(self, who: object) -> bool:
        """True for one that knocks, and has not been told of since."""
        return who in self._knocked

    def give_back(self, now: float, who: object) -> None:
        """*who* has knocked and asked nothing."""
        if who in self._knocked:
            self._knocked.remove(who)
            self._until = now

    def failed(self, now: float, who: object) -> None:
        """One more in a row.

        Once it is open only of who has knocked since: what was on the wire before fails for the
        cause that opened it, and would make one hiccup as long as many.
        """
        if self._times_opened and who not in self._knocked:
            return
        self._failures += 1
        if self._failures >= self._patience.failures or self._times_opened:
            wait = self._patience.shortest * 2.0 ** min(self._times_opened, 20)
            self._until = now + min(wait, self._patience.longest)
            self._times_opened += 1
            self._failures = 0
            self._knocked.clear()

    def open(self, now: float, who: object) -> None:
        """At once: whoever comes next would fail in the same way."""
        self._failures = self._patience.failures
        self.failed(now, who)

    def succeeded(self) -> None:
        """Closed, and everything forgotten."""
        self._failures = self._times_opened = 0
        self._until = 0.0


_lock = threading.Lock()
_breakers: dict[tuple[str, str], Breaker] = {}
_ailing: dict[str, str] = {}
"""By host the merchant whose call it failed at last, with nothing else from it since."""
_pauses: dict[str, float] = {}
"""Until when a merchant was told to wait: no answer to what was on its way shortens that."""


def wait(request: OutboundRequest, *, looking: bool = False) -> float:
    """Seconds until this request may be tried, or looked up; 0.0 is now."""
    now = _now()
    with _lock:
        paused = _pauses.get(str(request.organization_id), now) - now
        if paused > 0.0:
            return paused
        found = list(_known(request, looking))
        longest = max((breaker.wait(now) for breaker in found), default=0.0)
        if not longest:
            # Not before all let it through: who waits for one of them knocks at none.
            for breaker in found:
                breaker.pass_by(now, request.pk)
        return longest


def give_back(request: OutboundRequest) -> None:
    """It has knocked and asked nobody: the next one may."""
    now = _now()
    with _lock:
        for breaker in _known(request, looking=True):
            breaker.give_back(now, request.pk)


def learn(request: OutboundRequest, verdict: Verdict) -> None:
    """What a try came to, for whoever is next."""
    if verdict.reason in _OURS:
        return
    now, who = _now(), request.pk
    refused, silent, host = _names(request)
    with _lock:
        if verdict.reason == "certificate_refused":
            _breakers.setdefault(host, Breaker(SILENCE)).open(now, who)
            return
        failed = verdict.reason in _SILENT or verdict.ails
        told = (silent,) if verdict.ails and not _fails_others_too(request) else (silent, host)
        for name in told:
            _tell(name, SILENCE, who, failed=failed, now=now)
        _ailing.pop(request.host, None)
        if verdict.ails:
            _ailing[request.host] = str(request.organization_id)
        _learn_of_merchant(request, refused, verdict, now)


def learn_of_look(request: OutboundRequest, verdict: Verdict) -> None:
    """What a look came to: that a search works says nothing of payments, nor that it does not."""
    if verdict.reason in _OURS:
        return
    now, who = _now(), request.pk
    refused, silent, host = _names(request)
    is_silent = verdict.reason in _SILENT
    with _lock:
        _tell(_search(request), SILENCE, who, failed=is_silent or verdict.ails, now=now)
        for name in (silent, host) if is_silent else ():
            _tell(name, SILENCE, who, failed=True, now=now)
        _learn_of_merchant(request, refused, verdict, now)


def _learn_of_merchant(
    request: OutboundRequest, refused: tuple[str, str], verdict: Verdict, now: float
) -> None:
    merchant = str(request.organization_id)
    if verdict.reason in _REFUSED:
        _tell(refused, REFUSAL, request.pk, failed=True, now=now)
    elif verdict.kind == Attempt.Kind.ANSWERED:
        _tell(refused, REFUSAL, request.pk, failed=False, now=now)
    if verdict.reason == outcomes.TOO_MANY:
        _pauses[merchant] = max(_pauses.get(merchant, 0.0), now + verdict.after)


def _fails_others_too(request: OutboundRequest) -> bool:
    """One whose every call makes the host fail is slowed alone, unless it has knocked there."""
    merchant = str(request.organization_id)
    before = _ailing.get(request.host, merchant)
    breaker = _breakers.get(("host", request.host))
    return before != merchant or (breaker is not None and breaker.has_let_in(request.pk))


def forget() -> None:
    """Close all."""
    with _lock:
        _breakers.clear()
        _ailing.clear()
        _pauses.clear()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  # held by another thread at fork it stays locked for ever
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _now() -> float:
    # The clock that `due_at` is measured by; carried, as the database may be away.
    return database_clock.carried().timestamp()


def _tell(
    name: tuple[str, str], patience: Patience, who: object, *, failed: bool, now: float
) -> None:
    if failed:
        _breakers.setdefault(name, Breaker(patience)).failed(now, who)
    else:
        _breakers.pop(name, None)


def _known(request: OutboundRequest, looking: bool) -> Iterator[Breaker]:
    names = (*_names(request), _search(request)) if looking else _names(request)
    return (_breakers[name] for name in names if name in _breakers)


def _search(request: OutboundRequest) -> tuple[str, str]:
    return "search", request.host


def _names(request: OutboundRequest) -> tuple[tuple[str, str], ...]:
    merchant = str(request.organization_id)
    return ("refused", merchant), ("silent", merchant), ("host", request.host)
