"""One recording's share of an object database: its objects, cut out and put away in two files."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.data.array_files import BROKEN_ARRAY, save_columns, writing_rows
from kd3d.data.faults import OnError
from kd3d.data.source import FrameSource, Scan
from kd3d.errors import DatasetError, RecordError
from kd3d.files import whole_file
from kd3d.geometry import points_in_boxes

__all__ = ["ObjectPart", "PartPlan", "cut_objects", "make_part", "plan_parts"]

_EMPTY: Mapping[str, NDArray[Any]] = {
    "boxes": np.empty((0, 7), np.float32),
    "labels": np.empty(0, np.int64),
    "num_points": np.empty(0, np.int64),
    "difficulty": np.empty(0, np.int64),
}

#: Goes up whenever the same frames give another part, so that old and new parts never mix.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What to cut out of one recording.

    Args:
        frames: numbers of its frames in the source.
        intervals: of every class in the order of the source: cut from every so-many-th frame.
        on_error: what to do with damaged records.
        path: of the part, without suffix.
    """

    frames: range
    intervals: tuple[int, ...]
    on_error: OnError
    path: Path

    @property
    def points(self) -> Path:
        """File of the points."""
        return self.path.with_suffix(".npy")

    @property
    def table(self) -> Path:
        """File of the table; it is written last, so where it is the part is finished."""
        return self.path.with_suffix(".npz")


@dataclass(frozen=True, slots=True)
class ObjectPart:
    """A finished part; nothing of it is kept in memory.

    Its columns are those of `kd3d.data.ObjectDatabase`, but in the order of the frames, with frames
    and offsets of its own. ``skipped`` names the records that were left out, and ``width`` is how
    many numbers a point has.

    Args:
        plan: what it was made after.
        objects: how many it has.
        frames: how many frames they are from.
        points: how many points they have.
    """

    plan: PartPlan
    objects: int
    frames: int
    points: int

    @classmethod
    def find(cls, plan: PartPlan) -> "ObjectPart | None":
        """Open a part if it is finished."""
        try:
            points = np.load(plan.points, mmap_mode="r", allow_pickle=False)
            with np.load(plan.table, allow_pickle=False) as table:
                if table["num_points"].sum() != len(points):
                    return None
                return cls(plan, len(table["labels"]), len(table["frame_ids"]), len(points))
        except BROKEN_ARRAY:
            return None

    def column(self, name: str) -> NDArray[Any]:
        """Read one column."""
        with np.load(self.plan.table, allow_pickle=False) as table:
            return np.asarray(table[name])

    def remove(self) -> None:
        """Delete its files."""
        for file in (self.plan.table, self.plan.points):
            file.unlink(missing_ok=True)


def plan_parts(
    source: FrameSource, folder: Path, intervals: Sequence[int], on_error: OnError
) -> list[PartPlan]:
    """Plan a part for each recording of a source.

    A part's name depends on all that it is made of (files with sizes and times, frames, classes,
    intervals), so that a part of something else is never taken for it.
    """
    borders = np.flatnonzero(np.diff(source.segments)) + 1
    ends = [*borders.tolist(), len(source)]
    plans: list[PartPlan] = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        frames = range(start, end)
        key = (_VERSION, tuple(source.classes), tuple(intervals), on_error, source.name(start))
        digest = hashlib.sha256(repr((key, len(frames), _stamps(source, frames))).encode())
        path = folder / f"{len(plans):05d}-{digest.hexdigest()[:16]}"
        plans.append(PartPlan(frames, tuple(intervals), on_error, path))
    return plans


def make_part(source: FrameSource, plan: PartPlan) -> None:
    """Cut the objects of one recording out, a frame at a time, and write them.

    Raises:
        RecordError: if a frame is damaged and the plan does not skip it.
        DatasetError: if its frames differ in their features.
        OutputError: if the files cannot be written.
    """
    table = _PartTable()
    scans = _read_frames(source, plan, table)
    first = next(scans, None)
    width = 3 if first is None else first.points.shape[1]
    with writing_rows(plan.points, width) as points:
        for scan in chain(() if first is None else (first,), scans):
            cut, columns = cut_objects(scan)
            try:
                points.append(cut.numpy())
            except DatasetError as error:
                raise DatasetError(error.what, where=scan.frame_id, hint=error.hint) from error
            table.add(scan.frame_id, columns)
    with whole_file(plan.table) as temporary:
        save_columns(temporary, table.columns(width).items())


def cut_objects(scan: Scan) -> tuple[Tensor, dict[str, Tensor]]:
    """Cut the objects of a frame out; those without points, or of no class, are left.

    Objects whose level of difficulty is a negative number (unknown, in KITTI's way of counting) are
    left too. Waymo's levels are 1, 2 and 0 for not annotated, so none of it is.

    Args:
        scan: the frame.

    Returns:
        Points ``[sum N, F]``, one object after the other, x, y, z relative to the centre of the
        box; and the columns ``boxes [M, 7]``, ``labels``, ``num_points`` (cut, not annotated) and
        ``difficulty``, all ``[M]``.
    """
    wanted = (scan.labels >= 0) & (scan.difficulty >= 0)
    boxes = scan.boxes[wanted]
    member, owner = points_in_boxes(scan.points, boxes).nonzero(as_tuple=True)
    owner, order = owner.sort(stable=True)
    member = member[order]
    counts = owner.bincount(minlength=len(boxes))
    points = scan.points.index_select(0, member)
    points[:, :3] -= boxes[owner, :3]
    full = counts > 0
    return points, {
        "boxes": boxes[full],
        "labels": scan.labels[wanted][full],
        "num_points": counts[full],
        "difficulty": scan.difficulty[wanted][full],
    }


class _PartTable:
    """The columns of a part, gathered frame by frame."""

    def __init__(self) -> None:
        self.frame_ids: list[str] = []
        self.skipped: list[str] = []
        self._found: list[dict[str, Tensor]] = []

    def add(self, frame_id: str, columns: dict[str, Tensor]) -> None:
        self.frame_ids.append(frame_id)
        self._found.append(columns)

    def columns(self, width: int) -> dict[str, NDArray[Any]]:
        counts = [len(found["labels"]) for found in self._found]
        found = {
            name: np.concatenate([empty, *(frame[name].numpy() for frame in self._found)])
            for name, empty in _EMPTY.items()
        }
        return {
            **found,
            "frames": np.repeat(np.arange(len(counts)), counts),
            "offsets": np.cumsum(found["num_points"]) - found["num_points"],
            "frame_ids": np.array(self.frame_ids, dtype=np.str_),
            "skipped": np.array(self.skipped, dtype=np.str_),
            "width": np.array([width]),
        }


def _read_frames(source: FrameSource, plan: PartPlan, table: _PartTable) -> Iterator[Scan]:
    """Yield the scans that have something to cut, other objects' labels set to -1."""
    for place, frame in enumerate(plan.frames):
        due = torch.tensor([place % interval == 0 for interval in plan.intervals] + [False])
        if not due.any():
            continue
        try:
            scan = source.read(frame)
        except RecordError:
            if plan.on_error == "raise":
                raise
            table.skipped.append(source.name(frame))
            continue
        yield replace(scan, labels=torch.where(due[scan.labels], scan.labels, -1))


def _stamps(source: FrameSource, frames: range) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files that frames lie in, as far as they are local."""
    stamps = []
    for name in sorted({source.file(frame) for frame in frames}):
        size, time = 0, 0
        with suppress(OSError):
            found = Path(name).stat()
            size, time = found.st_size, found.st_mtime_ns
        stamps.append((name, size, time))
    return stamps
