"""Voxel features: the mean of the points."""

import torch
from torch import Tensor, nn

from kd3d.detectors.voxelize import Voxels

__all__ = ["MeanEncoder"]


class MeanEncoder(nn.Module):
    """Average all features of the points that a voxel keeps.

    It has no parameters and runs in float32, under autocast too: the means hold coordinates.
    """

    def forward(self, voxels: Voxels) -> Tensor:
        """Give ``[V, F]`` float32 means, one row per voxel."""
        with torch.autocast(voxels.points.device.type, enabled=False):
            points = voxels.points.float()
            total = points.new_zeros(len(voxels), points.shape[1])
            return total.index_add(0, voxels.owner, points) / voxels.counts[:, None]
