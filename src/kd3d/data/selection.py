"""What of a frame to keep: classes, points and objects."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry import corners_3d

__all__ = ["Range", "Selection"]

Range = Sequence[float]
"""(x_min, y_min, z_min, x_max, y_max, z_max) in metres, vehicle frame."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which classes, points and objects of a frame are kept.

    Args:
        classes: which of the source's classes to keep; a box's label is its place here. All of the
            source's, in its order, by default.
        point_range: keep the points within its x and y, bounds included, and train on the boxes
            that have a corner within it. Everything by default.
        object_range: keep the objects whose centre is within it, bounds included, in training and
            in validation. Everything by default.

    Raises:
        ConfigError: if a class is doubled, or a range has no extent.
    """

    classes: Sequence[str] | None = None
    point_range: Range | None = None
    object_range: Range | None = None

    def __post_init__(self) -> None:
        chosen = self.classes
        if chosen is not None and (not chosen or len(set(chosen)) < len(chosen)):
            raise ConfigError(
                f"{list(chosen)} is no choice of different classes.",
                where="data.classes",
                hint="Name each at most once, and at least one.",
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

    def choose(self, known: Sequence[str]) -> tuple[str, ...]:
        """Name the classes that are kept of those that a source knows.

        Raises:
            ConfigError: if it lacks one.
        """
        chosen = tuple(known if self.classes is None else self.classes)
        unknown = [name for name in chosen if name not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
            guess = f" Is {unknown[0]!r} {near[0]}?" if near else ""
            raise ConfigError(
                f"the dataset has no class {', '.join(map(repr, unknown))}.",
                where="data.classes",
                hint=f"Choose out of {', '.join(known)}.{guess}",
            )
        return chosen

    def labels(self, labels: Tensor, known: Sequence[str]) -> Tensor:
        """Turn places ``[M]`` in a source's classes into places in `classes`, -1 for all others."""
        chosen = self.choose(known)
        places = [chosen.index(name) if name in chosen else -1 for name in known]
        return torch.tensor([*places, -1])[labels]

    def covers(self, x: Tensor, y: Tensor) -> Tensor:
        """Tell which places, x and y of ``[N]``, are within `point_range`: ``[N]`` bool."""
        if self.point_range is None:
            return torch.ones(len(x), dtype=torch.bool, device=x.device)
        x_min, y_min, _, x_max, y_max, _ = self.point_range
        within = x >= x_min
        for inside in (x <= x_max, y >= y_min, y <= y_max):
            within &= inside
        return within

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
