"""What a transaction that the search shows says of itself, and what several come to. Pure.

An S has worked, an E is an error after which nobody knows, and a D may be a decline, a refusal of
the message, or money that is held although it was not accepted. The gateway adds flags at any
time: what is not known here decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from django_cybs_jwt.services.queue import outcomes

_UNDOING: Final = frozenset(
    {"ics_void", "ics_auth_reversal", "ics_auto_auth_reversal", "ics_auto_full_auth_reversal"}
)
_UNDONE: Final = frozenset({"VOIDED", "REVERSED"})
# What moves no money by itself: reversing the authorization leaves nothing of it behind.
_RESERVING: Final = ("ics_auth", "ics_decision", "ics_pa_", "ics_risk", "ics_score")


class Fate(StrEnum):
    """What became of one transaction."""

    STANDS = "stands"
    DECLINED = "declined"
    REFUSED = "refused"  # before anything was processed
    UNDECIDED = "undecided"


# By rFlag, rCode and reasonCode: all that are told must agree, and rCode alone says too little.
_KNOWN: Final[tuple[tuple[Fate, frozenset[str], str, frozenset[str]], ...]] = (
    (Fate.STANDS, frozenset({"SOK", "SPARTIALAPPROVAL"}), "1", frozenset({"100", "110"})),
    (
        Fate.DECLINED,
        frozenset({"DCARDREFUSED", "DCARDEXPIRED", "DINVALIDCARD", "DPAYMENTREFUSED"}),
        "0",
        frozenset({"202", "203", "204", "205", "207", "208", "209", "210", "211", "221", "222"})
        | {"223", "231", "232", "233"},
    ),
    (
        Fate.REFUSED,
        frozenset({"DMISSINGFIELD", "DINVALIDDATA", "DDUPLICATE"}),
        "0",
        frozenset({"101", "102", "104"}),
    ),
)
_WORDS: Final[Mapping[Fate, str]] = {Fate.STANDS: "SOK", Fate.DECLINED: "DECLINED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One transaction under our transactionId; *undoes* is True for a void or a reversal.

    *outcome* is the gateway's word for it; *details* are all that the gateway says.
    """

    id: str
    fate: Fate
    undoes: bool = False
    undone: bool = False
    outcome: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def content(self) -> bytes:
        """What stands in for the lost reply."""
        return json.dumps(self.details, separators=(",", ":")).encode()


def read(summary: Mapping[str, Any], details: Mapping[str, Any]) -> Hit:
    """The hit that the search sums up and whose details were fetched."""
    information = _information(summary) | _information(details)
    applications = list(_applications(information))
    undoing = [each for each in applications if each.get("name") in _UNDOING]
    others = [each for each in applications if each.get("name") not in _UNDOING]
    undoes = bool(undoing) and not others
    status = outcomes.word(information.get("status"))
    fate = _fate(information) or _of_all(undoing if undoes else others)
    worked = {each.get("name") for each in undoing if _fate(each) == Fate.STANDS}
    undone_at_once = not undoes and bool(worked)
    if undone_at_once and "ics_void" not in worked and not all(map(_reserves, others)):
        # A capture of less than was authorized reverses the rest, and is a capture all the same.
        undone_at_once = False
        fate = Fate.UNDECIDED if any(map(_reserves, others)) else fate
    return Hit(
        id=outcomes.identifier(summary.get("id")),
        fate=fate,
        undoes=undoes,
        undone=status in _UNDONE or undone_at_once,
        outcome=status or _WORDS.get(fate, ""),
        details=details,
    )


def _reserves(application: Mapping[str, Any]) -> bool:
    return str(application.get("name")).startswith(_RESERVING)


class Finding(StrEnum):
    """What all that the search shows comes to."""

    NOTHING = "nothing"
    STANDS = "stands"
    DECLINED = "declined"
    UNDONE = "undone"
    TWICE = "twice"
    UNDECIDED = "undecided"


def weigh(found: Sequence[Hit]) -> tuple[Finding, Hit | None]:
    """What they come to, and the one that stands or was declined.

    What was refused left nothing behind, and a decline nothing that could be undone. Of several
    originals those undone are told by their own status; of a single one, by any void or reversal
    that worked.
    """
    undoing = [hit for hit in found if hit.undoes and hit.fate != Fate.REFUSED]
    originals = [hit for hit in found if not hit.undoes and (hit.undone or _counts(hit))]
    left = [hit for hit in originals if not hit.undone]
    undoable = [hit for hit in originals if hit.fate != Fate.DECLINED]
    if len(undoable) <= 1 and any(hit.fate == Fate.STANDS for hit in undoing):
        return Finding.UNDONE, None
    standing = [hit for hit in left if hit.fate == Fate.STANDS]
    if len(standing) > 1:
        return Finding.TWICE, None
    doubtful = left + undoing if left else []
    if any(hit.fate == Fate.UNDECIDED for hit in doubtful):
        return Finding.UNDECIDED, None
    if standing:
        return Finding.STANDS, standing[0]
    if len(left) < len(originals):
        return Finding.UNDONE, None
    return (Finding.DECLINED, left[-1]) if left else (Finding.NOTHING, None)


def _counts(hit: Hit) -> bool:
    return hit.fate != Fate.REFUSED


def _of_all(applications: Sequence[Mapping[str, Any]]) -> Fate:
    fates = {_fate(each) or Fate.UNDECIDED for each in applications}
    return fates.pop() if len(fates) == 1 else Fate.UNDECIDED


def _fate(told: Mapping[str, Any]) -> Fate | None:
    """What flag, code and reason say together; None where none of them is told."""
    flag, code, reason = (_text(told.get(name)) for name in ("rFlag", "rCode", "reasonCode"))
    if not flag and not reason:
        return None
    for fate, flags, codes, reasons in _KNOWN:
        if flag in {"", *flags} and code in ("", codes) and reason in {"", *reasons}:
            return fate
    return Fate.UNDECIDED


def _text(told: object) -> str:
    return str(told) if isinstance(told, str | int) else ""


def _information(document: Mapping[str, Any]) -> dict[str, Any]:
    found = document.get("applicationInformation")
    return found if isinstance(found, dict) else {}


def _applications(information: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    found = information.get("applications")
    yield from (each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()
