"""Where the official SDK is: its own interpreter, never this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def requires_sdk() -> Path:
    """The SDK's interpreter, or skip; fail where CYBS_REQUIRE_SDK=1 asks for it."""
    named = os.environ.get("CYBS_SDK_PYTHON")
    python = Path(named) if named else ROOT / ".sdk-venv" / "bin" / "python"
    if python.exists():
        return python
    reason = f"No official SDK at {python}. Make it with `make sdk`, or set CYBS_SDK_PYTHON."
    if os.environ.get("CYBS_REQUIRE_SDK") == "1":
        pytest.fail(f"{reason} CYBS_REQUIRE_SDK=1 asks for it.", pytrace=False)
    pytest.skip(reason)
