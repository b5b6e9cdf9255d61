"""The losses of a center head."""

import torch
from torch import Tensor

from kd3d.detectors.decode import read_codes
from kd3d.structures import CenterTargets, HeadMaps

__all__ = ["center_box_loss", "center_focal_loss"]

PROBABILITY_LIMIT = 1e-4


def center_focal_loss(logits: Tensor, heatmap: Tensor) -> Tensor:
    """Penalty-reduced focal loss over all cells (CornerNet, Law and Deng, ECCV 2018).

    Cells whose target is 1 are positive. The sum is divided by their number in the whole batch;
    without any, the sum over the negative cells stays undivided.

    Args:
        logits: ``[B, C, H, W]`` raw heatmap.
        heatmap: ``[B, C, H, W]`` target in [0, 1].

    Returns:
        Scalar float32.
    """
    with torch.autocast(logits.device.type, enabled=False):
        probability = logits.float().sigmoid().clamp(PROBABILITY_LIMIT, 1 - PROBABILITY_LIMIT)
        positive = heatmap >= 1
        right = torch.where(positive, probability, 1 - probability)
        weight = torch.where(positive, 1.0, (1 - heatmap) ** 4) * (1 - right) ** 2
        return -(right.log() * weight).sum() / positive.sum().clamp(min=1)


def center_box_loss(maps: HeadMaps, targets: CenterTargets) -> Tensor:
    """Weighted L1 distance of the box codes at the objects' cells.

    Summed over the channels, divided by the number of objects with a weight in the whole batch;
    zero without any.

    Returns:
        Scalar float32.
    """
    with torch.autocast(targets.codes.device.type, enabled=False):
        predicted = read_codes(maps, targets.indices)
        weight = targets.weight * targets.mask
        distance = (predicted - targets.codes).abs().sum(dim=-1)
        return (distance * weight).sum() / (weight > 0).sum().clamp(min=1)
