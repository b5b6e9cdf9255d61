"""Collecting frames one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kd3d.errors import InputError
from kd3d.predictions.frame_objects import WAYMO_TYPE_NAMES, FrameObjects

__all__ = ["ObjectsBuilder"]

_TYPES = {
    "boxes": np.float64,
    "types": np.int64,
    "scores": np.float32,
    "overlaps_nlz": np.bool_,
    "difficulty": np.int64,
    "num_points": np.int64,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    frame_id: str
    columns: dict[str, NDArray[Any]]


class ObjectsBuilder:
    """Takes frames in any order and lays out their boxes as `FrameObjects`.

    Args:
        type_names: names of the types, Waymo's by default; see `FrameObjects`.

    Example:
        >>> builder = ObjectsBuilder()
        >>> builder.add("segment/17", boxes=[[1, 2, 3, 4, 2, 1, 0]], types=[1], scores=[0.5])
        >>> builder.add("segment/18", boxes=[], types=[], scores=[])
        >>> objects = builder.build()
        >>> len(objects), objects.frame_ids
        (1, ('segment/17', 'segment/18'))
    """

    def __init__(self, type_names: Sequence[str] = WAYMO_TYPE_NAMES) -> None:
        self.type_names = tuple(type_names)
        self._frames: list[_Frame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame_id: str, **columns: ArrayLike) -> None:
        """Add one frame, also when it has no box.

        Args:
            frame_id: the frame's name, ``<context_name>/<timestamp_micros>`` of Waymo's.
            columns: those of `FrameObjects` that are known, the same for every frame; ``boxes`` and
                ``types`` at least.

        Raises:
            InputError: if a column is missing, not known, or other than in the frames before.
        """
        names = set(self._frames[0].columns) if self._frames else {"boxes", "types"}
        expected = names if self._frames else set(columns) | names
        if set(columns) != expected or not set(columns) <= set(_TYPES):
            raise InputError(
                f"columns {sorted(columns)}, but {sorted(expected & set(_TYPES))} are expected.",
                where=f"frame {frame_id}",
            )
        arrays: dict[str, NDArray[Any]] = {
            name: np.asarray(value, _TYPES[name]) for name, value in columns.items()
        }
        arrays["boxes"] = arrays["boxes"].reshape(-1, 7)
        for name, values in arrays.items():
            if len(values) != len(arrays["boxes"]):
                raise InputError(
                    f"{len(values)} values for {len(arrays['boxes'])} boxes.",
                    where=f"frame {frame_id}, {name}",
                )
        self._frames.append(_Frame(frame_id, arrays))

    def extend(self, others: Sequence["ObjectsBuilder"]) -> None:
        """Add all frames of other builders, those of other processes for example.

        Raises:
            InputError: if a builder has other types or columns.
        """
        for other in others:
            if other.type_names != self.type_names:
                raise InputError(
                    f"{other.type_names}, but {self.type_names} are expected.", where="type_names"
                )
            for frame in other._frames:
                self.add(frame.frame_id, **frame.columns)

    def build(self) -> FrameObjects:
        """Lay out what was added, frames in the order of their ids.

        Raises:
            InputError: if a frame was added twice or a value is not legal.
        """
        frames = sorted(self._frames, key=lambda frame: frame.frame_id)
        names = frames[0].columns if frames else ("boxes", "types")
        joined = {
            name: np.concatenate([_empty(name), *(frame.columns[name] for frame in frames)])
            for name in names
        }
        counts = [len(frame.columns["boxes"]) for frame in frames]
        return FrameObjects(
            frame_ids=tuple(frame.frame_id for frame in frames),
            frame=np.repeat(np.arange(len(frames)), counts),
            type_names=self.type_names,
            **joined,
        )


def _empty(name: str) -> NDArray[Any]:
    return np.zeros((0, 7) if name == "boxes" else 0, _TYPES[name])
