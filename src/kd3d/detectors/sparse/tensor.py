"""Features at some cells of a grid."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kd3d.errors import InputError

__all__ = ["SparseTensor"]


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """Feature vectors at the occupied cells of a batch of 3D grids.

    Args:
        features: ``[N, C]``, floating.
        coords: ``[N, 4]`` int64 (frame, z, y, x), each at most once, in any order.
        shape: cells along z, y, x.
        num_frames: frames in the batch, those without cells included.
        rulebooks: what convolutions found out about these cells, by geometry; they fill it.

    Raises:
        InputError: if features, coordinates and shape do not fit each other.
    """

    features: Tensor
    coords: Tensor
    shape: tuple[int, int, int]
    num_frames: int
    rulebooks: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or not self.features.is_floating_point():
            raise InputError(
                f"needs floating [N, C], not {_describe(self.features)}.", where="features"
            )
        if self.coords.shape != (len(self.features), 4) or self.coords.dtype != torch.int64:
            raise InputError(
                f"needs int64 [{len(self.features)}, 4], one row (frame, z, y, x) for each feature "
                f"vector, not {_describe(self.coords)}.",
                where="coords",
            )
        if self.coords.device != self.features.device:
            raise InputError(
                f"is on {self.coords.device}, the features on {self.features.device}.",
                where="coords",
            )
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(
                f"needs the cells along z, y, x, not {tuple(self.shape)}.", where="shape"
            )
        if self.num_frames < 0:
            raise InputError(f"cannot be {self.num_frames}.", where="num_frames")

    def __len__(self) -> int:
        return len(self.features)

    def with_features(self, features: Tensor) -> "SparseTensor":
        """Put other features ``[N, D]`` at the same cells, whose rulebooks stay known."""
        return replace(self, features=features)

    def dense(self) -> Tensor:
        """Lay the features out as ``[B, C, Z, Y, X]``, zeros where no cell is occupied."""
        frame, z, y, x = self.coords.unbind(1)
        grid = self.features.new_zeros(self.num_frames, *self.shape, self.features.shape[1])
        return grid.index_put((frame, z, y, x), self.features).permute(0, 4, 1, 2, 3).contiguous()


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
