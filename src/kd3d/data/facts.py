"""What the records of an index say without their sensors: segment, time, and how many boxes."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from kd3d.data.faults import BadRecord
from kd3d.data.frame_index import FrameIndex
from kd3d.data.index import threads_for, with_progress
from kd3d.data.index_cache import ColumnCache, FileColumns
from kd3d.errors import RecordError
from kd3d.waymo import CLASSES, class_of, effective_difficulty, schema

__all__ = ["BOX_KINDS", "BOX_LEVELS", "FrameFacts", "collect_facts"]

BOX_KINDS = (*CLASSES, "other")
"""Kinds of boxes: the classes, and everything else that is labelled."""

BOX_LEVELS = ("L1", "L2", "no points")
"""Levels of the metric, which leaves out boxes without points."""

_COLUMNS = ("contexts", "context_of", "timestamps", "boxes")


@dataclass(frozen=True, slots=True, eq=False)
class FrameFacts:
    """What is known about each frame of an index.

    Args:
        contexts: names of the segments.
        context_of: ``[N]`` int64, each frame's place in `contexts`; -1 for a damaged record.
        timestamps: ``[N]`` int64 microseconds; -1 for a damaged record.
        boxes: ``[N, 4, 3]`` int64, boxes by `BOX_KINDS` and `BOX_LEVELS`.
        faults: records that cannot be used.
    """

    contexts: tuple[str, ...]
    context_of: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    boxes: NDArray[np.int64]
    faults: tuple[BadRecord, ...] = ()


def collect_facts(
    index: FrameIndex,
    pattern: str | Sequence[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> FrameFacts:
    """Find out what the records of a whole index say, or remember it.

    The first call reads some 50 kB per record (`kd3d.waymo.skim_record`), several files at a time.
    What it finds is kept beside the index, and only changed files are read again.

    Args:
        index: as `kd3d.data.build_index` gives it, not thinned out.
        pattern: that the index was built with.
        cache_dir: that the index was built with.

    Raises:
        DatasetError: if a file cannot be opened or read.
    """
    cache = ColumnCache(cache_dir, "facts", index.root, pattern, _COLUMNS)
    known = cache.load()
    frames = np.split(np.arange(len(index)), _starts_of(index)[1:])
    stale = [
        place
        for place, (name, stamp) in enumerate(zip(index.files, index.stamps, strict=True))
        if name not in known
        or known[name].stamp.change(stamp) is not None
        or len(known[name].columns["timestamps"]) != len(frames[place])
    ]
    faults: list[BadRecord] = []
    for place, (columns, bad) in zip(
        stale, _read_files(index, [frames[place] for place in stale]), strict=True
    ):
        known[index.files[place]] = FileColumns(index.stamps[place], columns)
        faults += bad
    found = {name: known[name] for name in index.files}
    if stale:
        damaged = {fault.file for fault in faults}
        cache.save(
            {
                name: found[name]
                for name, rows in zip(index.files, frames, strict=True)
                if not len(rows) or index.file(int(rows[0])) not in damaged
            }
        )
    return _join(list(found.values()), faults)


def _starts_of(index: FrameIndex) -> NDArray[np.int64]:
    return np.searchsorted(index.file_of, np.arange(len(index.files)))


_Columns = dict[str, NDArray[np.generic]]


def _read_files(
    index: FrameIndex, frames: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[_Columns, list[BadRecord]]]:
    with ThreadPoolExecutor(threads_for(index.root)) as pool:
        files = pool.map(lambda rows: _read_file(index, rows), frames)
        try:
            yield from with_progress(files, "Counting boxes", len(frames))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read_file(index: FrameIndex, rows: NDArray[np.int64]) -> tuple[_Columns, list[BadRecord]]:
    contexts: dict[str, int] = {}
    context_of = np.full(len(rows), -1, np.int64)
    timestamps = np.full(len(rows), -1, np.int64)
    boxes = np.zeros((len(rows), len(BOX_KINDS), len(BOX_LEVELS)), np.int64)
    faults = []
    for row, frame in enumerate(rows.tolist()):
        try:
            name, timestamps[row], boxes[row] = _parse(index.skim(frame), index.name(frame))
            context_of[row] = contexts.setdefault(name, len(contexts))
        except RecordError as error:
            faults.append(BadRecord(index.file(frame), index.name(frame), error))
    names = np.array(list(contexts), dtype=np.str_)
    columns = zip(_COLUMNS, (names, context_of, timestamps, boxes), strict=True)
    return dict(columns), faults


def _parse(payload: bytes, where: str) -> tuple[str, int, NDArray[np.int64]]:
    try:
        message = schema.Frame.FromString(payload)
        name = message.context.name.decode()
    except (DecodeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"no Waymo v1 frame ({error}).", where=where, hint="Download the file again."
        ) from error
    labels = message.laser_labels
    kinds = np.array([class_of(label.type, where) for label in labels], np.int64)
    points = np.array([label.num_lidar_points_in_box for label in labels], np.int64)
    annotated = np.array([label.detection_difficulty_level for label in labels], np.int64)
    levels = np.where(points > 0, effective_difficulty(annotated, points) - 1, 2)
    if len(levels) and not 0 <= levels.min() <= levels.max() <= 2:
        raise RecordError(
            f"a difficulty of {annotated.max()} where there is 1 and 2.",
            where=where,
            hint="Download the file again.",
        )
    boxes = np.zeros((len(BOX_KINDS), len(BOX_LEVELS)), np.int64)
    np.add.at(boxes, (kinds, levels), 1)  # -1, of no class, is the last kind
    return name, message.timestamp_micros, boxes


def _join(files: Sequence[FileColumns], faults: Sequence[BadRecord]) -> FrameFacts:
    contexts: dict[str, int] = {}
    places = []
    for file in files:
        here = [contexts.setdefault(str(name), len(contexts)) for name in file.columns["contexts"]]
        places.append(np.array([*here, -1], np.int64)[file.columns["context_of"]])
    return FrameFacts(
        contexts=tuple(contexts),
        context_of=np.concatenate(places),
        timestamps=np.concatenate([file.columns["timestamps"] for file in files]),
        boxes=np.concatenate([file.columns["boxes"] for file in files]),
        faults=tuple(faults),
    )
