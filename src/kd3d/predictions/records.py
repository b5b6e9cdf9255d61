"""What a dataset's records say about frames: labels, and points to draw."""

from collections.abc import Collection, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from kd3d.data import FrameDataset, Selection, WaymoFrames
from kd3d.errors import InputError, RecordError
from kd3d.predictions.builder import ObjectsBuilder
from kd3d.predictions.frame_objects import FrameObjects
from kd3d.waymo import class_of, decode_raw_labels

__all__ = ["labelled_objects", "points_of_frames"]


def labelled_objects(
    frames: FrameDataset, *, on_error: str = "raise", progress: bool = False
) -> FrameObjects:
    """Read the labels of a dataset's frames, of all types, without decoding points.

    Args:
        frames: which Waymo records; `Selection.object_range` leaves objects out.
        on_error: a damaged record stops (``"raise"``) or is left out (``"skip"``).
        progress: show a bar.

    Raises:
        RecordError: if a record is damaged, or two records are the same frame.
        InputError: if the frames are no Waymo records.
    """
    source = frames.source
    if not isinstance(source, WaymoFrames):
        raise InputError(
            "labels of all Waymo types are in Waymo's records only.",
            where=source.root,
            hint="Give the labels as a file: ground_truth=FILE.",
        )
    builder = ObjectsBuilder()
    for number in track(range(len(frames)), "Reading labels", disable=not progress):
        try:
            _add_labels(builder, source, frames.selection, number)
        except RecordError:
            if on_error == "raise":
                raise
    try:
        return builder.build()
    except InputError as error:
        raise RecordError(
            error.what, where=f"{source.root}, {error.where}", hint="Remove one of the two."
        ) from error


def points_of_frames(
    frames: FrameDataset, wanted: Collection[str], *, progress: bool = False
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Find frames by their ids and yield each id with its points ``[N, 5]``.

    Frames that the dataset lacks, and damaged records, are left out.

    Args:
        frames: where to look.
        wanted: frame ids.
        progress: show a bar.
    """
    missing = set(wanted)
    for number in track(range(len(frames)), "Finding frames", disable=not progress):
        if not missing:
            return
        try:
            frame_id = frames.source.frame_id(number)
            if frame_id in missing:
                missing.remove(frame_id)
                yield frame_id, frames.source.read(number).points.numpy()
        except RecordError:
            continue


def _add_labels(
    builder: ObjectsBuilder, source: WaymoFrames, selection: Selection, number: int
) -> None:
    where = source.name(number)
    raw = decode_raw_labels(source.index.read(number, verify=source.verify), where)
    for label in raw.labels:
        class_of(label.waymo_type, f"{where}, label {label.id!r}")  # refuses unknown types
    boxes = np.array([label.box for label in raw.labels], np.float64).reshape(-1, 7)
    if not np.isfinite(boxes).all():
        raise RecordError(
            "a labelled box is not finite.", where=where, hint="Leave the record out."
        )
    known = torch.zeros(len(boxes), dtype=torch.int64)
    kept = selection.keep(torch.from_numpy(boxes).float(), known, known, training=False).numpy()
    builder.add(
        f"{raw.context_name}/{raw.timestamp_micros}",
        boxes=boxes[kept],
        waymo_types=np.array([label.waymo_type for label in raw.labels], np.int64)[kept],
        difficulty=np.array([label.difficulty for label in raw.labels], np.int64)[kept],
        num_points=np.array([label.num_points for label in raw.labels], np.int64)[kept],
    )
