"""How a command ends that was stopped, and what it says then."""

import contextlib
import signal
from collections.abc import Iterator

from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

__all__ = ["told_when_stopped"]

_SIGNALS = tuple(
    int(getattr(signal, name)) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)
)


@contextlib.contextmanager
def told_when_stopped(how_to_go_on: str, console: Console) -> Iterator[None]:
    """Say how to go on when a signal stops the work inside, and end with 128 + its number.

    Lightning ends with 0 after SIGTERM, which a scheduler takes for a finished job, and with 1
    after Ctrl-C, which it takes for a broken one.

    Args:
        how_to_go_on: the end of the sentence "stopped: ...".
        console: where that is said.

    Raises:
        SystemExit: in place of `KeyboardInterrupt` and of what Lightning makes of signals.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        number = _signal_of(stop)
        if number is None:
            raise
        console.print(f"stopped: {how_to_go_on}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(128 + number) from None


def _signal_of(stop: BaseException) -> int | None:
    """Give the signal that ended the work, if one did."""
    if isinstance(stop, SIGTERMException):
        return int(signal.SIGTERM)
    if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        return int(signal.SIGINT)
    code = stop.code if isinstance(stop, SystemExit) else None
    return code - 128 if isinstance(code, int) and code - 128 in _SIGNALS else None
