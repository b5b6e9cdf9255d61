"""The residual 3D backbone over voxels, eight times coarser at its end."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.detectors.sparse import (
    Engine,
    Geometry,
    SparseConv3d,
    SparseConvolution,
    SparseTensor,
    SubmanifoldConv3d,
)

__all__ = [
    "BEV_STRIDE",
    "BETWEEN_STAGES",
    "OUTPUT",
    "VoxelBackbone",
    "VoxelNorm",
    "VoxelSequence",
    "fewest_cells",
    "output_shape",
    "reduction",
]

# Kernel, stride and padding along z, y, x. One reduction precedes every stage but the first; the
# output is reduced along z alone.
BETWEEN_STAGES = (
    Geometry((3, 3, 3), (2, 2, 2), (1, 1, 1), submanifold=False),
    Geometry((3, 3, 3), (2, 2, 2), (1, 1, 1), submanifold=False),
    Geometry((3, 3, 3), (2, 2, 2), (0, 1, 1), submanifold=False),
)
OUTPUT = Geometry((3, 1, 1), (2, 1, 1), (0, 0, 0), submanifold=False)

BEV_STRIDE = prod(step.stride[2] for step in (*BETWEEN_STAGES, OUTPUT))
"""Input cells per output cell along x, and along y."""


def output_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Give the cells (z, y, x) of the output for those of the input.

    Raises:
        InputError: if a kernel does not fit, as along z with less than `fewest_cells`.
    """
    for step in (*BETWEEN_STAGES, OUTPUT):
        shape = step.output_shape(shape)
    return shape


def fewest_cells() -> int:
    """Give the least number of cells along z of the input that leaves a layer of output."""
    cells = 1
    for step in (OUTPUT, *reversed(BETWEEN_STAGES)):
        cells = (cells - 1) * step.stride[0] + step.kernel_size[0] - 2 * step.padding[0]
    return cells


class VoxelBackbone(nn.Module):
    """Four stages of residual submanifold blocks, each at half the resolution of the one before.

    Parameters are named as in OpenPCDet's ``VoxelResBackBone8x``.

    Args:
        in_channels: features per voxel.
        filters: channels of the four stages.
        out_channels: channels of the output.
        depth: residual blocks per stage.
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
        entry = SubmanifoldConv3d(in_channels, filters[0], engine=engine)
        self.conv_input = VoxelSequence(entry, VoxelNorm(filters[0]), nn.ReLU())
        self.conv1 = VoxelSequence(*_residual_blocks(filters[0], depth[0], engine))
        steps = zip(BETWEEN_STAGES, pairwise(filters), depth[1:], strict=True)
        for stage, (step, (inputs, channels), blocks) in enumerate(steps, start=2):
            down = reduction(inputs, channels, step, engine)
            part = VoxelSequence(down, *_residual_blocks(channels, blocks, engine))
            self.add_module(f"conv{stage}", part)
        self.conv_out = reduction(filters[-1], out_channels, OUTPUT, engine)
        self.out_channels = out_channels

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        """Turn ``[N, in_channels]`` on a grid (z, y, x) into ``[M, out_channels]``.

        The output's grid is `output_shape` of the input's.
        """
        for stage in self.children():
            voxels = stage(voxels)
        return voxels


class VoxelSequence(nn.Sequential):
    """Modules one after the other; norms and activations see features alone."""

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        """Run the modules on the features ``[N, C]`` at the voxels."""
        for module in self:
            if isinstance(module, SparseConvolution | ResidualBlock | VoxelSequence):
                voxels = module(voxels)
            else:
                voxels = voxels.with_features(module(voxels.features))
        return voxels


class VoxelNorm(nn.BatchNorm1d):
    """BatchNorm over the voxels of a batch, with the field's settings.

    A batch with a single voxel, or with none, has no variance: there the running statistics stand
    in, in training too.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3, momentum=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features ``[N, C]``."""
        if len(features) > 1:
            normalised: Tensor = super().forward(features)
            return normalised
        mean, variance = self.running_mean, self.running_var
        if mean is None or variance is None:  # taken away so that the batch's are used
            mean = features.detach().sum(0)
            variance = mean.new_zeros(mean.shape)
        return F.batch_norm(features, mean, variance, self.weight, self.bias, eps=self.eps)


class ResidualBlock(nn.Module):
    """Two submanifold convolutions, added to their input.

    They have a bias although a norm follows, as in the published networks.
    """

    def __init__(self, channels: int, engine: Engine) -> None:
        super().__init__()
        self.conv1 = SubmanifoldConv3d(channels, channels, bias=True, engine=engine)
        self.bn1 = VoxelNorm(channels)
        self.conv2 = SubmanifoldConv3d(channels, channels, bias=True, engine=engine)
        self.bn2 = VoxelNorm(channels)

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        """Give as many features at the same voxels."""
        inner: SparseTensor = self.conv1(voxels)
        inner = self.conv2(inner.with_features(F.relu(self.bn1(inner.features))))
        return inner.with_features(F.relu(self.bn2(inner.features) + voxels.features))


def _residual_blocks(channels: int, count: int, engine: Engine) -> list[ResidualBlock]:
    return [ResidualBlock(channels, engine) for _ in range(count)]


def reduction(inputs: int, channels: int, step: Geometry, engine: Engine) -> VoxelSequence:
    """Make a strided convolution with its norm and activation."""
    conv = SparseConv3d(
        inputs, channels, step.kernel_size, step.stride, step.padding, engine=engine
    )
    return VoxelSequence(conv, VoxelNorm(channels), nn.ReLU())
