"""Count from the gateway's ledger and the rows: what was lost, charged twice, stuck, in doubt."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

READ = 3.0  # seconds that a worker waits for an answer

CHARGES = ("authorization", "sale")
OF_A_KEY = ("UNKNOWN_KEY", "BAD_SIGNATURE", "KEY_EXPIRED", "UNKNOWN_RESPONSE_KEY", "NOT_COVERED")


@dataclass
class Counts:
    """All numbers but *orders*, *in_doubt* and *injected* must be 0.

    *explained* tells why tries ended in doubt: faults by their kind, workers that died, and a
    gateway that was measured to answer after the worker had stopped waiting, unasked.
    *died_at* are workers that failpoints killed. *broker* says whose it was: only the run's own
    can restart.
    *canaries* are card data and keys found in what went to and from the broker, results and task
    events among it, and in the logs; *searched* tells in how many bytes.
    """

    orders: int = 0
    lost: int = 0
    charged_twice: int = 0
    stuck: int = 0
    said_paid_and_is_not: int = 0
    said_absent_and_is_paid: int = 0
    ledger_without_row: int = 0
    tokens_used_twice: int = 0
    live_worker_lost_its_lease: int = 0
    in_doubt_and_not_injected: int = 0
    injected_and_not_in_doubt: int = 0
    refused_for_its_key: int = 0
    points_that_killed_nobody: int = 0
    canaries: int = 0
    in_doubt: int = 0
    injected: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    doing: Counter[str] = field(default_factory=Counter)
    died_at: Counter[str] = field(default_factory=Counter)
    broker: str = "none"
    searched: dict[str, int] = field(default_factory=dict)

    def faults(self) -> dict[str, int]:
        """What must be 0 and is not."""
        told = {"orders", "in_doubt", "injected"}
        return {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, int) and name not in told and value
        }


def charges(ledger: list[dict[str, Any]]) -> Counter[str]:
    """How often each order is paid now, by its code."""
    return Counter(
        entry["code"]
        for entry in ledger
        if entry["operation"] in CHARGES and entry["status"] == "AUTHORIZED" and not entry["undone"]
    )


def causes_doubt(fault: dict[str, Any]) -> bool:
    """True for a fault after which nobody can know whether it was processed."""
    kind = fault["kind"]
    if kind == "status":
        return fault["status"] >= 500 or fault["status"] == 201
    if kind == "latency":
        return bool(fault["seconds"] > READ)
    return kind in ("reset_before", "reset_after", "truncate", "broken_jwe", "unknown_kid", "late")


def was_late(attempt: Any, answered: dict[str, float]) -> bool:
    """True where the gateway answered only after the worker's patience, counted from its claim.

    Both clocks are this machine's. No answer at all, or one in time, excuses no time-out.
    """
    if attempt.error != "ReadTimeout" or attempt.jti not in answered:
        return False
    return answered[attempt.jti] - attempt.started_at.timestamp() >= READ


def count(
    *,
    codes: list[str],
    ledger: list[dict[str, Any]],
    injected: list[dict[str, Any]],
    answered: dict[str, float],
    refusals: list[dict[str, Any]],
    live: set[int],
) -> Counts:
    """Everything, once nothing moves any more.

    *answered* is when the gateway's answer to each token went out; *live* are the worker
    processes that never died.
    """
    from django_cybs_jwt.models import Attempt, OutboundRequest, RequestState

    paid = charges(ledger)
    found = Counts(orders=len(codes))
    found.lost = sum(not paid[code] for code in codes)
    found.charged_twice = sum(paid[code] > 1 for code in codes)

    rows = list(OutboundRequest.objects.defer("sealed_payload", "sealed_reply"))
    found.rows = Counter(row.state for row in rows)
    ended = {"ANSWERED", "ABSENT", "VOIDED", "EXPIRED", "CANCELLED"}
    found.stuck = sum(row.state not in ended for row in rows)
    standing = {
        entry["transactionId"]
        for entry in ledger
        if entry["operation"] in CHARGES and entry["status"] == "AUTHORIZED" and not entry["undone"]
    }
    for row in rows:
        is_paid = row.transaction_id in standing
        if row.state == RequestState.ANSWERED and row.outcome == "AUTHORIZED" and not is_paid:
            found.said_paid_and_is_not += 1
        if row.state in (RequestState.ABSENT, RequestState.VOIDED) and is_paid:
            found.said_absent_and_is_paid += 1
    known = {row.transaction_id for row in rows}
    found.ledger_without_row = len(standing - known)
    found.tokens_used_twice = sum(each["refusal"] == "REPLAYED" for each in refusals)
    found.refused_for_its_key = sum(each["refusal"] in OF_A_KEY for each in refusals)
    _doubts(found, list(Attempt.objects.all()), injected, answered, live)
    return found


def _doubts(
    found: Counts,
    attempts: list[Any],
    injected: list[dict[str, Any]],
    answered: dict[str, float],
    live: set[int],
) -> None:
    from django_cybs_jwt.models import Attempt

    struck: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for fault in injected:
        if causes_doubt(fault):
            struck[fault["jti"]].append(fault)
    found.attempts = Counter(attempt.kind for attempt in attempts)
    for attempt in attempts:
        if attempt.kind == Attempt.Kind.LOST:
            # Only a process that died, or that the database was taken from, may lose a lease.
            found.live_worker_lost_its_lease += int(attempt.owner.split(":")[1]) in live
            found.explained["worker killed"] += 1
        elif attempt.kind == Attempt.Kind.MAYBE:
            found.in_doubt += 1
            if attempt.jti in struck:
                found.explained[struck[attempt.jti][0]["kind"]] += 1
            elif was_late(attempt, answered):
                found.explained["slow gateway, measured"] += 1
            else:
                found.in_doubt_and_not_injected += 1
    named = {attempt.jti: attempt.kind for attempt in attempts}
    ours = [jti for jti in struck if jti in named]
    found.injected = len(ours)
    doubtful = (Attempt.Kind.MAYBE, Attempt.Kind.LOST)
    found.injected_and_not_in_doubt = sum(named[jti] not in doubtful for jti in ours)
