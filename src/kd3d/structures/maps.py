"""What a center head predicts, and what it is asked to predict."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from kd3d.geometry.grid import BEVGrid
from kd3d.structures.moving import Movable

__all__ = ["CenterTargets", "ClassMaps", "HeadMaps"]

_EDGE = 1e-6  # where probabilities end, so that their logits stay finite


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
class ClassMaps(Movable):
    """What a head without box maps says: where over the ground which class is.

    Args:
        heatmap: ``[B, C, H, W]`` logits, one channel per class: the sigmoid is the probability that
            an object of the class has its centre in the cell.
        grid: the grid the maps lie on.
    """

    heatmap: Tensor
    grid: BEVGrid

    @classmethod
    def from_probabilities(cls, probabilities: Tensor, grid: BEVGrid) -> "ClassMaps":
        """Take probabilities, of a softmax for example, and turn them into log(p / (1 - p)).

        Args:
            probabilities: ``[B, C, H, W]`` in [0, 1], any floating dtype, without a channel for
                the background; computed in float32 and clamped to [1e-6, 1 - 1e-6].
            grid: the grid the maps lie on.
        """
        return cls(torch.logit(probabilities.float(), eps=_EDGE), grid)


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
