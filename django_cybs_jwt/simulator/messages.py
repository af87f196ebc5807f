"""What arrives and what is answered, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .refusals import Refusal

JSON_TYPE = "application/json"


class Wire(Enum):
    """How an answer leaves: complete, cut in half, as no HTTP, or not at all."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class SimRequest:
    """One request exactly as it was on the wire.

    *target* is the raw path with its query; header names are lower case.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False, default=b"")

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class SimAnswer:
    """One answer, and why it is a refusal if it is one.

    *delay* is in seconds; the transport waits, so that the gateway itself never sleeps.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(repr=False, default=b"")
    refusal: Refusal | None = None
    delay: float = 0.0
    wire: Wire = Wire.COMPLETE


def json_answer(status: int, document: Any, *, refusal: Refusal | None = None) -> SimAnswer:
    """Answer with *document* as JSON."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return SimAnswer(status, {"content-type": JSON_TYPE}, body, refusal)
