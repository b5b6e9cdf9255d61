"""Arrays on disk that are larger than memory: written row by row, read through a memory map."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kd3d.errors import DatasetError
from kd3d.files import whole_file

__all__ = ["BROKEN_ARRAY", "RowWriter", "map_columns", "save_columns", "writing_rows"]

BROKEN_ARRAY = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What reading a damaged array raises."""

_LOCAL_HEADER = 30
"""Bytes of a zip member's own header before its name."""


class RowWriter:
    """Appends rows to an ``.npy`` file of float32, whose length is known at the end only.

    Args:
        file: opened for writing, empty.
        width: numbers in a row.
    """

    def __init__(self, file: BufferedWriter, width: int) -> None:
        self.width = width
        self.rows = 0
        self._file = file
        self._write_header()

    def append(self, rows: NDArray[np.float32]) -> None:
        """Write rows ``[n, width]``.

        Raises:
            DatasetError: if they are of another width.
        """
        if rows.shape[1:] != (self.width,):
            raise DatasetError(
                f"rows of {rows.shape[-1]} numbers cannot follow rows of {self.width}.",
                hint="Every frame of a dataset must have the same features.",
            )
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").data)
        self.rows += len(rows)

    def finish(self) -> None:
        """Write down how many rows there are; numpy leaves room for that in its header."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        shape = (self.rows, self.width)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)


@contextmanager
def writing_rows(path: str | os.PathLike[str], width: int) -> Iterator[RowWriter]:
    """Lend a `RowWriter`; its file appears at the end, whole or not at all.

    Raises:
        OutputError: if the file cannot be written.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        writer = RowWriter(file, width)
        yield writer
        writer.finish()


def save_columns(path: str | os.PathLike[str], columns: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Add arrays to an uncompressed ``.npz`` file one at a time, unlike `numpy.savez`.

    Args:
        path: the file; it is made if there is none.
        columns: names and arrays, which may be made on the way.
    """
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for name, column in columns:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, column, allow_pickle=False)


def map_columns(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Map the arrays of an uncompressed ``.npz`` file into memory, read-only.

    Nothing is read but their headers, and processes share what they touch.

    Returns:
        The arrays by name. They may lie at odd addresses, which numpy's indexing handles.

    Raises:
        OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: `BROKEN_ARRAY`, if it is no
            such file.
    """
    with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
        return {
            member.filename.removesuffix(".npy"): _map_member(path, file, member)
            for member in archive.infolist()
        }


def _map_member(
    path: str | os.PathLike[str], file: IO[bytes], member: zipfile.ZipInfo
) -> NDArray[Any]:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    # The last four bytes are the lengths of the name and of the extra field that follow.
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    file.seek(lengths, os.SEEK_CUR)
    if npy.read_magic(file) != (1, 0):
        raise ValueError(f"{member.filename} has another version")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if dtype.hasobject or (fortran and len(shape) > 1):
        raise ValueError(f"{member.filename} is not a plain array")
    if 0 in shape:
        return np.empty(shape, dtype)  # no map can be empty
    return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape)
