"""Named places where a test may end this process as a power cut would; off unless asked for.

`CYBS_FAILPOINT=claimed` kills at the first pass of that point, `CYBS_FAILPOINT=claimed:0.01` at
one pass in a hundred. The last that the process says, on its standard error, is which point it was.
Where the variable is not set a point costs one comparison.
"""

from __future__ import annotations

import os
import random
import signal
from typing import Final

_NAME, _, _SHARE = os.environ.get("CYBS_FAILPOINT", "").partition(":")
ARMED: Final = bool(_NAME)

POINTS: Final = (
    "prepared",
    "claiming",
    "claimed",
    "headers_written",
    "body_written",
    "answered",
    "recording",
    "recorded",
    "swept",
    "undone",
)

_EVENTS: Final = {
    "send_request_headers.complete": "headers_written",
    "send_request_body.complete": "body_written",
}


def reached(name: str) -> None:
    """Say that *name* was reached; kills this process when the test asked for it."""
    if name != _NAME:
        return
    # Not a secret: which of many passes dies.
    if not _SHARE or random.random() < float(_SHARE):  # noqa: S311
        os.write(2, f"killed at {name}\n".encode())  # past every buffer, which would die too
        os.kill(os.getpid(), signal.SIGKILL)


def on_the_wire(event: str) -> None:
    """The same for an event of the connection."""
    point = _EVENTS.get(event.partition(".")[2])
    if point is not None:
        reached(point)
