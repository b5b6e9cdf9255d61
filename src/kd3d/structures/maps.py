"""What a center head predicts, and what it is asked to predict."""

from dataclasses import dataclass, field

from torch import Tensor

from kd3d.geometry.grid import BEVGrid
from kd3d.structures.moving import Movable

__all__ = ["CenterTargets", "HeadMaps"]


@dataclass(frozen=True, slots=True)
class HeadMaps(Movable):
    """Raw output maps of a center head over a bird's-eye-view grid.

    Args:
        heatmap: ``[B, C, H, W]`` logits, one channel per class.
        center: ``[B, 2, H, W]`` offset (x, y) of the centre from the cell's corner, in cells.
        center_z: ``[B, 1, H, W]`` height of the centre, metres.
        dim: ``[B, 3, H, W]`` logarithms of length, width, height in metres.
        rot: ``[B, 2, H, W]`` cosine and sine of the heading.
        grid: the grid the maps lie on.
        extra: further branches by name, ``[B, k, H, W]``.
    """

    heatmap: Tensor
    center: Tensor
    center_z: Tensor
    dim: Tensor
    rot: Tensor
    grid: BEVGrid
    extra: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CenterTargets(Movable):
    """Training targets of a center head.

    Slot k of a frame belongs to box k of the target list; slots that are empty, degenerate or out
    of the list's limit are masked.

    Args:
        heatmap: ``[B, C, H, W]`` float32 in [0, 1], exactly 1 at each object's cell.
        indices: ``[B, K]`` int64, ``row * W + column`` of the object's cell.
        mask: ``[B, K]`` bool, true where a slot holds an object.
        codes: ``[B, K, 8 + extra]`` float32: offset x, offset y (cells), z (metres), log length,
            log width, log height, cos heading, sin heading, then extra branches.
        weight: ``[B, K]`` float32 weight of each object in the regression loss.
        labels: ``[B, K]`` int64 class ids, -1 where masked.
        grid: the grid the targets lie on.
    """

    heatmap: Tensor
    indices: Tensor
    mask: Tensor
    codes: Tensor
    weight: Tensor
    labels: Tensor
    grid: BEVGrid
