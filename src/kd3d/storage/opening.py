"""One way to open a file for reading by parts, whether it is here or far away."""

import functools
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from kd3d.errors import DatasetError
from kd3d.storage.addresses import clean_root, is_remote
from kd3d.storage.remote import RemoteFile
from kd3d.storage.stamp import Stamp

__all__ = ["LocalFile", "StoredFile", "open_stored"]


class StoredFile(AbstractContextManager["StoredFile", None], Protocol):
    """A file opened for reading by parts; use it in a ``with`` statement."""

    size: int

    def read_parts(self, offset: int, *sizes: int) -> tuple[bytes, ...]:
        """Read neighbouring parts from an offset; the last ones are short at the file's end.

        Args:
            offset: of the first part, in bytes.
            sizes: of the parts, in bytes. Never more is allocated than the file has.

        Raises:
            OSError: if a local file cannot be read.
            DatasetError: if a remote file cannot be read, or changed.
        """

    def refuse_change(self) -> None:
        """Raise a `DatasetError` if the file is known not to be what it was when it was opened."""


class LocalFile(AbstractContextManager["LocalFile", None]):
    """A file on the disk.

    Args:
        path: where it lies.

    Raises:
        OSError: if it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - __exit__ closes it
        self.size = os.fstat(self._file.fileno()).st_size

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read_parts(self, offset: int, *sizes: int) -> tuple[bytes, ...]:
        """Read neighbouring parts; the last ones are short at the file's end."""
        self._file.seek(offset)
        left = max(self.size - offset, 0)
        parts = []
        for size in sizes:
            parts.append(self._file.read(min(size, left)))
            left -= len(parts[-1])
        return tuple(parts)

    def refuse_change(self) -> None:
        """An open file of a disk stays the file that was opened."""


def open_stored(path: str | os.PathLike[str], expected: Stamp | None = None) -> StoredFile:
    """Open a file.

    Args:
        path: a local path, or a URL that fsspec opens (``gs://...``).
        expected: what a remote file must look like. With it, a file is looked at once per process,
            and again when something about it is wrong.

    Raises:
        DatasetError: if it cannot be opened, or does not look as expected.
    """
    name = os.fspath(path)
    if is_remote(name):
        return RemoteFile(name) if expected is None else _known_file(os.getpid(), name, expected)
    try:
        return LocalFile(clean_root(name))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"cannot be opened ({error}).", where=name, hint="Check the path and its permissions."
        ) from error


@functools.lru_cache(maxsize=4096)
def _known_file(process: int, url: str, expected: Stamp) -> RemoteFile:
    return RemoteFile(url, expected)
