"""The text format of Prometheus. What is counted from rows holds for all workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

Sample = tuple[Mapping[str, str], float]


def gauge(name: str, help_text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of a metric that rises and falls."""
    return _metric("gauge", name, help_text, samples)


def counter(name: str, help_text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of a metric that only rises; its name ends in `_total`."""
    return _metric("counter", name, help_text, samples)


def _metric(kind: str, name: str, help_text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        yield f"{name}{{{pairs}}} {value:.15g}" if pairs else f"{name} {value:.15g}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
