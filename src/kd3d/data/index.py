"""Where every frame of a dataset lies, found once and kept in a cache folder."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from kd3d.data.index_cache import FileRecords, IndexCache
from kd3d.errors import ConfigError, DatasetError, RecordError
from kd3d.waymo import RecordSpan, iterate_offsets, read_record, record_name

__all__ = ["BadRecord", "FrameIndex", "OnError", "build_index"]

OnError = Literal["raise", "skip"]
"""What to do with damaged records: stop, or leave them out and count them."""

_SHOW_PROGRESS = 20
"""From so many files to scan on, a progress bar is worth its line."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used.

    Args:
        file: the path of its segment file.
        name: what messages call the record.
        error: what is wrong with it.
    """

    file: str
    name: str
    error: RecordError


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """The frames of a dataset in file order, with the place of each.

    Args:
        root: the dataset's folder.
        files: the segment files, relative to `root`, sorted.
        file_of: ``[N]`` int64, for each frame its file's place in `files`.
        numbers: ``[N]`` int64, the record's number in its file, from 0.
        offsets: ``[N]`` int64, of the record's first framing byte.
        lengths: ``[N]`` int64, bytes of the payload.
        faults: where scanning a file had to stop early.
    """

    root: Path
    files: tuple[str, ...]
    file_of: NDArray[np.int64]
    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    faults: tuple[BadRecord, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    def every(self, interval: int) -> "FrameIndex":
        """Keep every `interval`-th frame of each segment, from its first one.

        Raises:
            ConfigError: if `interval` is below 1.
        """
        if interval < 1:
            raise ConfigError(f"{interval} is below 1.", where="data.frame_interval")
        return self._take(np.flatnonzero(self.numbers % interval == 0))

    def spread(self, max_frames: int) -> "FrameIndex":
        """Keep at most `max_frames` frames, evenly spread over all of them.

        Raises:
            ConfigError: if `max_frames` is below 1.
        """
        if max_frames < 1:
            raise ConfigError(f"{max_frames} is below 1.", where="data.max_frames")
        if max_frames >= len(self):
            return self
        return self._take(np.arange(max_frames) * len(self) // max_frames)

    def file(self, frame: int) -> str:
        """Path of a frame's segment file."""
        return str(self.root / self.files[self.file_of[frame]])

    def name(self, frame: int) -> str:
        """What messages call a frame: its file and record number."""
        return record_name(self.file(frame), int(self.numbers[frame]))

    def read(self, frame: int, *, verify: bool = True) -> bytes:
        """Read a frame's serialized record.

        Args:
            frame: from 0.
            verify: check the payload's checksum.

        Raises:
            DatasetError: if the file cannot be opened.
            RecordError: if the record is truncated, corrupt, or no longer where it was.
        """
        try:
            return read_record(
                self.file(frame),
                int(self.offsets[frame]),
                int(self.lengths[frame]),
                verify,
                number=int(self.numbers[frame]),
            )
        except OSError as error:
            raise RecordError(
                f"cannot be read ({error.strerror or error}).",
                where=self.name(frame),
                hint="Check the disk.",
            ) from error

    def _take(self, chosen: NDArray[np.int64]) -> "FrameIndex":
        return FrameIndex(
            self.root,
            self.files,
            self.file_of[chosen],
            self.numbers[chosen],
            self.offsets[chosen],
            self.lengths[chosen],
            self.faults,
        )


def build_index(
    root: str | os.PathLike[str],
    pattern: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
) -> FrameIndex:
    """Find the place of every record in the files that match a pattern.

    The first call reads 12 bytes per record. What it finds is kept in a cache folder, never beside
    the data, and only files whose size or modification time changed are read again.

    Args:
        root: the dataset's folder.
        pattern: which files below it are segments, such as ``training/*.tfrecord``.
        cache_dir: where to keep the index; ``$KD3D_CACHE`` or ``~/.cache/kd3d`` by default.
        on_error: what to do with a file that is damaged: raise, or keep the records before the
            damage and list it in `FrameIndex.faults`.

    Raises:
        DatasetError: if the folder is missing, or nothing in it matches.
        RecordError: if a file is damaged and `on_error` is ``"raise"``.
    """
    folder = Path(root).expanduser()
    names = _matching_files(folder, pattern)
    cache = IndexCache(cache_dir, folder, pattern)
    known = cache.load()
    found: dict[str, FileRecords] = {}
    faults: list[BadRecord] = []
    stale = {name for name in names if not _unchanged(folder / name, known.get(name))}
    for name in _with_progress(sorted(stale)):
        found[name], fault = _scan(folder / name)
        faults += [fault] if fault else []
    if stale or set(known) != set(names):
        damaged = {fault.file for fault in faults}
        records = {name: found.get(name) or known[name] for name in names}
        # A damaged file is left out, so that its damage is found and told again the next time.
        cache.save({n: r for n, r in records.items() if str(folder / n) not in damaged})
    if faults and on_error == "raise":
        raise faults[0].error
    return _join(folder, names, [found.get(name) or known[name] for name in names], faults, pattern)


def _matching_files(folder: Path, pattern: str) -> list[str]:
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DatasetError(
            f"the dataset's root {problem}.",
            where=str(folder),
            hint="Give the folder that holds the segment files' folders.",
        )
    # Path.glob would refuse a pattern that is an absolute path.
    matches = sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207
    names = [name for name in matches if (folder / name).is_file()]
    if not names:
        others = len(list(folder.glob("**/*.tfrecord")))
        advice = f"{others} other *.tfrecord files lie below it: change the pattern, or the root."
        raise DatasetError(
            f"no file matches the pattern {pattern!r}.",
            where=str(folder),
            hint=advice if others else "There is no *.tfrecord file below it: check the root.",
        )
    return names


def _unchanged(path: Path, known: FileRecords | None) -> bool:
    if known is None:
        return False
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns) == (known.size, known.modified)


def _with_progress(names: Sequence[str]) -> Iterable[str]:
    return track(names, "Indexing segments", disable=len(names) < _SHOW_PROGRESS)


def _scan(path: Path) -> tuple[FileRecords, BadRecord | None]:
    stat = path.stat()
    spans: list[RecordSpan] = []
    fault = None
    try:
        for span in iterate_offsets(path):
            spans.append(span)
    except RecordError as error:
        fault = BadRecord(str(path), record_name(path, len(spans)), error)
    places = np.array(spans, dtype=np.int64).reshape(-1, 2)
    records = FileRecords(stat.st_size, stat.st_mtime_ns, places[:, 0], places[:, 1])
    return records, fault


def _join(
    folder: Path,
    names: Sequence[str],
    records: Sequence[FileRecords],
    faults: Sequence[BadRecord],
    pattern: str,
) -> FrameIndex:
    counts = [len(part.offsets) for part in records]
    if not sum(counts):
        raise DatasetError(
            f"the {len(names)} files that match {pattern!r} hold no whole record.",
            where=str(folder),
            hint="Copy or download them again.",
        )
    return FrameIndex(
        root=folder,
        files=tuple(names),
        file_of=np.repeat(np.arange(len(names)), counts),
        numbers=np.concatenate([np.arange(count) for count in counts]),
        offsets=np.concatenate([part.offsets for part in records]),
        lengths=np.concatenate([part.lengths for part in records]),
        faults=tuple(faults),
    )
