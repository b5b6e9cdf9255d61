"""The file that keeps an index between runs."""

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import OutputError
from kd3d.files import whole_file

__all__ = ["FileRecords", "IndexCache"]

_VERSION = 1
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class FileRecords:
    """The records of one file, and what the file looked like when they were found.

    Args:
        size: of the file in bytes.
        modified: modification time in nanoseconds.
        offsets: ``[R]`` int64, of each record's first framing byte.
        lengths: ``[R]`` int64, bytes of each payload.
    """

    size: int
    modified: int
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


class IndexCache:
    """Keeps the records of a dataset's files in one npz file, replaced as a whole.

    A file that is damaged or of another version counts as absent. A folder that cannot be written
    costs a warning, nothing else.

    Args:
        folder: where to keep it; ``$KD3D_CACHE`` or ``~/.cache/kd3d`` by default.
        root: the dataset's folder.
        pattern: of the files below `root`.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, root: Path, pattern: str) -> None:
        home = Path(folder or os.environ.get("KD3D_CACHE") or "~/.cache/kd3d").expanduser()
        key = hashlib.sha256(f"{root.resolve()}\n{pattern}".encode()).hexdigest()[:16]
        self.path = home / f"index-{key}.npz"

    def load(self) -> dict[str, FileRecords]:
        """Return the records by file name relative to the root, nothing if there is no cache."""
        try:
            with np.load(self.path, allow_pickle=False) as table:
                return _unpack(table)
        except _BROKEN:
            return {}

    def save(self, files: Mapping[str, FileRecords]) -> None:
        """Replace what is kept, or warn that nothing can be."""
        try:
            with whole_file(self.path) as temporary:
                np.savez(temporary, **_pack(files))
        except OutputError as error:
            warnings.warn(
                f"{error.where}: {error.what} The dataset is scanned again next time, unless"
                " KD3D_CACHE names a folder that you may write to.",
                stacklevel=3,
            )


def _pack(files: Mapping[str, FileRecords]) -> dict[str, Any]:
    records = list(files.values())
    empty = [np.empty(0, np.int64)]
    return {
        "version": np.array(_VERSION),
        "files": np.array(list(files), dtype=np.str_),
        "sizes": np.array([part.size for part in records], dtype=np.int64),
        "modified": np.array([part.modified for part in records], dtype=np.int64),
        "counts": np.array([len(part.offsets) for part in records], dtype=np.int64),
        "offsets": np.concatenate([part.offsets for part in records] or empty),
        "lengths": np.concatenate([part.lengths for part in records] or empty),
    }


def _unpack(table: Mapping[str, NDArray[Any]]) -> dict[str, FileRecords]:
    if int(table["version"]) != _VERSION:
        raise ValueError("another version")
    sizes, modified, counts = table["sizes"], table["modified"], table["counts"]
    offsets, lengths = table["offsets"], table["lengths"]
    if not counts.sum() == len(offsets) == len(lengths):
        raise ValueError("the columns differ in length")
    ends = np.cumsum(counts)
    return {
        str(name): FileRecords(
            int(sizes[i]),
            int(modified[i]),
            offsets[ends[i] - counts[i] : ends[i]],
            lengths[ends[i] - counts[i] : ends[i]],
        )
        for i, name in enumerate(table["files"])
    }
