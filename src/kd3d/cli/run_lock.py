"""One process at a time in the folder of a run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kd3d.cli.ranks import is_first_process
from kd3d.errors import OutputError

__all__ = ["alone_in", "is_running"]

_NAME = ".running"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other commands out of a run's folder, until the block or the process ends.

    The further processes of a run with several devices are let in. On Windows nothing is kept out.

    Raises:
        OutputError: if another command is at work there.
    """
    if not is_first_process() or sys.platform == "win32":
        yield
        return
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _NAME).open("w") as file:
        try:
            # A lock of the process, not of the file: workers that outlive a killed run hold none.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                "another command is training in this folder.",
                where=str(folder),
                hint="Wait for it, stop it, or name another folder: hydra.run.dir=FOLDER.",
            ) from error
        yield


def is_running(folder: Path) -> bool:
    """Tell whether a command is at work in a run's folder."""
    if not (folder / _NAME).is_file():
        return False
    try:
        with alone_in(folder):
            return False
    except OutputError:
        return True
