"""As much of Prometheus as the shipped rules use: its rule files, its text format, its language."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

Labels = dict[str, str]
Vector = list[tuple[Labels, float]]
Samples = dict[str, Vector]
History = Callable[[float], Samples]
"""The samples at a moment, in seconds."""

EVALUATIONS = 4
"""How often a rule is looked at within its `for`."""

_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_DURATION = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TOKEN = re.compile(
    r'\s*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)|(?P<number>\d+)|(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<sign><=|>=|==|!=|[-+<>=(){},]))"
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Rule:
    name: str
    expr: str
    severity: str
    held_for: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        """`for` in seconds."""
        return sum(int(n) * _SECONDS[unit] for n, unit in _DURATION.findall(self.held_for))

    def pending(self, samples: Samples, now: float) -> list[Labels]:
        """The label sets that the expression is true for, at *now*."""
        return [labels for labels, _ in Expression(self.expr).value(samples, now)]

    def firing(self, history: History, now: float) -> list[Labels]:
        """Those that it was true for at every look since `for` ago."""
        steps = range(EVALUATIONS + 1) if self.patience else [0]
        looks = (now - self.patience * step / EVALUATIONS for step in steps)
        pending = [self.pending(history(moment), moment) for moment in looks]
        return [labels for labels in pending[0] if all(labels in found for found in pending)]


def read_rules(text: str) -> list[Rule]:
    """By a real parser; whatever else stands in a rule is an error."""
    (group,) = yaml.safe_load(text)["groups"]
    return [_rule(**rule) for rule in group["rules"]]


def _rule(alert: str, expr: str, labels: Labels, annotations: Labels, **more: str) -> Rule:
    held_for = more.pop("for", "")
    assert not more, f"{alert}: {more}"
    assert labels.keys() == {"severity"}, alert
    assert _DURATION.fullmatch(held_for or "0s"), alert
    return Rule(alert, expr, labels["severity"], held_for, annotations)


def tokens(expr: str) -> Iterator[str]:
    """All of *expr*, or an error."""
    at = 0
    while at < len(expr.rstrip()):
        found = _TOKEN.match(expr, at)
        assert found is not None, f"no token at {expr[at:]!r}"
        yield found[0].strip()
        at = found.end()


class Expression:
    """A comparison of series, numbers, `time()` and `absent()`, evaluated as it is read."""

    def __init__(self, expr: str) -> None:
        self._all = list(tokens(expr))

    def value(self, samples: Samples, now: float) -> Vector:
        """The series that the comparison is true for."""
        self._left, self._samples, self._now = list(self._all), samples, now
        found = self._sum()
        if self._left and self._left[0] in _COMPARE:
            compare, limit = _COMPARE[self._left.pop(0)], _scalar(self._sum())
            found = [(labels, value) for labels, value in found if compare(value, limit)]
        assert not self._left, f"not understood: {self._left}"
        return found

    def _sum(self) -> Vector:
        found = self._operand()
        while self._left[:1] == ["-"]:
            self._left.pop(0)
            found = _difference(found, self._operand())
        return found

    def _operand(self) -> Vector:
        token = self._left.pop(0)
        if token.isdigit():
            return [({}, float(token))]
        assert token.isidentifier(), token
        if self._left[:1] == ["("]:
            return self._call(token)
        return [(labels, value) for labels, value in self._series(token)]

    def _call(self, name: str) -> Vector:
        self._take("(")
        if name == "time":
            self._take(")")
            return [({}, self._now)]
        assert name == "absent", name
        inner = self._operand()
        self._take(")")
        return [] if inner else [({}, 1.0)]

    def _series(self, name: str) -> Iterator[tuple[Labels, float]]:
        wanted = list(self._selector()) if self._left[:1] == ["{"] else []
        for labels, value in self._samples.get(name, []):
            if all((labels.get(label) == text) is (sign == "=") for label, sign, text in wanted):
                yield labels, value

    def _selector(self) -> Iterator[tuple[str, str, str]]:
        self._take("{")
        while True:
            label, sign, text = (self._left.pop(0) for _ in range(3))
            assert sign in ("=", "!="), sign
            assert text.startswith('"'), text
            yield label, sign, text.strip('"')
            if self._left[0] == "}":
                break
            self._take(",")
        self._take("}")

    def _take(self, token: str) -> None:
        assert self._left.pop(0) == token, token


def _scalar(vector: Vector) -> float:
    ((labels, value),) = vector
    assert labels == {}
    return value


def _difference(left: Vector, right: Vector) -> Vector:
    """One side is a number or the time."""
    if len(right) == 1 and right[0][0] == {}:
        return [(labels, value - right[0][1]) for labels, value in left]
    return [(labels, _scalar(left) - value) for labels, value in right]


def read_samples(text: str) -> Samples:
    samples: Samples = {}
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            samples[line.split()[2]] = []
        if line.startswith("#"):
            continue
        found = _SAMPLE.fullmatch(line)
        assert found is not None, f"no sample: {line!r}"
        name, labels, value = found.groups()
        pairs = {key: _unescape(text) for key, text in _LABEL.findall(labels or "")}
        samples[name].append((pairs, float(value)))
    return samples


def _unescape(text: str) -> str:
    escapes = {r"\n": "\n", r"\"": '"', r"\\": "\\"}
    return re.sub(r"\\.", lambda found: escapes[found[0]], text)
