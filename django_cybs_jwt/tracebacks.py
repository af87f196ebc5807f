"""Crash reports without secrets: a function that fails forgets what it knew.

Django's error page and mail, Sentry and their like print the local variables of every frame of
a traceback. Below a function decorated here, in libraries too, none are left to print; file,
line and message stay. `sensitive_variables` could not: it knows no library, and no DEBUG.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
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


def forgetful_entry(
    function: Callable[P, AbstractContextManager[R]],
) -> Callable[P, AbstractContextManager[R]]:
    """The twin of `forgetful` for what is entered: what fails is the entry, not the call."""

    @functools.wraps(function)
    def forgetting(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[R]:
        return _Entry(function(*args, **kwargs))

    return forgetting


def aforgetful_entry(
    function: Callable[P, AbstractAsyncContextManager[R]],
) -> Callable[P, AbstractAsyncContextManager[R]]:
    """The twin of `forgetful_entry` for `async with`."""

    @functools.wraps(function)
    def forgetting(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[R]:
        return _AsyncEntry(function(*args, **kwargs))

    return forgetting


class _Entry(AbstractContextManager[R]):
    def __init__(self, entered: AbstractContextManager[R]) -> None:
        self._entered = entered

    @forgetful
    def __enter__(self) -> R:
        return self._entered.__enter__()

    def __exit__(self, *raised: Any) -> bool | None:
        return self._entered.__exit__(*raised)


class _AsyncEntry(AbstractAsyncContextManager[R]):
    def __init__(self, entered: AbstractAsyncContextManager[R]) -> None:
        self._entered = entered

    @aforgetful
    async def __aenter__(self) -> R:
        return await self._entered.__aenter__()

    async def __aexit__(self, *raised: Any) -> bool | None:
        return await self._entered.__aexit__(*raised)


def _clear(error: BaseException | None, handled: BaseException | None) -> None:
    """Clear *error* and what led to it, but nothing that the caller was handling before."""
    while error is not None and error is not handled:
        clear_frames(error.__traceback__)
        _clear(error.__cause__, handled)
        error = error.__context__
