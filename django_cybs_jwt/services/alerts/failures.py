"""What a log may say of a channel that failed: an address can be a secret, and errors repeat it."""

from __future__ import annotations

import traceback
from pathlib import Path

from django_cybs_jwt.exceptions import CybsError


def describe(error: Exception) -> str:
    """Our own message; of any other error its type and where it was raised, not what it says."""
    if isinstance(error, CybsError):
        return error.english
    name = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    return f"{name} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else name
