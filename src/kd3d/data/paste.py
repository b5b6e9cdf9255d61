"""Ground-truth sampling: objects of other frames, pasted into a training scene."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.data.arrange import are_uncovered
from kd3d.data.augment import check_last_epoch
from kd3d.data.objects_database import CutObjects, ObjectDatabase
from kd3d.data.source import Scan
from kd3d.errors import ConfigError, InputError
from kd3d.geometry import iou_bev

__all__ = ["ObjectPaste", "PastedScan"]

_WAYMO_LIMITS: Mapping[str, int] = MappingProxyType(
    {"Vehicle": 15, "Pedestrian": 10, "Cyclist": 10}
)


class PastedScan(NamedTuple):
    """A scan with pasted objects, and which they were.

    Args:
        scan: pasted points come first, pasted boxes last.
        pasted: ``[M]`` int64, for each box its row in the database, -1 for the recorded ones.
    """

    scan: Scan
    pasted: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPaste:
    """Fills training scenes up with objects of a database, where they were recorded.

    The rules are SECOND's (Yan et al. 2018) as used on Waymo. Of each class as many objects are
    drawn as the scene lacks to its limit; boxes without points do not count. Those whose boxes
    overlap a box of the scene, or each other, in bird's-eye view are dropped: later classes give
    way to earlier ones, and of two of a class that overlap neither is kept. Points of the scene
    within pasted boxes are taken away. Draws depend on the generator alone.

    Objects keep their recorded place, so that distance and density of points fit. Pasted objects
    have no counterpart in what is stored about the recorded frame, such as a teacher's predicted
    boxes.

    Args:
        database: folder that ``kd3d-data objects`` made.
        limits: objects of each class that a scene is filled up to; classes that are not named are
            not pasted. The default is for Waymo's classes.
        min_points: leave out objects with fewer points.
        last_epoch: the last epoch with pasting, counted from 0; None goes on to the end.

    Raises:
        ConfigError: if a limit, `min_points` or `last_epoch` is impossible.
    """

    database: str | os.PathLike[str]
    limits: Mapping[str, int] = field(default_factory=lambda: dict(_WAYMO_LIMITS))
    min_points: int = 5
    last_epoch: int | None = None
    _objects: ObjectDatabase = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", dict(self.limits))
        object.__setattr__(self, "_objects", ObjectDatabase(self.database))
        for name, limit in {**self.limits, "min_points": self.min_points}.items():
            if limit < 0:
                raise ConfigError(f"{limit} is below 0.", where=f"paste, {name}")
        check_last_epoch(self.last_epoch, "paste.last_epoch")

    def check(self, classes: Sequence[str]) -> None:
        """Make sure that the database is there and has what is to be pasted.

        Args:
            classes: of the scenes.

        Raises:
            DatasetError: if the database is missing or damaged.
            ConfigError: if a class is missing in the database or the scenes, or has no object.
        """
        for name in self.limits:
            if name not in classes:
                raise ConfigError(
                    f"the scenes have no class {name!r}.",
                    where="paste.limits",
                    hint=f"Name some of {', '.join(classes)}.",
                )
            self._objects.rows_of(name)
        if not len(self._objects.points):
            raise ConfigError("holds no object.", where=str(self.database))

    def is_on(self, epoch: int) -> bool:
        """Tell whether objects are pasted in an epoch, counted from 0."""
        return self.last_epoch is None or epoch <= self.last_epoch

    def draw(self, scan: Scan, classes: Sequence[str], generator: np.random.Generator) -> Tensor:
        """Draw objects that fit into a scene.

        Args:
            scan: the scene, as recorded.
            classes: what its labels are places in.
            generator: where the randomness comes from, see `kd3d.data.keyed_generator`.

        Returns:
            ``[K]`` int64 rows of the database.
        """
        present = scan.num_points != 0
        labels, occupied = scan.labels[present], scan.boxes[present]
        drawn = [torch.empty(0, dtype=torch.int64)]
        for name, limit in self.limits.items():
            lacking = limit - int((labels == classes.index(name)).sum())
            rows = self._draw_rows(name, lacking, generator)
            boxes = self._objects.boxes(rows)
            free = _are_free(boxes, occupied)
            drawn.append(torch.from_numpy(rows)[free])
            occupied = torch.cat((occupied, boxes[free]))
        return torch.cat(drawn)

    def apply(
        self, scan: Scan, classes: Sequence[str], generator: np.random.Generator
    ) -> PastedScan:
        """Draw objects and paste them.

        Args:
            scan: the scene, as recorded; it stays as it is.
            classes: what its labels are places in.
            generator: where the randomness comes from.

        Raises:
            DatasetError: if the database is missing or damaged.
            InputError: if its points have other features than those of the scene.
        """
        recorded = torch.full((len(scan.boxes),), -1)
        rows = self.draw(scan, classes, generator)
        if not len(rows):
            return PastedScan(scan, recorded)
        objects = self._objects.take(rows.numpy())
        if objects.points.shape[1] != scan.points.shape[1]:
            raise InputError(
                f"its points have {objects.points.shape[1]} features, those of frame"
                f" {scan.frame_id} have {scan.points.shape[1]}.",
                where=str(self.database),
                hint="Make the database anew from the dataset that is trained on.",
            )
        labels = self._labels(rows, classes)
        return PastedScan(_paste(scan, objects, labels), torch.cat((recorded, rows)))

    def _draw_rows(
        self, name: str, count: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        rows = self._objects.rows_of(name, self.min_points)
        count = min(max(count, 0), len(rows))
        if not count:
            return np.empty(0, np.int64)
        return generator.choice(len(rows), count, replace=False) + rows.start

    def _labels(self, rows: Tensor, classes: Sequence[str]) -> Tensor:
        """Labels ``[K]`` of objects as places in the scenes' classes."""
        places = [classes.index(name) if name in classes else -1 for name in self._objects.classes]
        return torch.tensor(places)[torch.from_numpy(self._objects.columns["labels"][rows.numpy()])]


def _are_free(boxes: Tensor, occupied: Tensor) -> Tensor:
    """Tell which boxes ``[K]`` overlap neither an occupied place nor each other."""
    among = iou_bev(boxes, boxes).fill_diagonal_(0)
    return ~(torch.cat((iou_bev(boxes, occupied), among), dim=1) > 0).any(dim=1)


def _paste(scan: Scan, objects: CutObjects, labels: Tensor) -> Scan:
    uncovered = are_uncovered(scan.points, objects.boxes)
    kept = scan.points.index_select(0, uncovered.nonzero()[:, 0])
    return replace(
        scan,
        points=torch.cat((objects.points, kept)),
        boxes=torch.cat((scan.boxes, objects.boxes)),
        labels=torch.cat((scan.labels, labels)),
        num_points=torch.cat((scan.num_points, objects.num_points)),
        difficulty=torch.cat((scan.difficulty, objects.difficulty)),
    )
