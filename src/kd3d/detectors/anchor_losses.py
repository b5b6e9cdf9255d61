"""The losses of an anchor head."""

from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

from kd3d.geometry.residuals import encode_boxes, residual_distance
from kd3d.structures import AnchorMaps, AnchorTargets

__all__ = ["anchor_box_loss", "anchor_class_loss", "anchor_direction_loss"]

_ALPHA, _GAMMA = 0.25, 2.0


def anchor_class_loss(maps: AnchorMaps, targets: AnchorTargets) -> Tensor:
    """Sigmoid focal loss (Lin et al., ICCV 2017) with alpha 0.25 and gamma 2 over all anchors.

    Summed over anchors that are not left out and over classes, divided by the number of positive
    anchors of the frame (at least 1), averaged over frames. Scalar float32.
    """
    logits = maps.scores
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        classes = torch.arange(logits.shape[-1], device=logits.device)
        goal = (targets.labels[..., None] == classes) * targets.score[..., None]
        probability = logits.sigmoid()
        share = goal * _ALPHA + (1 - goal) * (1 - _ALPHA)
        miss = goal * (1 - probability) + (1 - goal) * probability
        loss = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
        loss = (share * miss**_GAMMA * loss).sum(dim=-1)
        return _per_positive(loss * (targets.labels != AnchorTargets.IGNORED), targets)


def anchor_box_loss(maps: AnchorMaps, targets: AnchorTargets, anchors: Tensor) -> Tensor:
    """Smooth L1 of the residuals of positive anchors, of headings by the sine of the difference.

    Weighted, summed over the seven values, divided by the number of positive anchors of the frame
    (at least 1), averaged over frames. Scalar float32.

    Args:
        maps: what the head gave.
        targets: what it should have given.
        anchors: ``[N, 7]``.
    """
    residuals = maps.residuals
    with torch.autocast(residuals.device.type, enabled=False):
        loss = residual_distance(residuals.float(), encode_boxes(targets.boxes, anchors))
        return _per_positive(loss * targets.weight, targets)


def anchor_direction_loss(maps: AnchorMaps, targets: AnchorTargets) -> Tensor:
    """Cross entropy of the half of a turn (from pi / 4 on) that positive anchors' boxes head to.

    Divided by the number of positive anchors of the frame (at least 1), averaged over frames.
    """
    logits = maps.directions
    with torch.autocast(logits.device.type, enabled=False):
        turn = targets.boxes[..., 6] - pi / 4
        turn = turn - (turn / (2 * pi)).floor() * 2 * pi
        half = (turn / pi).long().clamp(0, 1)
        loss = F.cross_entropy(logits.float().transpose(1, 2), half, reduction="none")
        return _per_positive(loss * targets.positive, targets)


def _per_positive(loss: Tensor, targets: AnchorTargets) -> Tensor:
    """Divide ``[B, N]`` by each frame's number of positive anchors, and average over frames."""
    count = targets.positive.sum(dim=1, keepdim=True).clamp(min=1)
    return (loss / count).sum() / len(loss)
