"""What a reader of the specification expects of one slot and its keys, in a dictionary.

Written without a look at the transition table; test_lifecycle_machine.py holds the services to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

DAY: Final = timedelta(days=1)

# From which states each leads where; None: back to where it was suspended from.
WITHDRAWALS: Final[dict[str, tuple[frozenset[str], str | None]]] = {
    "suspend": (frozenset({"STAGED", "VERIFIED", "ACTIVE", "RETIRING", "RETIRED"}), "SUSPENDED"),
    "resume": (frozenset({"SUSPENDED"}), None),
    "compromise": (
        frozenset({"STAGED", "VERIFIED", "ACTIVE", "RETIRING", "RETIRED", "SUSPENDED"}),
        "COMPROMISED",
    ),
    "retire": (
        frozenset({"STAGED", "VERIFIED", "ACTIVE", "RETIRING", "SUSPENDED"}),
        "RETIRED",
    ),
    "destroy": (
        frozenset({"STAGED", "VERIFIED", "RETIRED", "SUSPENDED", "COMPROMISED"}),
        "DESTROYED",
    ),
    "discard": (frozenset({"STAGED", "VERIFIED"}), "DESTROYED"),
}
CAN_BE_TRIED: Final = frozenset({"STAGED", "VERIFIED", "ACTIVE", "RETIRING"})
CAN_BE_USED: Final = frozenset({"STAGED", "VERIFIED", "RETIRING"})


class Plan(NamedTuple):
    """A switch to come, and the overlap that it begins."""

    at: datetime
    overlap: timedelta


@dataclass
class Key:
    """One version; *said* is the last clear answer of the gateway about it."""

    state: str = "STAGED"
    said: str = ""
    came_from: str = ""
    was_active: bool = False
    was_retired: bool = False
    stands_in_the_way: bool = False
    retiring_since: datetime | None = None
    until: datetime | None = None
    plan: Plan | None = None

    def is_in_open_overlap(self, now: datetime) -> bool:
        """One step leads back to it."""
        waits = self.state == "RETIRING" and self.plan is None
        return waits and self.until is not None and self.until > now

    def is_over(self, now: datetime) -> bool:
        """Its overlap has ended; one that was rolled back has a day."""
        if self.state != "RETIRING" or self.plan is not None or self.retiring_since is None:
            return False
        return (self.until or self.retiring_since + DAY) <= now

    def go(self, state: str) -> None:
        """Come to *state*; what was planned for it before is over."""
        keeps_overlap = {self.state, state} <= {"RETIRING", "SUSPENDED"} and self.plan is None
        if not keeps_overlap:
            self.until = None
        self.plan = None
        self.came_from = self.state if state == "SUSPENDED" else ""
        self.was_active |= state == "ACTIVE"
        self.was_retired |= state == "RETIRED"
        gone = state == "DESTROYED" and self.state in ("SUSPENDED", "COMPROMISED")
        self.stands_in_the_way = gone and self.was_active and not self.was_retired
        self.state = state

    def forget_plan(self) -> None:
        """Take a switch back that was to come."""
        self.plan = self.until = None


@dataclass
class Slot:
    """All keys of a slot, by their ids."""

    keys: dict[Any, Key] = field(default_factory=dict)

    def states(self) -> dict[Any, str]:
        """What each key is, by its id."""
        return {pk: key.state for pk, key in self.keys.items()}

    def active(self) -> Any:
        """The id of the key in force, or None."""
        return next((pk for pk, key in self.keys.items() if key.state == "ACTIVE"), None)

    def open_overlap(self, at: datetime) -> Any:
        """The id of the key that one step would lead back to at a moment, or None."""
        found = [pk for pk, key in self.keys.items() if key.is_in_open_overlap(at)]
        return max(found, key=lambda pk: self.keys[pk].retiring_since or at, default=None)

    def settle(self, now: datetime) -> None:
        """What time has decided by itself."""
        for pk, key in self.keys.items():
            if key.plan is not None and key.plan.at <= now:
                self._switch(pk, key.plan, now)
        for key in self.keys.values():
            if key.is_over(now):
                key.go("RETIRED")

    def may_rotate(self, pk: Any, now: datetime, *, at: datetime, force: bool) -> bool:
        """True for a switch at *at*, which is *now* or planned."""
        key = self.keys[pk]
        if key.state not in CAN_BE_USED or key.is_in_open_overlap(now):
            return False
        if at > now and any(other.plan for other in self.keys.values() if other is not key):
            return False
        return force or (key.said == "accepted" and self.open_overlap(at) is None)

    def rotate(self, pk: Any, overlap: timedelta, now: datetime) -> None:
        """Switch at once; that overrides a plan."""
        self._forget_plans_of_others(pk)
        self._switch(pk, Plan(now, overlap), now)

    def schedule(self, pk: Any, at: datetime, overlap: timedelta) -> None:
        """Plan a switch."""
        self.keys[pk].plan, self.keys[pk].until = Plan(at, overlap), at + overlap

    def may_begin(self, pk: Any) -> bool:
        """True for the first key of a slot, which is put into use without the network."""
        first = not any(key.was_active for key in self.keys.values())
        return first and self.keys[pk].state in CAN_BE_USED and self.keys[pk].said != "refused"

    def roll_back(self, now: datetime) -> None:
        """Back to the key of the open overlap; the newer one retires, every overlap ends."""
        older, newer = self.open_overlap(now), self.active()
        self._forget_plans_of_others(older)
        if newer is not None:
            self._supersede(self.keys[newer], now, None)
        self.keys[older].go("ACTIVE")
        for key in self.keys.values():
            may_come_back = "RETIRING" in (key.state, key.came_from)
            if may_come_back and key.until is not None and key.until > now:
                key.until = now
        self.settle(now)

    def may_withdraw(self, pk: Any, action: str) -> bool:
        """True where the table of the specification has an arrow, whose end is free."""
        key, (sources, _) = self.keys[pk], WITHDRAWALS[action]
        is_taken = action == "resume" and key.came_from == "ACTIVE" and self.active() is not None
        return key.state in sources and not is_taken

    def withdraw(self, pk: Any, action: str) -> None:
        """Along that arrow."""
        key = self.keys[pk]
        key.go(WITHDRAWALS[action][1] or key.came_from)

    def _switch(self, pk: Any, plan: Plan, now: datetime) -> None:
        before, until = self.active(), plan.at + plan.overlap
        if before is not None and until > now:
            self._supersede(self.keys[before], plan.at, until)
        elif before is not None:
            self.keys[before].go("RETIRED")
        self.keys[pk].go("ACTIVE")

    def _supersede(self, key: Key, since: datetime, until: datetime | None) -> None:
        key.go("RETIRING")
        key.retiring_since, key.until = since, until

    def _forget_plans_of_others(self, chosen: Any) -> None:
        for pk, key in self.keys.items():
            if key.plan is not None and pk != chosen:
                key.forget_plan()
