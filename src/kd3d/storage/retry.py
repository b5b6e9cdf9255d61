"""Patience with file systems behind a network."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from time import sleep
from typing import TypeVar

from kd3d.errors import DatasetError, Kd3dError

__all__ = ["ATTEMPTS", "MissingFileError", "ShortReadError", "is_transient", "patiently"]

ATTEMPTS = 6
"""How often something is tried in all: about 16 seconds of waiting, when nothing answers."""

_FIRST_DELAY = 0.5
_LARGEST_DELAY = 30.0
_LOG = logging.getLogger("kd3d.storage")
_TRANSIENT_STATUS = frozenset({408, 425, 429, *range(500, 600)})
_REFUSED_STATUS = frozenset({401, 403})
_ABSENT_STATUS = frozenset({404, 410})
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
#: Draws the jitter, so that no one else's random numbers move.
_JITTER = random.SystemRandom()

_Result = TypeVar("_Result")


class ShortReadError(OSError):
    """Fewer bytes came than were asked for."""


class MissingFileError(DatasetError):
    """A remote file that is not there."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: a time-out, a lost connection, a server that is busy.

    A status code decides where there is one, even deep in the chain of causes: fsspec's HTTP file
    system says "not found" for whatever its server answers.
    """
    status = _status_of(error)
    if status is not None:
        return status in _TRANSIENT_STATUS
    if isinstance(error, _FINAL):
        return False
    if isinstance(error, OSError | asyncio.TimeoutError | EOFError):
        return True
    # Clients of the network (aiohttp, urllib3, botocore) have error classes of their own.
    words = ("timeout", "connection", "disconnected", "payload", "incomplete")
    return any(word in kind.__name__.lower() for kind in type(error).__mro__ for word in words)


def patiently(action: Callable[[], _Result], where: str) -> _Result:
    """Do something that may fail for a while; wait longer before each new attempt.

    The wait doubles from half a second and is between half of that and all of it, so that many
    readers do not come back at once. Each retry is logged to ``kd3d.storage``.

    Args:
        action: what to do. What it raises of `kd3d.errors` is final.
        where: the file, for messages.

    Raises:
        DatasetError: if it fails `ATTEMPTS` times, or in a way that will not pass; a
            `MissingFileError` if the file is not there.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except Kd3dError:
            raise
        # Every file system has errors of its own, and what they derive from is not agreed upon.
        except Exception as error:
            if not is_transient(error):
                raise _final_error(error, where) from error
            if attempt == ATTEMPTS:
                raise DatasetError(
                    f"{ATTEMPTS} attempts failed, the last one with {_describe(error)}.",
                    where=where,
                    hint="Check the network and the store, and start again.",
                ) from error
            delay = min(_LARGEST_DELAY, _FIRST_DELAY * 2 ** (attempt - 1))
            delay *= _JITTER.uniform(0.5, 1.0)
            _LOG.warning(
                "%s: %s; attempt %d of %d follows in %.1f s",
                *(where, _describe(error), attempt + 1, ATTEMPTS, delay),
            )
            sleep(delay)
    raise AssertionError("the last attempt returns or raises")


def _final_error(error: BaseException, where: str) -> DatasetError:
    if isinstance(error, ImportError):
        hint = "Install what its kind of URL needs: pip install 'kd3d[cloud]' for gs:// and s3://."
        return DatasetError(f"cannot be opened ({error}).", where=where, hint=hint)
    if _status_of(error) in _REFUSED_STATUS or isinstance(error, PermissionError):
        hint = "Check the credentials of this machine; fsspec's configuration (FSSPEC_...) may too."
        return DatasetError(f"may not be read ({_describe(error)}).", where=where, hint=hint)
    if _status_of(error) in _ABSENT_STATUS or isinstance(error, FileNotFoundError):
        return MissingFileError("does not exist.", where=where, hint="Check the URL.")
    hint = "Check the URL, and that its file system is one of fsspec's."
    return DatasetError(f"cannot be read ({_describe(error)}).", where=where, hint=hint)


def _status_of(error: BaseException) -> int | None:
    """Find the HTTP status that an error or one of its causes carries."""
    for cause in _causes(error):
        for name in ("status", "status_code", "code"):
            value = getattr(cause, name, None)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _describe(error: BaseException) -> str:
    root = list(_causes(error))[-1]
    return f"{type(root).__name__}: {root}" if str(root) else type(root).__name__
