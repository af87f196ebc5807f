"""Years of a job that is often down, over the real services, and what it should have told.

The oracle knows nothing of plans and rows: for each key and threshold it computes from when to
when that alert is the one to be told, and looks whether a run fell into that time.
"""

from __future__ import annotations

import random
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from django_cybs_jwt.models import AlertRecipient, Credential, ExpiryAlert, State
from django_cybs_jwt.services import alerts, ticking
from django_cybs_jwt.services.alerts import delivery
from django_cybs_jwt.services.alerts.digest import Digest
from django_cybs_jwt.services.alerts.schedule import thresholds
from django_cybs_jwt.services.expiry.endings import Artefact, Ending
from tests.unit.services import estate
from tests.unit.services.hands import Hands

DAY: Final = timedelta(days=1)
ZONES: Final = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York")]
CHANNEL: Final = {"notebook": f"{__name__}.Notebook"}

Told = tuple[uuid.UUID, int]
"""A key, and the threshold."""


class Notebook:
    """A channel that writes down what it is told, and fails as it is bid."""

    told: list[tuple[float, Told]] = []
    fate = ""

    def check(self, address: str) -> None:
        """Any address will do."""

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        if self.fate == "down":
            raise ConnectionRefusedError
        if self.fate == "killed before":
            raise KeyboardInterrupt
        at = digest.at.timestamp()
        self.told.extend((at, (alert.subject, alert.threshold)) for alert in digest.alerts)
        if self.fate == "killed after":
            raise KeyboardInterrupt


def windows(item: Ending, until: datetime) -> Iterator[tuple[int, float, float]]:
    """For each threshold from when to when it is the one to be told, in seconds."""
    end, day = item.ends.timestamp(), 86_400
    steps = [*thresholds(item)]
    while end - steps[-1] * day < until.timestamp():
        steps.append(steps[-1] - (1 if item.live else 7))
    for step, following in pairwise(steps):
        yield step, end - step * day, end - following * day


def has_one(moments: list[float], opens: float, closes: float) -> bool:
    index = bisect_left(moments, opens)
    return index < len(moments) and moments[index] < closes


def random_runs(draw: random.Random, count: int, begin: datetime, end: datetime) -> list[datetime]:
    """Runs at random moments: bursts, hours, and downtimes of up to three weeks."""
    gaps = [draw.expovariate(1) for _ in range(count)]
    for index in draw.sample(range(count), count // 100):
        gaps[index] += draw.uniform(0, 60)
    for index in draw.sample(range(count), count // 5):
        gaps[index] = 0.0
    scale, at, runs = (end - begin).total_seconds() / sum(gaps), begin, []
    for gap in gaps:
        at += timedelta(seconds=gap * scale)
        runs.append(at.astimezone(draw.choice(ZONES)))
    return runs


@dataclass
class Outcome:
    """*repeated* is what a kill between handing over and noting it made somebody hear twice."""

    runs: int
    must_be_raised: set[Told]
    raised: Counter[Told]
    must_be_told: set[Told]
    told: Counter[Told]
    repeated: Counter[Told]
    untimely: list[Told]

    @property
    def duplicates(self) -> int:
        told = self.told - self.repeated
        return sum(told.values()) - len(told) + sum(self.raised.values()) - len(self.raised)

    @property
    def losses(self) -> set[Told]:
        return (self.must_be_raised - set(self.raised)) | (self.must_be_told - set(self.told))


class Years:
    """*keys* keys that end within *days*, test and live, of long and short life; some replaced."""

    def __init__(self, *, seed: int, keys: int, days: float, begin: datetime) -> None:
        self.draw, self.begin, self.end = random.Random(seed), begin, begin + days * DAY
        self.items = [self._key(n, days) for n in range(keys)]
        self.replaced = {
            item.subject: item.ends + self.draw.uniform(-40, 60) * DAY for item in self.items
        }
        AlertRecipient.objects.create(channel="notebook", address="ops")
        Notebook.told, Notebook.fate = [], ""

    def run(self, count: int) -> Outcome:
        runs = random_runs(self.draw, count, self.begin, self.end)
        return self._outcome([(now.timestamp(), self._tick(now)) for now in runs])

    def _key(self, number: int, days: float) -> Ending:
        live, life = self.draw.random() < 0.7, self.draw.choice([1095, 365, 100, 30])
        host = estate.LIVE_HOST if live else estate.HOST
        ends = self.begin + self.draw.uniform(0, days) * DAY
        owner = estate.organization(f"mid{number}", host=host)
        row = estate.key(owner, expires_at=ends, not_after=ends, not_before=ends - life * DAY)
        return Ending(
            artefact=Artefact.SIGNING_CERTIFICATE,
            subject=row.pk,
            key_id=row.key_id,
            ends=ends,
            begins=ends - life * DAY,
            live=live,
        )

    def _tick(self, now: datetime) -> str:
        """One run, which may be killed anywhere; returns what befell it."""
        gone = [key for key, at in self.replaced.items() if at <= now]
        Credential.objects.filter(pk__in=gone).update(state=State.RETIRED, active_slot=None)
        fates = ["killed between", "killed before", "killed after", "down", ""]
        fate = Notebook.fate = self.draw.choices(fates, [5, 5, 2, 10, 78])[0]
        if fate == "killed between":
            alerts.raise_due(now)
            return fate
        with suppress(KeyboardInterrupt):
            ticking.tick(now, clock=Hands(now.astimezone(UTC)))
        return fate

    def _outcome(self, runs: list[tuple[float, str]]) -> Outcome:
        moments, patience = [at for at, _ in runs], delivery.LONGEST_BACKOFF.total_seconds()
        failures = [at for at, fate in runs if fate]
        # A run that nothing befell, and no failure in the six hours before it either.
        good = [at for at in moments if not has_one(failures, at - patience, at + 1e-6)]
        return Outcome(
            runs=len(runs),
            must_be_raised=self._within(moments),
            raised=Counter(ExpiryAlert.objects.values_list("subject", "threshold")),
            must_be_told=self._within(good),
            told=Counter(what for _, what in Notebook.told),
            repeated=self._repeated({at for at, fate in runs if fate == "killed after"}),
            untimely=self._untimely(),
        )

    def _open(self) -> Iterator[tuple[Told, float, float]]:
        for item in self.items:
            for step, opens, closes in windows(item, self.end):
                last = min(closes, self.replaced[item.subject].timestamp())
                yield (item.subject, step), opens, last

    def _within(self, moments: list[float]) -> set[Told]:
        return {what for what, opens, closes in self._open() if has_one(moments, opens, closes)}

    def _untimely(self) -> list[Told]:
        times = {what: (opens, closes) for what, opens, closes in self._open()}
        return [what for at, what in Notebook.told if not times[what][0] - 1 <= at < times[what][1]]

    @staticmethod
    def _repeated(crashes: set[float]) -> Counter[Told]:
        """Tellings that a crash followed: each of them may come once more."""
        latest: dict[Told, float] = {}
        repeated: Counter[Told] = Counter()
        for at, what in Notebook.told:
            if latest.get(what) in crashes:
                repeated[what] += 1
            latest[what] = at
        return repeated
