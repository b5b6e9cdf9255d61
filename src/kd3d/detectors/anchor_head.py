"""The anchor head: classes, boxes and directions of every anchor of a cell."""

from math import log

import torch
from torch import Tensor, nn

from kd3d.geometry.grid import BEVGrid
from kd3d.structures import AnchorMaps

__all__ = ["AnchorHead"]

RARE_OBJECTS = -log(99)
"""First bias of the scores: a probability of a hundredth."""


class AnchorHead(nn.Module):
    """Three 1x1 convolutions (SECOND, Yan et al., Sensors 2018).

    Parameters are named as in OpenPCDet's ``AnchorHeadSingle``.

    Args:
        in_channels: channels of the input map.
        num_classes: classes of every anchor.
        anchors: anchors per cell.
    """

    def __init__(self, in_channels: int, num_classes: int, anchors: int) -> None:
        super().__init__()
        self.anchors = anchors
        self.conv_cls = nn.Conv2d(in_channels, anchors * num_classes, 1)
        self.conv_box = nn.Conv2d(in_channels, anchors * 7, 1)
        self.conv_dir_cls = nn.Conv2d(in_channels, anchors * 2, 1)
        nn.init.constant_(self.conv_cls.get_parameter("bias"), RARE_OBJECTS)
        nn.init.normal_(self.conv_box.weight, mean=0, std=0.001)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, grid: BEVGrid) -> AnchorMaps:
        """Turn ``[B, in_channels, H, W]`` into the head's maps over `grid`."""
        return AnchorMaps(
            score=self.conv_cls(x),
            box=self.conv_box(x),
            direction=self.conv_dir_cls(x),
            grid=grid,
            anchors=self.anchors,
        )
