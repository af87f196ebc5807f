"""As much of Prometheus as the shipped rules use: the text format, and comparisons with time()."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

Labels = dict[str, str]
Samples = dict[str, list[tuple[Labels, float]]]

_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-z_]+)(!?=)"((?:[^"\\]|\\.)*)"')
_RULE = re.compile(
    r"- alert: (\w+)\n\s+expr: (.+)\n(?:\s+for: (\w+)\n)?\s+labels:\n\s+severity: (\w+)"
)
_COMPARISON = re.compile(r"(time\(\) - )?([a-z_]+)(\{.*\})?( - time\(\))? (<=|<|>) (time\(\)|\d+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Rule:
    name: str
    expr: str
    held_for: str
    severity: str

    def firing(self, samples: Samples, now: float) -> list[Labels]:
        """The label sets that the expression is true for, at *now*."""
        absent = re.fullmatch(r"absent\((\w+)\)", self.expr)
        if absent:
            return [] if samples.get(absent[1]) else [{}]
        found = _COMPARISON.fullmatch(self.expr)
        assert found is not None, f"not understood: {self.expr}"
        age, name, selector, left, sign, bound = found.groups()
        limit = now if bound == "time()" else float(bound)

        def value(sample: float) -> float:
            return now - sample if age else sample - now if left else sample

        return [
            labels
            for labels, sample in samples.get(name, [])
            if matches(labels, selector or "") and _COMPARE[sign](value(sample), limit)
        ]


def matches(labels: Labels, selector: str) -> bool:
    wanted = _LABEL.findall(selector)
    return all((labels.get(name) == value) is (sign == "=") for name, sign, value in wanted)


def read_rules(text: str) -> list[Rule]:
    return [Rule(*found) for found in _RULE.findall(text)]


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
        pairs = {key: _unescape(text) for key, _, text in _LABEL.findall(labels or "")}
        samples[name].append((pairs, float(value)))
    return samples


def _unescape(text: str) -> str:
    escapes = {r"\n": "\n", r"\"": '"', r"\\": "\\"}
    return re.sub(r"\\.", lambda found: escapes[found[0]], text)
