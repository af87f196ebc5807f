"""What a forked child finds."""

from __future__ import annotations

import os
from collections.abc import Callable


def true_in_a_fork(act: Callable[[], bool]) -> bool:
    """What *act* says in a forked child, which ends right after; False where it fails."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if act() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
