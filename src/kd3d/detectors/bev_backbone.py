"""The 2D backbone over the bird's-eye-view map."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["BEVBackbone"]


class BEVBackbone(nn.Module):
    """Blocks of 3x3 convolutions, each upsampled to one resolution and concatenated.

    Parameters are named as in OpenPCDet's ``BaseBEVBackbone``.

    Args:
        in_channels: channels of the input map.
        depth: convolutions per block after its first one.
        strides: stride of the first convolution of each block.
        filters: channels of each block.
        upsample_strides: upsampling after each block.
        upsample_filters: channels of each upsampled branch.
    """

    def __init__(
        self,
        in_channels: int,
        depth: Sequence[int],
        strides: Sequence[int],
        filters: Sequence[int],
        upsample_strides: Sequence[int],
        upsample_filters: Sequence[int],
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            map(_block, [in_channels, *filters[:-1]], filters, strides, depth)
        )
        self.deblocks = nn.ModuleList(map(_branch, filters, upsample_filters, upsample_strides))
        self.out_channels = sum(upsample_filters)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``[B, in_channels, H, W]`` into ``[B, out_channels, H', W']``."""
        branches = []
        for block, deblock in zip(self.blocks, self.deblocks, strict=True):
            x = block(x)
            branches.append(deblock(x))
        return torch.cat(branches, dim=1)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _block(in_channels: int, channels: int, stride: int, extra: int) -> nn.Sequential:
    # Index 0 is empty so that the other indices equal OpenPCDet's, which pads there.
    layers: list[nn.Module] = [nn.Identity()]
    for i in range(extra + 1):
        inputs, step = (in_channels, stride) if i == 0 else (channels, 1)
        layers.append(nn.Conv2d(inputs, channels, 3, stride=step, padding=1, bias=False))
        layers += [_norm(channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _branch(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, channels, stride, stride=stride, bias=False),
        _norm(channels),
        nn.ReLU(),
    )
