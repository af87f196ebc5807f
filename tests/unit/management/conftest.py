from __future__ import annotations

from tests.unit.services.conftest import fresh_chain

__all__ = ["fresh_chain"]
