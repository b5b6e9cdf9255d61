"""Objects cut out of training frames, in files that all processes share."""

import os
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.data.array_files import BROKEN_ARRAY, map_columns
from kd3d.errors import ConfigError, DatasetError

__all__ = ["POINTS_FILE", "TABLE_FILE", "CutObjects", "ObjectDatabase"]

POINTS_FILE = "points.npy"
TABLE_FILE = "objects.npz"

_COLUMNS = ("boxes", "labels", "num_points", "difficulty", "frames", "offsets")
_HINT = "Make it with: kd3d-data objects root=DATASET out=FOLDER"


@dataclass(frozen=True, slots=True, eq=False)
class CutObjects:
    """Some objects of a database.

    Args:
        rows: ``[M]`` int64, their rows in the database's table.
        boxes: ``[M, 7]`` float32, where they were recorded, in the vehicle's frame.
        num_points: ``[M]`` int64, points of each.
        difficulty: ``[M]`` int64, 1 or 2, 0 where not annotated.
        points: ``[sum of num_points, F]`` float32, x, y, z in metres where they were recorded, then
            features; one object after the other.
    """

    rows: Tensor
    boxes: Tensor
    num_points: Tensor
    difficulty: Tensor
    points: Tensor


class ObjectDatabase:
    """What ``kd3d-data objects`` made of a dataset (see `kd3d.data.build_objects`).

    The folder holds

    * ``points.npy``: ``[sum N, F]`` float32, the points of every object, one object after the
      other. x, y, z are metres relative to the centre of the object's box, along the axes of the
      vehicle's frame; they are not turned by its heading. Then the features as recorded.
    * ``objects.npz``, uncompressed, one row per object, ordered by class and then by rising number
      of points: ``boxes [N, 7]`` float32 in the vehicle's frame, ``labels``, ``num_points``,
      ``difficulty``, ``frames`` (places in ``frame_ids``) and ``offsets`` (first row in
      ``points.npy``), all ``[N]`` int64; and the names ``frame_ids`` and ``classes``.

    Files are mapped into memory where they are first used, in each process for itself: nothing is
    read beforehand, nothing is copied to workers, and processes share the pages that they touch.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # maps stay where they are: pickled, they would be copies

    def __len__(self) -> int:
        return len(self.columns["labels"])

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The table, memory-mapped.

        Raises:
            DatasetError: if there is none, or it is damaged.
        """
        file = self.path / TABLE_FILE
        if not file.is_file():
            raise DatasetError("is no object database.", where=str(self.path), hint=_HINT)
        try:
            columns = map_columns(file)
            length = len(columns["labels"])
            if any(len(columns[name]) != length for name in _COLUMNS):
                raise ValueError("columns differ in length")
            if columns["classes"].ndim != 1 or columns["boxes"].shape[1:] != (7,):
                raise ValueError("columns have other shapes")
        except BROKEN_ARRAY as error:
            raise _damaged(file, error) from error
        return columns

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """Points of all objects, ``[sum N, F]`` float32, memory-mapped.

        Raises:
            DatasetError: if the file is missing, damaged or not of this table.
        """
        file = self.path / POINTS_FILE
        try:
            points: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
            needed = int(self.columns["num_points"].sum())
            if points.dtype != np.float32 or points.ndim != 2 or len(points) != needed:
                raise ValueError(f"it is {points.dtype} {points.shape}, not float32 [{needed}, F]")
        except BROKEN_ARRAY as error:
            raise _damaged(file, error) from error
        return points

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that ``labels`` are places in."""
        return tuple(str(name) for name in self.columns["classes"])

    def rows_of(self, name: str, min_points: int = 1) -> range:
        """Give the rows of a class's objects with at least so many points.

        Raises:
            ConfigError: if there is no such class.
        """
        if name not in self.classes:
            raise ConfigError(
                f"has no class {name!r}.",
                where=str(self.path),
                hint=f"Its classes are {', '.join(self.classes)}.",
            )
        label = self.classes.index(name)
        labels, num_points = self.columns["labels"], self.columns["num_points"]
        # Bisection touches a few pages only; numpy's own would copy the column.
        stop = bisect_left(labels, label + 1)
        start = bisect_left(labels, label, hi=stop)
        return range(bisect_left(num_points, min_points, lo=start, hi=stop), stop)

    def boxes(self, rows: NDArray[np.int64]) -> Tensor:
        """Read boxes ``[M, 7]`` of objects."""
        return torch.from_numpy(self.columns["boxes"][rows])

    def take(self, rows: NDArray[np.int64]) -> CutObjects:
        """Read objects, with their points where they were recorded.

        Args:
            rows: ``[M]``.
        """
        boxes = self.boxes(rows)
        counts = self.columns["num_points"][rows]
        before = np.cumsum(counts) - counts
        starts = self.columns["offsets"][rows] - before
        points = torch.from_numpy(self.points[np.repeat(starts, counts) + np.arange(counts.sum())])
        num_points = torch.from_numpy(counts)
        points[:, :3] += boxes[:, :3].repeat_interleave(num_points, dim=0)
        return CutObjects(
            rows=torch.from_numpy(rows),
            boxes=boxes,
            num_points=num_points,
            difficulty=torch.from_numpy(self.columns["difficulty"][rows]),
            points=points,
        )


def _damaged(file: Path, error: BaseException) -> DatasetError:
    return DatasetError(
        f"cannot be read as part of an object database ({error}).", where=str(file), hint=_HINT
    )
