"""Commands: translate arguments, call one service, report."""

from __future__ import annotations
