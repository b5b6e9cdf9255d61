"""The predicted or labelled boxes of many frames as arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import ConfigError, InputError

__all__ = ["WAYMO_TYPE_OF", "FrameObjects", "class_ids", "first_fault", "split_frame_id"]

#: The dataset's number of each class that its metric knows.
WAYMO_TYPE_OF = {"Vehicle": 1, "Pedestrian": 2, "Sign": 3, "Cyclist": 4}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameObjects:
    """Boxes of F frames, N in all, frame after frame.

    A column that is None is unknown for every box. A frame may have no box.

    Args:
        frame_ids: F different names, ``<context_name>/<timestamp_micros>``.
        frame: ``[N]`` int64, each box's place in `frame_ids`; never falls.
        boxes: ``[N, 7]`` float64 (x, y, z of the centre, length, width, height, heading); metres,
            radians, vehicle frame.
        waymo_types: ``[N]`` int64, 0 unknown, 1 vehicle, 2 pedestrian, 3 sign, 4 cyclist.
        scores: ``[N]`` float32 in [0, 1]; of predictions.
        overlaps_nlz: ``[N]`` bool, the box overlaps a no-label zone; of predictions.
        difficulty: ``[N]`` int64, 1 or 2, 0 where nobody annotated it; of labels.
        num_points: ``[N]`` int64, LiDAR points in the box; of labels.

    Raises:
        InputError: if lengths do not fit, a frame is named twice, or a value is not legal; the
            message names the frame and the field.
    """

    frame_ids: tuple[str, ...]
    frame: NDArray[np.int64]
    boxes: NDArray[np.float64]
    waymo_types: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None
    overlaps_nlz: NDArray[np.bool_] | None = None
    difficulty: NDArray[np.int64] | None = None
    num_points: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_frames()
        fault = first_fault(self.columns())
        if fault is not None:
            row, field, what = fault
            frame_id = self.frame_ids[self.frame[row]]
            raise InputError(what, where=f"frame {frame_id}, {field}")

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, frame: int) -> slice:
        """Give the rows of one frame, by its place in `frame_ids`."""
        start, stop = np.searchsorted(self.frame, [frame, frame + 1])
        return slice(int(start), int(stop))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Give every known column but `frame` by its name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value is not None and name not in ("frame_ids", "frame")
        }

    def _check_shapes(self) -> None:
        count = len(self.frame)
        if self.boxes.shape != (count, 7):
            raise InputError(f"boxes must be [{count}, 7], not {self.boxes.shape}.", where="boxes")
        for name, values in self.columns().items():
            if len(values) != count or (name != "boxes" and values.ndim != 1):
                raise InputError(f"shape {values.shape} for {count} boxes.", where=name)

    def _check_frames(self) -> None:
        seen: set[str] = set()
        for frame_id in self.frame_ids:
            split_frame_id(frame_id)
            if frame_id in seen:
                raise InputError(
                    "the frame is there twice.",
                    where=f"frame {frame_id}",
                    hint="Give each frame once, with all of its boxes.",
                )
            seen.add(frame_id)
        inside = (self.frame >= 0) & (self.frame < len(self.frame_ids))
        if not inside.all() or (np.diff(self.frame) < 0).any():
            raise InputError(
                f"is not a rising list of places among {len(self.frame_ids)} frames.",
                where="frame",
                hint="Let an ObjectsBuilder lay out the rows.",
            )


def split_frame_id(frame_id: str) -> tuple[str, int]:
    """Split ``<context_name>/<timestamp_micros>``.

    Raises:
        InputError: if it is not of this form.
    """
    context, _, time = frame_id.rpartition("/")
    try:
        return context, int(time)
    except ValueError:
        raise InputError(
            "is no frame id.",
            where=repr(frame_id),
            hint="Write <context_name>/<timestamp_micros>.",
        ) from None


def class_ids(
    waymo_types: NDArray[np.int64], classes: Sequence[str], where: str = "classes"
) -> NDArray[np.int64]:
    """Turn the dataset's types into places in a list of classes; -1 for types that it lacks.

    Args:
        waymo_types: ``[N]`` int64 from 0 to 4.
        classes: names out of `WAYMO_TYPE_OF`.
        where: what messages call the list.

    Raises:
        ConfigError: if a name is none of the dataset's.
    """
    unknown = [name for name in classes if name not in WAYMO_TYPE_OF]
    if unknown:
        raise ConfigError(
            f"Waymo's files have no class {', '.join(unknown)}.",
            where=where,
            hint=f"There are {', '.join(WAYMO_TYPE_OF)}.",
        )
    places = np.full(5, -1)
    places[[WAYMO_TYPE_OF[name] for name in classes]] = np.arange(len(classes))
    return places[waymo_types]


def first_fault(columns: Mapping[str, NDArray[Any]]) -> tuple[int, str, str] | None:
    """Find the first row with a value that is not legal: the row, its field and what is wrong.

    Args:
        columns: of `FrameObjects` by name.
    """
    rules = {
        "boxes": (
            (lambda boxes: ~np.isfinite(boxes).all(axis=1), "the box is not finite."),
            (lambda boxes: (boxes[:, 3:6] < 0).any(axis=1), "the box has a negative side."),
        ),
        "waymo_types": ((_outside(0, 4), "the type is none of 0 to 4."),),
        "scores": ((_outside(0, 1), "the score is not in [0, 1]."),),
        "difficulty": ((_outside(0, 2), "the difficulty is none of 0 (unset), 1 and 2."),),
        "num_points": ((_outside(0, np.inf), "the count is negative."),),
    }
    faults = []
    for name, values in columns.items():
        for broken, what in rules.get(name, ()):
            rows = np.flatnonzero(broken(values))
            if len(rows):
                faults.append((int(rows[0]), name, what))
    return min(faults, default=None)


def _outside(low: float, high: float) -> Callable[[NDArray[Any]], NDArray[np.bool_]]:
    """Tell which values are outside [low, high], or not a number."""
    return lambda values: ~((values >= low) & (values <= high))
