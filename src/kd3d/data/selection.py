"""What of a frame to keep: classes, points and objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry import corners_3d
from kd3d.waymo import CLASSES

__all__ = ["Range", "Selection"]

Range = Sequence[float]
"""(x_min, y_min, z_min, x_max, y_max, z_max) in metres, vehicle frame."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which classes, points and objects of a frame are kept.

    Args:
        classes: which of `kd3d.waymo.CLASSES` to keep; a box's label is its place here.
        point_range: keep the points within its x and y, bounds included, and train on the boxes
            that have a corner within it. Everything by default.
        object_range: keep the objects whose centre is within it, bounds included, in training and
            in validation. Everything by default.

    Raises:
        ConfigError: if a class is unknown or doubled, or a range has no extent.
    """

    classes: Sequence[str] = CLASSES
    point_range: Range | None = None
    object_range: Range | None = None

    def __post_init__(self) -> None:
        chosen = list(self.classes)
        if not chosen or not set(chosen) <= set(CLASSES) or len(set(chosen)) < len(chosen):
            raise ConfigError(
                f"{chosen} is not a choice of Waymo's classes.",
                where="data.classes",
                hint=f"Name each at most once, out of {', '.join(CLASSES)}.",
            )
        for option in ("point_range", "object_range"):
            bounds = getattr(self, option)
            if bounds is None:
                continue
            if len(bounds) != 6 or not all(bounds[axis] < bounds[axis + 3] for axis in range(3)):
                raise ConfigError(
                    f"{list(bounds)} is not (x_min, y_min, z_min, x_max, y_max, z_max).",
                    where=f"data.{option}",
                    hint="Give six numbers in metres, each minimum below its maximum.",
                )

    def labels(self, waymo_labels: Tensor) -> Tensor:
        """Turn `kd3d.waymo.Frame.labels` ``[M]`` into places in `classes`, -1 for all others."""
        chosen = list(self.classes)
        places = [chosen.index(name) if name in chosen else -1 for name in CLASSES]
        return torch.tensor([*places, -1])[waymo_labels]

    def crop(self, points: Tensor) -> Tensor:
        """Keep the points ``[N, F]`` whose x and y are within `point_range`."""
        if self.point_range is None:
            return points
        # Several times as fast as indexing with the mask.
        return points.index_select(0, _inside(points[:, :2], self.point_range).nonzero()[:, 0])

    def keep(self, boxes: Tensor, labels: Tensor, num_points: Tensor, *, training: bool) -> Tensor:
        """Tell which objects are kept.

        Args:
            boxes: ``[M, 7]``.
            labels: ``[M]``, as `labels` gives them.
            num_points: ``[M]``, annotated points in each box.
            training: boxes without points, or with no corner in `point_range`, are left out too.

        Returns:
            ``[M]`` bool.
        """
        kept = labels >= 0
        if self.object_range is not None:
            kept &= _inside(boxes[:, :3], self.object_range)
        if training:
            kept &= num_points != 0
            if self.point_range is not None:
                corners = corners_3d(boxes).flatten(0, 1)
                kept &= _inside(corners, self.point_range).view(-1, 8).any(dim=1)
        return kept


def _inside(positions: Tensor, bounds: Range) -> Tensor:
    """Tell which positions, ``[N, 2]`` or ``[N, 3]``, are within the bounds."""
    axes = positions.shape[1]
    low, high = positions.new_tensor(bounds[:axes]), positions.new_tensor(bounds[3 : 3 + axes])
    return ((positions >= low) & (positions <= high)).all(dim=1)
