"""World augmentation: flips, rotation and scaling of a whole scene, as drawn transforms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kd3d.errors import ConfigError, InputError
from kd3d.geometry import wrap_angle

__all__ = ["CHANGES", "WorldAugmentation", "WorldTransform", "check_last_epoch"]

CHANGES = ("flip_x", "flip_y", "rotation", "scaling")
"""What a `WorldAugmentation` may do to a scene, by the names of its arguments."""


@dataclass(frozen=True, slots=True)
class WorldTransform:
    """One drawn change of a scene: flips, then rotation about z, then scaling about the origin.

    Args:
        flip_x: mirror at the x axis (y and heading change sign).
        flip_y: mirror at the y axis (x changes sign, heading becomes ``-(heading + pi)``).
        angle: rotation about z in radians, counter-clockwise from above.
        scale: factor of positions and box dimensions.
    """

    flip_x: bool = False
    flip_y: bool = False
    angle: float = 0.0
    scale: float = 1.0

    def points(self, points: Tensor) -> Tensor:
        """Move points.

        Args:
            points: ``[N, F]`` x, y, z in metres, then features, which stay as they are.

        Returns:
            ``[N, F]``, a new tensor of the same dtype.

        Raises:
            InputError: if `points` is not ``[N, 3 or more]``.
        """
        if points.ndim != 2 or points.shape[1] < 3:
            raise InputError(f"points must be [N, F >= 3], not {tuple(points.shape)}.")
        moved = points.clone()
        self._move(moved)
        return moved

    def positions(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tell where points move to.

        Args:
            points: ``[N, 3 or more]`` x, y, z in metres, then features.

        Returns:
            x, y and z ``[N]``, the first columns of what `points` gives.
        """
        return (*self._turn(points), points[:, 2] * self.scale)

    def boxes(self, boxes: Tensor) -> Tensor:
        """Move boxes.

        Args:
            boxes: ``[M, 7]`` (x, y, z, length, width, height, heading), metres and radians.

        Returns:
            ``[M, 7]``, a new tensor of the same dtype, headings in [-pi, pi).

        Raises:
            InputError: if `boxes` is not ``[M, 7]``.
        """
        if boxes.ndim != 2 or boxes.shape[1] != 7:
            raise InputError(f"boxes must be [M, 7], not {tuple(boxes.shape)}.")
        heading = boxes[:, 6:]
        if self.flip_x:
            heading = -heading
        if self.flip_y:
            heading = -(heading + math.pi)
        moved = boxes.clone()
        self._move(moved)
        moved[:, 3:6] *= self.scale
        moved[:, 6:] = wrap_angle(heading + self.angle)
        return moved

    def matrix(self) -> Tensor:
        """Give the transform as a matrix of homogeneous points.

        Returns:
            ``[4, 4]`` float64; of points (x, y, z, 1) as columns.
        """
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        x, y = -1.0 if self.flip_y else 1.0, -1.0 if self.flip_x else 1.0
        return torch.tensor(
            [
                [x * cos, -y * sin, 0.0, 0.0],
                [x * sin, y * cos, 0.0, 0.0],
                [0.0, 0.0, self.scale, 0.0],
                [0.0, 0.0, 0.0, 1.0],
            ],
            dtype=torch.float64,
        )

    def inverse(self) -> "WorldTransform":
        """Return the transform that undoes this one."""
        # A single mirror reverses the sense of the rotation it is exchanged with.
        mirrored = self.flip_x != self.flip_y
        return replace(self, angle=self.angle if mirrored else -self.angle, scale=1 / self.scale)

    def _move(self, rows: Tensor) -> None:
        """Move the positions in the first three columns of a tensor, in place."""
        rows[:, 0], rows[:, 1] = self._turn(rows)
        rows[:, 2] *= self.scale

    def _turn(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Give the x and y ``[N]`` that positions in the first columns of a tensor move to."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        x = -rows[:, 0] if self.flip_y else rows[:, 0]
        y = -rows[:, 1] if self.flip_x else rows[:, 1]
        return (x * cos).sub_(y * sin), (x * sin).add_(y * cos)


@dataclass(frozen=True, slots=True)
class WorldAugmentation:
    """What to draw a `WorldTransform` from; the defaults are CenterPoint's on Waymo.

    Args:
        flip_x: probability of mirroring at the x axis; 0 for never.
        flip_y: probability of mirroring at the y axis, drawn independently.
        rotation: range of the rotation in radians, uniform; None for none.
        scaling: range of the scale factor, uniform; None for none.
        last_epoch: the last epoch with changes, counted from 0 (24 of 30 leaves out the last
            five); or one for each change, such as ``{"rotation": 19, "scaling": 24}``. Changes
            without one go on to the end, as all do by default.

    Raises:
        ConfigError: if a probability, a range or an epoch is impossible.
    """

    flip_x: float = 0.5
    flip_y: float = 0.5
    rotation: tuple[float, float] | None = (-math.pi / 4, math.pi / 4)
    scaling: tuple[float, float] | None = (0.95, 1.05)
    last_epoch: int | Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        for name in ("flip_x", "flip_y"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"{getattr(self, name)} is not a probability.",
                    where=f"augmentation.{name}",
                    hint="Give a number from 0 to 1.",
                )
        for name, lowest in (("rotation", -math.inf), ("scaling", 0.0)):
            low, high = getattr(self, name) or (1.0, 1.0)
            if not lowest < low <= high < math.inf:
                raise ConfigError(
                    f"[{low}, {high}] is not a range to draw from.",
                    where=f"augmentation.{name}",
                    hint="Give the lower bound first; scales are above 0.",
                )
        if isinstance(self.last_epoch, Mapping):
            # A copy of its own, and a plain one whatever a config gave.
            object.__setattr__(self, "last_epoch", dict(self.last_epoch))
        self._check_epochs()

    def draw(self, generator: np.random.Generator, epoch: int = 0) -> WorldTransform:
        """Draw a transform.

        The same numbers are taken from `generator` whatever the options are, so switching one
        change off leaves the others as they were.

        Args:
            generator: where the randomness comes from, see `kd3d.data.keyed_generator`.
            epoch: from 0; changes are left out after their last one.
        """
        flip_x, flip_y, turn, size = generator.random(4).tolist()
        return WorldTransform(
            flip_x=flip_x < self.flip_x and self._is_on("flip_x", epoch),
            flip_y=flip_y < self.flip_y and self._is_on("flip_y", epoch),
            angle=_between(self.rotation, turn)
            if self.rotation is not None and self._is_on("rotation", epoch)
            else 0.0,
            scale=_between(self.scaling, size)
            if self.scaling is not None and self._is_on("scaling", epoch)
            else 1.0,
        )

    def last_epoch_of(self, change: str) -> int | None:
        """Give the last epoch with a change (one of `CHANGES`); None if it goes on to the end."""
        if isinstance(self.last_epoch, Mapping):
            return self.last_epoch.get(change)
        return self.last_epoch

    def _is_on(self, change: str, epoch: int) -> bool:
        last = self.last_epoch_of(change)
        return last is None or epoch <= last

    def _check_epochs(self) -> None:
        given = self.last_epoch
        epochs = given if isinstance(given, Mapping) else {"flip_x": given}
        if not set(epochs) <= set(CHANGES):
            raise ConfigError(
                f"{sorted(set(epochs) - set(CHANGES))} is no change of a scene.",
                where="augmentation.last_epoch",
                hint=f"Name some of {', '.join(CHANGES)}, or give one number for all.",
            )
        for epoch in epochs.values():
            check_last_epoch(epoch, "augmentation.last_epoch")


def check_last_epoch(epoch: int | None, where: str) -> None:
    """Make sure that a last epoch is one, or None.

    Raises:
        ConfigError: if it is not.
    """
    if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0):
        raise ConfigError(
            f"{epoch!r} is no epoch.",
            where=where,
            hint="Count from 0; leave it out (null) to go on to the end.",
        )


def _between(bounds: tuple[float, float], fraction: float) -> float:
    low, high = bounds
    return low + (high - low) * fraction
