"""The predicted or labelled boxes of many frames as arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import ConfigError, InputError

__all__ = [
    "WAYMO_TYPE_NAMES",
    "FrameObjects",
    "check_classes",
    "first_fault",
    "split_frame_id",
    "type_names_of",
]

#: Waymo's types of objects, each at the place of its number; 0 is an object of unknown type.
WAYMO_TYPE_NAMES = ("", "Vehicle", "Pedestrian", "Sign", "Cyclist")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameObjects:
    """Boxes of F frames, N in all, frame after frame.

    A column that is None is unknown for every box. A frame may have no box.

    Args:
        frame_ids: F different names; of Waymo's frames ``<context_name>/<timestamp_micros>``.
        frame: ``[N]`` int64, each box's place in `frame_ids`; never falls.
        boxes: ``[N, 7]`` float64 (x, y, z of the centre, length, width, height, heading); metres,
            radians, vehicle frame.
        types: ``[N]`` int64, places in `type_names`.
        type_names: names of the types, all different; an empty one is nobody's class. By default
            Waymo's: 0 unknown, 1 Vehicle, 2 Pedestrian, 3 Sign, 4 Cyclist.
        scores: ``[N]`` float32 in [0, 1]; of predictions.
        overlaps_nlz: ``[N]`` bool, the box overlaps a no-label zone; of predictions.
        difficulty: ``[N]`` int64, 1 or 2, 0 where nobody annotated it; of labels.
        num_points: ``[N]`` int64, LiDAR points in the box, -1 where unknown; of labels.

    Raises:
        InputError: if lengths do not fit, a frame is named twice, or a value is not legal; the
            message names the frame and the field.
    """

    frame_ids: tuple[str, ...]
    frame: NDArray[np.int64]
    boxes: NDArray[np.float64]
    types: NDArray[np.int64]
    type_names: tuple[str, ...] = WAYMO_TYPE_NAMES
    scores: NDArray[np.float32] | None = None
    overlaps_nlz: NDArray[np.bool_] | None = None
    difficulty: NDArray[np.int64] | None = None
    num_points: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_frames()
        if len(set(self.type_names)) != len(self.type_names):
            raise InputError(f"{self.type_names} are not all different.", where="type_names")
        fault = first_fault(self.columns(), len(self.type_names))
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
            if value is not None and name not in ("frame_ids", "frame", "type_names")
        }

    def class_ids(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Give ``[N]`` places in a list of class names; -1 for types that it lacks."""
        places = [classes.index(name) if name in classes else -1 for name in self.type_names]
        return np.array([*places, -1], np.int64)[self.types]

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
            if not frame_id:
                raise InputError("a frame has no name.", where="frame_ids")
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
    """Split a Waymo frame's ``<context_name>/<timestamp_micros>``.

    Raises:
        InputError: if it is not of this form.
    """
    context, _, time = frame_id.rpartition("/")
    try:
        number = int(time)
    except ValueError:
        number = 2**63
    if f"{context}/{number}" != frame_id or not -(2**63) <= number < 2**63:
        raise InputError(
            "is no frame of Waymo, and a .bin file has room for no other name.",
            where=repr(frame_id),
            hint="Write <context_name>/<timestamp_micros>, or a .parquet or .npz file.",
        )
    return context, number


def type_names_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Give Waymo's types if all classes are Waymo's, the classes themselves otherwise."""
    return WAYMO_TYPE_NAMES if set(classes) <= set(WAYMO_TYPE_NAMES) else tuple(classes)


def check_classes(classes: Sequence[str], *objects: FrameObjects, where: str = "classes") -> None:
    """Make sure that every class is a type of some of the objects.

    Args:
        classes: names.
        objects: predictions, labels or both.
        where: what messages call the list.

    Raises:
        ConfigError: if a name is none of theirs.
    """
    known = list(dict.fromkeys(name for each in objects for name in each.type_names if name))
    unknown = [name for name in classes if name not in known]
    if unknown:
        waymo = all(each.type_names == WAYMO_TYPE_NAMES for each in objects)
        raise ConfigError(
            f"{'Waymo' if waymo else 'what is compared'} has no class {', '.join(unknown)}.",
            where=where,
            hint=f"There are {', '.join(known) or 'none'}.",
        )


def first_fault(columns: Mapping[str, NDArray[Any]], num_types: int) -> tuple[int, str, str] | None:
    """Find the first row with a value that is not legal: the row, its field and what is wrong.

    Args:
        columns: of `FrameObjects` by name.
        num_types: how many types there are.
    """
    rules = {
        "boxes": (
            (lambda boxes: ~np.isfinite(boxes).all(axis=1), "the box is not finite."),
            (lambda boxes: (boxes[:, 3:6] < 0).any(axis=1), "the box has a negative side."),
        ),
        "types": ((_outside(0, num_types - 1), f"the type is none of 0 to {num_types - 1}."),),
        "scores": ((_outside(0, 1), "the score is not in [0, 1]."),),
        "difficulty": ((_outside(0, 2), "the difficulty is none of 0 (unset), 1 and 2."),),
        "num_points": ((_outside(-1, np.inf), "the count is below -1 (unknown)."),),
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
