"""From the rows of a file to `FrameObjects`, with messages that name the row."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import RecordError
from kd3d.predictions.frame_objects import WAYMO_TYPE_NAMES, FrameObjects, first_fault
from kd3d.waymo import object_name

__all__ = ["from_rows"]


def from_rows(
    path: str | os.PathLike[str],
    keys: Sequence[str],
    columns: Mapping[str, NDArray[Any]],
    *,
    scattered: bool,
    type_names: Sequence[str] = WAYMO_TYPE_NAMES,
) -> FrameObjects:
    """Group the rows of a file by frame.

    Args:
        path: the file, for messages.
        keys: per row its frame's id.
        columns: those of `FrameObjects` but `frame`, a value per row.
        type_names: names of the types.
        scattered: allow a frame's rows to lie apart.

    Raises:
        RecordError: if a value is not legal, or rows lie apart and must not; names file and row.
    """
    fault = first_fault(columns, len(type_names))
    if fault is not None:
        row, field, what = fault
        raise RecordError(
            what,
            where=f"{object_name(path, row)}, {field}",
            hint="Write the file again from sound data.",
        )
    frame, distinct = _number(path, keys, scattered)
    order = np.argsort(frame, kind="stable")
    return FrameObjects(
        frame_ids=tuple(distinct),
        frame=frame[order],
        type_names=tuple(type_names),
        **{name: values[order] for name, values in columns.items()},
    )


def _number(
    path: str | os.PathLike[str], keys: Sequence[str], scattered: bool
) -> tuple[NDArray[np.int64], list[str]]:
    """Number the frames in order of their first row."""
    numbers: dict[str, int] = {}
    frame = np.empty(len(keys), np.int64)
    last = -1
    for row, key in enumerate(keys):
        number = numbers.setdefault(key, len(numbers))
        if number < last and not scattered:
            raise _apart(path, row, key)
        frame[row] = last = number
    return frame, list(numbers)


def _apart(path: str | os.PathLike[str], row: int, key: str) -> RecordError:
    return RecordError(
        f"frame {key} comes up a second time, after other frames.",
        where=object_name(path, row),
        hint="If it was not predicted twice, but its rows lie apart, allow that: scattered=true.",
    )
