"""The plain 3D backbone over voxels, eight times coarser at its end."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from kd3d.detectors.sparse import Engine, SparseTensor, SubmanifoldConv3d
from kd3d.detectors.voxel_backbone import (
    BETWEEN_STAGES,
    OUTPUT,
    VoxelNorm,
    VoxelSequence,
    reduction,
)

__all__ = ["PlainVoxelBackbone"]


class PlainVoxelBackbone(nn.Module):
    """Four stages of submanifold convolutions, each at half the resolution of the one before.

    Parameters are named as in OpenPCDet's ``VoxelBackBone8x``; no convolution has a bias.

    Args:
        in_channels: features per voxel.
        filters: channels of the four stages.
        out_channels: channels of the output.
        depth: submanifold convolutions per stage, after the one that reduces the resolution.
        engine: which sparse convolutions to use, see `kd3d.detectors.sparse`.
    """

    def __init__(
        self,
        in_channels: int,
        filters: Sequence[int],
        out_channels: int,
        depth: Sequence[int],
        engine: Engine = "auto",
    ) -> None:
        super().__init__()
        self.conv_input = _submanifold(in_channels, filters[0], engine)
        self.conv1 = _stage([], filters[0], depth[0], engine)
        steps = zip(BETWEEN_STAGES, pairwise(filters), depth[1:], strict=True)
        for stage, (step, (inputs, channels), count) in enumerate(steps, start=2):
            down = reduction(inputs, channels, step, engine)
            self.add_module(f"conv{stage}", _stage([down], channels, count, engine))
        self.conv_out = reduction(filters[-1], out_channels, OUTPUT, engine)
        self.out_channels = out_channels

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        """Turn ``[N, in_channels]`` on a grid (z, y, x) into ``[M, out_channels]``.

        The output's grid is `kd3d.detectors.voxel_backbone.output_shape` of the input's.
        """
        for stage in self.children():
            voxels = stage(voxels)
        return voxels


def _submanifold(inputs: int, channels: int, engine: Engine) -> VoxelSequence:
    conv = SubmanifoldConv3d(inputs, channels, engine=engine)
    return VoxelSequence(conv, VoxelNorm(channels), nn.ReLU())


def _stage(
    first: Sequence[VoxelSequence], channels: int, count: int, engine: Engine
) -> VoxelSequence:
    return VoxelSequence(*first, *(_submanifold(channels, channels, engine) for _ in range(count)))
