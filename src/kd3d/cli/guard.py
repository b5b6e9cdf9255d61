"""One clear message for what a user can cause, a traceback for what is our fault."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from rich.console import Console

from kd3d.errors import Kd3dError

__all__ = ["clear_errors"]

P = ParamSpec("P")
R = TypeVar("R")


def clear_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `Kd3dError` into its message on standard error and exit code 2."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except Exception as error:
            cause = _find_cause(error)
            if cause is None:
                raise
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print(f"[bold red]error:[/] [default]{type(cause).__name__}[/]: ", end="")
            console.print(str(cause), markup=False)
            sys.exit(2)

    return guarded


def _find_cause(error: BaseException | None) -> Kd3dError | None:
    """Find our error: Hydra wraps what a constructor raises into an exception of its own."""
    while error is not None and not isinstance(error, Kd3dError):
        error = error.__cause__
    return error
