"""The center head: a heatmap per class, and box maps read at the peaks."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kd3d.geometry.grid import BEVGrid
from kd3d.structures import HeadMaps

__all__ = ["BOX_BRANCHES", "CenterHead"]

BOX_BRANCHES = {"center": 2, "center_z": 1, "dim": 3, "rot": 2}
"""Branches and channels of a box, in the order of its regression code."""

RARE_OBJECTS = -2.19
"""First bias of the heatmap: a probability of a tenth."""


class CenterHead(nn.Module):
    """One shared convolution, then a small branch per map (CenterPoint, Yin et al., CVPR 2021).

    Parameters are named as in OpenPCDet's ``CenterHead``, with ``branches`` for its only group of
    heads and ``heatmap`` for ``hm``.

    Args:
        in_channels: channels of the input map.
        channels: channels of the shared convolution and of the branches.
        num_classes: channels of the heatmap.
        extra_branches: further regression branches, name to channels.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        extra_branches: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.extra_branches = dict(extra_branches or {})
        self.shared_conv = _conv_norm_relu(in_channels, channels)
        regressed = {**BOX_BRANCHES, **self.extra_branches}
        self.branches = nn.ModuleDict(
            {name: _branch(channels, out) for name, out in regressed.items()}
        )
        for module in self.branches.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        self.branches["heatmap"] = _branch(channels, num_classes)
        nn.init.constant_(self.branches["heatmap"].get_parameter("1.bias"), RARE_OBJECTS)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, grid: BEVGrid) -> HeadMaps:
        """Turn ``[B, in_channels, H, W]`` into the head's maps over `grid`."""
        x = self.shared_conv(x)
        maps: dict[str, Tensor] = {name: branch(x) for name, branch in self.branches.items()}
        extra = {name: maps.pop(name) for name in self.extra_branches}
        return HeadMaps(**maps, grid=grid, extra=extra)


def _conv_norm_relu(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
    )


def _branch(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        _conv_norm_relu(channels, channels), nn.Conv2d(channels, out_channels, 3, padding=1)
    )
