"""Crash reports without secrets: a function that fails forgets what it knew.

Django's error page and mail, Sentry and their like print the local variables of every frame of
a traceback. Below a function decorated here, in libraries too, none are left to print; file,
line and message stay. `sensitive_variables` could not: it knows no library, and no DEBUG.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine
from traceback import clear_frames
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def forgetful(function: Callable[P, R]) -> Callable[P, R]:
    """Clear the local variables of whatever fails inside *function*, its arguments too."""

    @functools.wraps(function)
    def forgetting(*args: P.args, **kwargs: P.kwargs) -> R:
        handled = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            _clear(error, handled)
            raise

    return forgetting


def aforgetful(
    function: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """The twin of `forgetful` for what is awaited."""

    @functools.wraps(function)
    async def forgetting(*args: P.args, **kwargs: P.kwargs) -> R:
        handled = sys.exception()
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            _clear(error, handled)
            raise

    return forgetting


def _clear(error: BaseException | None, handled: BaseException | None) -> None:
    """Clear *error* and what led to it, but nothing that the caller was handling before."""
    while error is not None and error is not handled:
        clear_frames(error.__traceback__)
        _clear(error.__cause__, handled)
        error = error.__context__
