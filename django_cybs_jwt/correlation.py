"""The caller's own id for what it is doing, carried along to every row and log line of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}\Z")
_current: ContextVar[str] = ContextVar("cybs_jwt_correlation", default="")


@contextmanager
def correlated(caller_id: str) -> Iterator[None]:
    """Inside, queued requests bear *caller_id*: at most 64 letters, digits and `._:/-`.

    What has another form is dropped: it may come from a header that anybody can send.
    """
    token = _current.set(caller_id if _ID.match(caller_id) else "")
    try:
        yield
    finally:
        _current.reset(token)


def current() -> str:
    """The id in force, empty where there is none."""
    return _current.get()
