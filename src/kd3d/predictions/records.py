"""What a dataset says about its frames: labels, and points to draw."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from kd3d.data import FrameDataset, WaymoFrames
from kd3d.data.derived import recorded_frame
from kd3d.errors import InputError, RecordError
from kd3d.predictions.builder import ObjectsBuilder
from kd3d.predictions.frame_objects import WAYMO_TYPE_NAMES, FrameObjects, type_names_of
from kd3d.waymo import class_of, decode_raw_labels

__all__ = ["labelled_objects", "points_of_frames"]


def labelled_objects(
    frames: FrameDataset, *, on_error: str = "raise", progress: bool = False
) -> FrameObjects:
    """Read the labels of a dataset's frames.

    Those of Waymo records are of all types, and are read without decoding points. Those of any
    other source are of the selected classes.

    Args:
        frames: which frames; `Selection.object_range` leaves objects out.
        on_error: a damaged record stops (``"raise"``) or is left out (``"skip"``).
        progress: show a bar.

    Raises:
        RecordError: if a record is damaged, or two records are the same frame.
    """
    source = frames.source
    waymo = isinstance(recorded_frame(source, 0)[0], WaymoFrames)
    builder = ObjectsBuilder(WAYMO_TYPE_NAMES if waymo else type_names_of(frames.classes))
    for number in track(range(len(frames)), "Reading labels", disable=not progress):
        try:
            frame_id, columns = _waymo_labels(frames, number) if waymo else _labels(frames, number)
            builder.add(frame_id, **columns)
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


def _waymo_labels(frames: FrameDataset, number: int) -> tuple[str, dict[str, NDArray[Any]]]:
    source, place = recorded_frame(frames.source, number)
    assert isinstance(source, WaymoFrames)
    where = source.name(place)
    raw = decode_raw_labels(source.index.read(place, verify=source.verify), where)
    for label in raw.labels:
        class_of(label.waymo_type, f"{where}, label {label.id!r}")  # refuses unknown types
    boxes = np.array([label.box for label in raw.labels], np.float64).reshape(-1, 7)
    if not np.isfinite(boxes).all():
        raise RecordError(
            "a labelled box is not finite.", where=where, hint="Leave the record out."
        )
    known = torch.zeros(len(boxes), dtype=torch.int64)
    kept = frames.selection.keep(torch.from_numpy(boxes).float(), known, known, training=False)
    columns = {
        "types": [label.waymo_type for label in raw.labels],
        "difficulty": [label.difficulty for label in raw.labels],
        "num_points": [label.num_points for label in raw.labels],
    }
    ids = f"{raw.context_name}/{raw.timestamp_micros}"
    chosen = kept.numpy()
    return ids, {
        "boxes": boxes[chosen],
        **{name: np.array(values, np.int64)[chosen] for name, values in columns.items()},
    }


def _labels(frames: FrameDataset, number: int) -> tuple[str, dict[str, NDArray[Any]]]:
    scan = frames.source.read(number)
    labels = frames.selection.labels(scan.labels, frames.source.classes)
    kept = frames.selection.keep(scan.boxes, labels, scan.num_points, training=False).numpy()
    names, types = np.array(frames.classes), type_names_of(frames.classes)
    return scan.frame_id, {
        "boxes": scan.boxes.numpy()[kept],
        "types": np.array([types.index(name) for name in names[labels.numpy()[kept]]], np.int64),
        "difficulty": scan.difficulty.numpy()[kept],
        "num_points": scan.num_points.numpy()[kept],
    }
