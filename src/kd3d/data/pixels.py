"""Scans whose points are still pixels of range images."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from kd3d.data.source import FrameSource, Scan
from kd3d.errors import ConfigError
from kd3d.waymo.points_torch import RangePixels

__all__ = [
    "PixelScan",
    "PixelSource",
    "RangePixels",
    "has_pixels",
    "move_points",
    "pixel_source",
    "with_age",
]


@dataclass(frozen=True, slots=True, eq=False)
class PixelScan:
    """The pixels of one scan, which may be made of several sweeps.

    Args:
        pixels: of S sweeps, the current one first.
        motions: ``[S, 4, 4]`` float64, from each sweep's vehicle frame to the current one.
        ages: seconds of each sweep relative to the current one, which become a further feature of
            its points; None for no such feature.
    """

    pixels: RangePixels
    motions: Tensor
    ages: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.pixels)


@runtime_checkable
class PixelSource(Protocol):
    """A `kd3d.data.FrameSource` that can leave the points of its frames to the device."""

    @property
    def has_pixels(self) -> bool:
        """Whether it can."""

    def read_pixels(self, frame: int) -> tuple[Scan, PixelScan]:
        """Read one frame: the scan without its points, ``[0, F]``, and their pixels.

        Raises:
            RecordError: if the frame is damaged.
        """


def has_pixels(source: FrameSource) -> bool:
    """Tell whether a source can leave its points to the device."""
    return isinstance(source, PixelSource) and source.has_pixels


def pixel_source(source: FrameSource) -> PixelSource:
    """Return a source that can leave its points to the device.

    Raises:
        ConfigError: if it cannot.
    """
    if isinstance(source, PixelSource) and source.has_pixels:
        return source
    raise ConfigError(
        f"the frames of {source.root} are no range images.",
        where="data.decode_on",
        hint="Set data.decode_on=worker.",
    )


def move_points(points: Tensor, motion: Tensor) -> Tensor:
    """Move points by a rigid motion in float64.

    Args:
        points: ``[N, F]``, x, y, z in metres, then features, which stay as they are.
        motion: ``[4, 4]`` float64.

    Returns:
        ``[N, F]``, a new tensor of the same dtype.
    """
    xyz = points[:, :3].double() @ motion[:3, :3].T + motion[:3, 3]
    return torch.cat((xyz.to(points.dtype), points[:, 3:]), dim=1)


def with_age(points: Tensor, age: float) -> Tensor:
    """Give points ``[N, F]`` a last feature, the same for all: seconds relative to now."""
    return torch.cat((points, points.new_full((len(points), 1), age)), dim=1)
