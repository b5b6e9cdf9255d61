"""A folder of one's own scans as a source of frames."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.data.folder_facts import FACTS_NAME, FolderFacts, read_facts
from kd3d.data.folder_files import read_arrays
from kd3d.data.folder_layout import FrameFile, find_frames
from kd3d.data.source import Scan
from kd3d.errors import RecordError
from kd3d.geometry import count_points_in_boxes

__all__ = ["FolderFrames"]


@dataclass(frozen=True, slots=True, eq=False)
class FolderFrames:
    """The scans of a folder; a `kd3d.data.FrameSource`. Make it with `open`.

    A scan is one ``.npz`` file, or a pair of parquet files; `kd3d.data.folder_files.read_arrays`
    lists what they hold. Points are in metres in the vehicle's frame (x forward, y left, z up),
    boxes are (x, y, z of the middle, length, width, height, heading in radians). The folder of a
    scan is its sequence; a frame's id is its path below the root, without suffix.

    Args:
        folder: the dataset's folder.
        frames: the scans.
        facts: names of classes and features.
    """

    folder: Path
    frames: tuple[FrameFile, ...]
    facts: FolderFacts

    @classmethod
    def open(
        cls,
        root: str | os.PathLike[str],
        classes: Sequence[str] | None = None,
        split: str = "train",
    ) -> "FolderFrames":
        """List the scans of a split; none is opened.

        Args:
            root: the dataset's folder.
            classes: names of the classes, in the order of label ids. Needed only without a
                ``dataset.json`` in the root, which holds them otherwise.
            split: a folder below the root, or a ``.txt`` file with one scan's name per line.

        Raises:
            ConfigError: if the classes are not known.
            DatasetError: if there is no scan, or one is there twice.
        """
        folder = Path(root).expanduser()
        frames = tuple(find_frames(folder, split))
        return cls(folder, frames, read_facts(folder, classes))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the dataset's classes."""
        return self.facts.classes

    @property
    def root(self) -> str:
        """The dataset's folder."""
        return str(self.folder)

    @property
    def segments(self) -> NDArray[np.int64]:
        """``[N]``, the place of each frame's sequence."""
        places: dict[str, int] = {}
        return np.array(
            [places.setdefault(frame.sequence, len(places)) for frame in self.frames], np.int64
        )

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, frame: int) -> str:
        """A scan's file."""
        return self.file(frame)

    def file(self, frame: int) -> str:
        """The file of a scan's points."""
        return str(self.frames[frame].path)

    def frame_id(self, frame: int) -> str:
        """A scan's path below the root, without suffix."""
        return self.frames[frame].name

    def read(self, frame: int) -> Scan:
        """Read and check one scan.

        Points in boxes are counted where the file does not tell them.

        Raises:
            RecordError: if the files are damaged, shapes do not fit, a number is not finite, a
                label is unknown.
        """
        path = self.frames[frame].path
        arrays = read_arrays(path)
        points = self._points(arrays["points"], path)
        boxes = _boxes(arrays["boxes"], path)
        labels = self._labels(arrays["labels"], path)
        counts = arrays.get("num_points")
        scan = Scan(
            points=points,
            boxes=boxes,
            labels=labels,
            num_points=count_points_in_boxes(points, boxes) if counts is None else _ints(counts),
            difficulty=_ints(arrays.get("difficulty", np.zeros(len(boxes)))),
            frame_id=self.frame_id(frame),
            pose=_pose(arrays["pose"], path) if "pose" in arrays else None,
            time=_time(arrays["time"], path) if "time" in arrays else None,
        )
        _check_lengths(scan, path)
        return scan

    def _points(self, values: NDArray[Any], path: Path) -> Tensor:
        features = self.facts.features
        wanted = "N, 3 or more" if features is None else f"N, {len(features)}"
        fits = values.ndim == 2 and values.shape[1] >= 3 and values.dtype.kind in "fiu"
        if not fits or (features is not None and values.shape[1] != len(features)):
            raise RecordError(
                f"points must be numbers [{wanted}], not {values.dtype} {list(values.shape)}.",
                where=str(path),
                hint="Store x, y, z and the same further features in every scan."
                if features is None
                else f"{FACTS_NAME} names the features {', '.join(features)}.",
            )
        points = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        _refuse_infinite(points, "points", path)
        return points

    def _labels(self, values: NDArray[Any], path: Path) -> Tensor:
        if values.ndim != 1:
            raise RecordError(f"labels must be [M], not {list(values.shape)}.", where=str(path))
        if not len(values):
            return torch.zeros(0, dtype=torch.int64)
        if values.dtype.kind in "iu":
            return self._ids(values, path)
        names = [str(name) for name in values.tolist()]
        places = {name: place for place, name in enumerate(self.facts.classes)}
        known = {**dict.fromkeys(self.facts.ignore, -1), **places}
        for name in names:
            if name not in known:
                raise self._unknown(name, path)
        return torch.tensor([known[name] for name in names])

    def _ids(self, values: NDArray[Any], path: Path) -> Tensor:
        wrong = (values < -1) | (values >= len(self.facts.classes))
        if wrong.any():
            raise RecordError(
                f"{values[wrong][0]} is no label: ids go from 0 to {len(self.facts.classes) - 1};"
                " -1 is nobody's class.",
                where=str(path),
                hint=f"The classes are {', '.join(self.facts.classes)}.",
            )
        return torch.from_numpy(values.astype(np.int64))

    def _unknown(self, name: str, path: Path) -> RecordError:
        near = difflib.get_close_matches(name, self.facts.classes, n=1, cutoff=0.5)
        guess = f" Is it {near[0]}?" if near else ""
        return RecordError(
            f"{name!r} is an unknown label out of {', '.join(self.facts.classes)}.{guess}",
            where=str(path),
            hint=f"Add it to classes, or to ignore, in {self.folder / FACTS_NAME}.",
        )


def _boxes(values: NDArray[Any], path: Path) -> Tensor:
    if not values.size:
        return torch.zeros((0, 7))
    if values.ndim != 2 or values.shape[1] != 7 or values.dtype.kind not in "fiu":
        raise RecordError(
            f"boxes must be numbers [M, 7], not {values.dtype} {list(values.shape)}.",
            where=str(path),
            hint="Store x, y, z, length, width, height, heading.",
        )
    boxes = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    _refuse_infinite(boxes, "boxes", path)
    flat = int((boxes[:, 3:6] <= 0).any(dim=1).sum())
    if flat:
        raise RecordError(
            f"{flat} of {len(boxes)} boxes have no length, width or height above 0.",
            where=str(path),
            hint="Leave such boxes out. The order is x, y, z, length, width, height, heading.",
        )
    return boxes


def _refuse_infinite(values: Tensor, what: str, path: Path) -> None:
    # A sum is not finite if a summand is not, and takes a third of the time; it may overflow.
    if torch.isfinite(values.sum()) or bool(torch.isfinite(values).all()):
        return
    wrong = int((~torch.isfinite(values)).any(dim=1).sum())
    raise RecordError(
        f"{wrong} of {len(values)} {what} hold NaN or an infinite number.",
        where=str(path),
        hint="Leave out such rows when writing the file.",
    )


def _ints(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.atleast_1d(values).astype(np.int64))


def _pose(values: NDArray[Any], path: Path) -> NDArray[np.float64]:
    pose: NDArray[np.float64] = values.astype(np.float64)
    if (
        pose.shape != (4, 4)
        or not np.isfinite(pose).all()
        or not np.allclose(pose[3], (0, 0, 0, 1))
    ):
        raise RecordError(
            f"pose {list(pose.shape)} is no 4 x 4 matrix from vehicle to a fixed frame.",
            where=str(path),
            hint="Its last row is 0, 0, 0, 1; leave pose out if it is not known.",
        )
    return pose


def _time(values: NDArray[Any], path: Path) -> float:
    if values.size != 1 or not np.isfinite(values).all():
        raise RecordError("time is not one number of seconds.", where=str(path))
    return float(values.reshape(-1)[0])


def _check_lengths(scan: Scan, path: Path) -> None:
    for name in ("labels", "num_points", "difficulty"):
        found = len(getattr(scan, name))
        if found != len(scan.boxes):
            raise RecordError(
                f"{found} {name} for {len(scan.boxes)} boxes.",
                where=str(path),
                hint="Every box needs one.",
            )
