"""Finding every frame of a dataset, once: what is found is kept in a cache folder."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from rich.progress import track

from kd3d.data.faults import BadRecord, OnError
from kd3d.data.frame_index import FrameIndex
from kd3d.data.index_cache import ColumnCache, FileColumns
from kd3d.errors import DatasetError, RecordError
from kd3d.storage import Stamp, clean_root, is_remote, join, list_files
from kd3d.waymo import RecordSpan, iterate_offsets, record_name

__all__ = ["build_index", "threads_for", "with_progress"]

_SHOW_PROGRESS = 20
"""From so many files to scan on, a progress bar is worth its line."""

_LOCAL_THREADS = 4
_REMOTE_THREADS = 32  # they wait for answers nearly all the time

_Item = TypeVar("_Item")


def build_index(
    root: str | os.PathLike[str],
    pattern: str | Sequence[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
) -> FrameIndex:
    """Find the place of every record in the files that match a pattern.

    The first call reads 12 bytes per record, several files at a time. What it finds is kept in a
    cache folder, never beside the data, and only files whose size or version (modification time,
    etag) changed are read again.

    Args:
        root: the dataset's folder, or its URL (``gs://bucket/waymo``).
        pattern: which files below it are segments, such as ``training/*.tfrecord``; or a manifest,
            a file's name, or several of these: see `kd3d.storage.list_files`.
        cache_dir: where to keep the index; ``$KD3D_CACHE`` or ``~/.cache/kd3d`` by default.
        on_error: what to do with a file that is damaged: raise, or keep the records before the
            damage and list it in `FrameIndex.faults`.

    Raises:
        DatasetError: if the folder is missing, nothing in it matches, or it cannot be read.
        RecordError: if a file is damaged and `on_error` is ``"raise"``.
    """
    folder = clean_root(root)
    stamps = list_files(folder, pattern)
    cache = ColumnCache(cache_dir, "index", folder, pattern, ("offsets", "lengths"))
    known = cache.load()
    stale = [name for name, stamp in stamps.items() if not _is_fresh(known.get(name), stamp)]
    scanned = _scan_files(folder, stale, stamps)
    found = {name: scanned[name][0] if name in scanned else known[name] for name in stamps}
    faults = {name: fault for name, (_, fault) in scanned.items() if fault is not None}
    if stale or set(known) != set(stamps):
        # A damaged file is left out, so that its damage is found and told again the next time.
        cache.save({name: columns for name, columns in found.items() if name not in faults})
    if faults and on_error == "raise":
        raise next(iter(faults.values())).error
    return _join(folder, found, tuple(faults.values()), pattern)


def threads_for(root: str) -> int:
    """Return how many files to read at once."""
    return _REMOTE_THREADS if is_remote(root) else _LOCAL_THREADS


def with_progress(items: Iterable[_Item], what: str, total: int) -> Iterable[_Item]:
    """Show a progress bar if there are many files to wait for."""
    return track(items, what, total=total, disable=total < _SHOW_PROGRESS)


def _is_fresh(known: FileColumns | None, stamp: Stamp) -> bool:
    return known is not None and known.stamp.change(stamp) is None


def _scan_files(
    folder: str, names: Sequence[str], stamps: dict[str, Stamp]
) -> dict[str, tuple[FileColumns, BadRecord | None]]:
    with ThreadPoolExecutor(threads_for(folder)) as pool:
        scans = pool.map(lambda name: _scan(join(folder, name), stamps[name]), names)
        try:
            found = with_progress(scans, "Indexing segments", len(names))
            return dict(zip(names, found, strict=True))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _scan(path: str, stamp: Stamp) -> tuple[FileColumns, BadRecord | None]:
    spans: list[RecordSpan] = []
    fault = None
    try:
        for span in iterate_offsets(path):
            spans.append(span)
    except RecordError as error:
        fault = BadRecord(path, record_name(path, len(spans)), error)
    places = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return FileColumns(stamp, {"offsets": places[:, 0], "lengths": places[:, 1]}), fault


def _join(
    folder: str,
    files: dict[str, FileColumns],
    faults: tuple[BadRecord, ...],
    pattern: str | Sequence[str],
) -> FrameIndex:
    counts = [len(file.columns["offsets"]) for file in files.values()]
    if not sum(counts):
        raise DatasetError(
            f"the {len(files)} files that match {pattern!r} hold no whole record.",
            where=folder,
            hint="Copy or download them again.",
        )
    return FrameIndex(
        root=folder,
        files=tuple(files),
        stamps=tuple(file.stamp for file in files.values()),
        file_of=np.repeat(np.arange(len(files)), counts),
        numbers=np.concatenate([np.arange(count) for count in counts]),
        offsets=np.concatenate([file.columns["offsets"] for file in files.values()]),
        lengths=np.concatenate([file.columns["lengths"] for file in files.values()]),
        faults=faults,
    )
