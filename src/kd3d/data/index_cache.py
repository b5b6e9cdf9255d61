"""The files that keep what is known about a dataset's files between runs."""

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import OutputError
from kd3d.files import whole_file
from kd3d.storage import Stamp, is_remote

__all__ = ["ColumnCache", "FileColumns"]

_VERSION = 2
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class FileColumns:
    """What is known about one file, and what the file looked like when it was found out.

    Args:
        stamp: the file's size and version.
        columns: arrays by name, each with a length of its own.
    """

    stamp: Stamp
    columns: Mapping[str, NDArray[Any]]


class ColumnCache:
    """Keeps columns of a dataset's files in one npz file, replaced as a whole.

    A file that is damaged or of another version counts as absent. A folder that cannot be written
    costs a warning, nothing else.

    Args:
        folder: where to keep it; ``$KD3D_CACHE`` or ``~/.cache/kd3d`` by default.
        kind: what is kept, the first part of the file's name.
        root: the dataset's folder.
        patterns: of the files below `root`.
        columns: the names of the columns.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        kind: str,
        root: str,
        patterns: str | Sequence[str],
        columns: Sequence[str],
    ) -> None:
        home = Path(folder or os.environ.get("KD3D_CACHE") or "~/.cache/kd3d").expanduser()
        place = root if is_remote(root) else str(Path(root).resolve())
        chosen = [patterns] if isinstance(patterns, str) else patterns
        key = hashlib.sha256("\n".join([place, *chosen]).encode()).hexdigest()[:16]
        self.path = home / f"{kind}-{key}.npz"
        self.columns = tuple(columns)

    def load(self) -> dict[str, FileColumns]:
        """Return what is kept by file name relative to the root, nothing if there is no cache."""
        try:
            with np.load(self.path, allow_pickle=False) as table:
                return self._unpack(table)
        except _BROKEN:
            return {}

    def save(self, files: Mapping[str, FileColumns]) -> None:
        """Replace what is kept, or warn that nothing can be."""
        try:
            with whole_file(self.path) as temporary:
                np.savez(temporary, **self._pack(files))
        except OutputError as error:
            warnings.warn(
                f"{error.where}: {error.what} The dataset is scanned again next time, unless"
                " KD3D_CACHE names a folder that you may write to.",
                stacklevel=3,
            )

    def _pack(self, files: Mapping[str, FileColumns]) -> dict[str, Any]:
        known = list(files.values())
        table: dict[str, Any] = {
            "version": np.array(_VERSION),
            "files": np.array(list(files), dtype=np.str_),
            "sizes": np.array([file.stamp.size for file in known], dtype=np.int64),
            "versions": np.array([file.stamp.version for file in known], dtype=np.str_),
        }
        for name in self.columns:
            parts = [file.columns[name] for file in known]
            table[f"{name}_counts"] = np.array([len(part) for part in parts], dtype=np.int64)
            table[name] = np.concatenate(parts) if parts else np.empty(0)
        return table

    def _unpack(self, table: Mapping[str, NDArray[Any]]) -> dict[str, FileColumns]:
        if int(table["version"]) != _VERSION:
            raise ValueError("another version")
        names = [str(name) for name in table["files"]]
        stamps = zip(table["sizes"].tolist(), table["versions"].tolist(), strict=True)
        parts = {name: _split(table[name], table[f"{name}_counts"]) for name in self.columns}
        return {
            file: FileColumns(Stamp(*stamp), {name: parts[name][i] for name in self.columns})
            for i, (file, stamp) in enumerate(zip(names, stamps, strict=True))
        }


def _split(column: NDArray[Any], counts: NDArray[np.int64]) -> list[NDArray[Any]]:
    if counts.sum() != len(column):
        raise ValueError("the columns differ in length")
    ends = np.cumsum(counts)
    return [column[end - count : end] for end, count in zip(ends, counts, strict=True)]
