"""What a worker does with its database connections when a row could not be worked on."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import InterfaceError, InternalError, connections

from django_cybs_jwt.services.queue import working


class Connection:
    """Answers `SELECT 1`, whatever else it refuses."""

    def __init__(self, *, in_atomic_block: bool = False, closes: bool = True) -> None:
        self.in_atomic_block = in_atomic_block
        self.closes = closes
        self.told: list[str] = []

    def close(self) -> None:
        self._tell("close")

    def close_if_unusable_or_obsolete(self) -> None:
        self._tell("look")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if not self.closes:
            raise InterfaceError("connection already closed")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """The first cannot even be closed."""
    opened = [Connection(closes=False), Connection(), Connection(in_atomic_block=True)]
    monkeypatch.setattr(working, "connections", SimpleNamespace(all=lambda **_: opened))
    monkeypatch.setattr(working, "PAUSE", 0.0)
    return opened


def refuse(*_: Any) -> None:
    raise InternalError("cannot execute UPDATE in a read-only transaction")


def afresh(_: object) -> None:
    with pytest.raises(InternalError):
        working.afresh(refuse)


@pytest.mark.parametrize("act", [working.attend, afresh])
def test_a_connection_on_which_something_failed_is_not_kept(
    opened: list[Connection], monkeypatch: pytest.MonkeyPatch, act: Callable[[object], None]
) -> None:
    """One that became read-only in a failover answers, and would fail every claim until a restart.

    One that cannot be closed fails nobody, and none is taken from an open transaction.
    """
    monkeypatch.setattr(working, "work", refuse)
    act(uuid4())
    assert [each.told[-1:] for each in opened] == [["close"], ["close"], []]


def test_a_look_at_connections_never_fails(opened: list[Connection]) -> None:
    working.drop_broken_connections()
    assert [each.told for each in opened] == [["look"], ["look"], []]


def test_django_forgets_a_connection_that_cannot_be_closed() -> None:
    """What leaving its failure alone relies on."""
    own = connections["default"].copy()
    own.settings_dict = {**own.settings_dict, "NAME": "a file"}

    def close() -> None:
        raise own.Database.InterfaceError

    own.connection = SimpleNamespace(close=close)
    with pytest.raises(InterfaceError):
        own.close()
    assert own.connection is None
