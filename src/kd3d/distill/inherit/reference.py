"""The published remapping, for comparison.

SparseKD (arXiv 2205.15156) gave its voxel students the first channels of every teacher layer, and
treated the map that the 2D backbone reads as if it held all channels of the lowest layer first. It
holds the layers of each channel side by side, so a student with a narrower 3D backbone gets weights
of other channels for half of its inputs.
"""

import torch
from torch import Tensor

__all__ = ["depth_major"]


def depth_major(channels: Tensor, width: int, depths: int, common: int) -> Tensor:
    """Give the places of some channels where all channels of one depth come first.

    See `kd3d.distill.inherit.channels.interleaved` for the layout that the networks have, and for
    the arguments.

    Returns:
        ``[len(channels) * common]`` places, depth by depth.
    """
    return (torch.arange(common)[:, None] * width + channels).flatten()
