"""Errors that a Serve deployment's method returns, since Ray wraps what is raised. `Fleet.ask` raises them again."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from catalog.errors import RaymuxError

_P = ParamSpec("_P")
_T = TypeVar("_T")


def returns_errors(
    method: Callable[Concatenate[Any, _P], Awaitable[_T]],
) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T | RaymuxError]]:
    """Have a method return its RaymuxErrors."""

    @functools.wraps(method)
    async def wrapped(self: Any, *args: _P.args, **kwargs: _P.kwargs) -> _T | RaymuxError:
        try:
            return await method(self, *args, **kwargs)
        except RaymuxError as error:
            return error

    return wrapped
