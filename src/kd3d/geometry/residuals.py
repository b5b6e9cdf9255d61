"""Boxes written as residuals of other boxes (anchors), and how far two such are apart."""

from math import log, pi

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["decode_boxes", "encode_boxes", "exp_of_size", "residual_distance"]

_BETA = 1 / 9  # residuals nearer than this are compared by their square
_LARGEST = 1e6


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Write boxes as residuals of anchors (SECOND, Yan et al., Sensors 2018).

    Args:
        boxes: ``[..., 7]`` (x, y, z, length, width, height, heading), metres and radians.
        anchors: ``[..., 7]`` likewise.

    Returns:
        ``[..., 7]``: offsets along x and y over the anchor's diagonal, along z over its height,
        logarithms of the ratios of sizes, and the difference of headings.
    """
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    return torch.cat(
        (
            (boxes[..., :2] - anchors[..., :2]) / diagonal,
            (boxes[..., 2:3] - anchors[..., 2:3]) / anchors[..., 5:6],
            (boxes[..., 3:6] / anchors[..., 3:6]).log(),
            boxes[..., 6:7] - anchors[..., 6:7],
        ),
        dim=-1,
    )


def decode_boxes(residuals: Tensor, anchors: Tensor, halves: Tensor) -> Tensor:
    """Turn residuals into boxes, the inverse of `encode_boxes` up to whole turns.

    Args:
        residuals: ``[..., 7]``.
        anchors: ``[..., 7]``.
        halves: ``[...]`` int64, which half of a turn (from pi / 4 on) the heading lies in, 0 or 1.
    """
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    heading = residuals[..., 6] + anchors[..., 6] - pi / 4
    heading = heading - (heading / pi).floor() * pi + pi / 4 + pi * halves
    return torch.cat(
        (
            residuals[..., :2] * diagonal + anchors[..., :2],
            residuals[..., 2:3] * anchors[..., 5:6] + anchors[..., 2:3],
            exp_of_size(residuals[..., 3:6]) * anchors[..., 3:6],
            heading[..., None],
        ),
        dim=-1,
    )


def exp_of_size(logarithm: Tensor) -> Tensor:
    """Exponential of a predicted logarithm of a size, at most 1e6 (metres, or times an anchor's).

    A network that was trained for a few steps may predict any number. What overflows is no box, and
    a validation that meets it must not end a training; what is that large stays a false positive.
    """
    return logarithm.clamp(max=log(_LARGEST)).exp()


def residual_distance(one: Tensor, other: Tensor) -> Tensor:
    """Smooth L1 distance (beta 1/9) of residuals, of headings by the sine of their difference.

    Args:
        one: ``[..., 7]``.
        other: ``[..., 7]``.

    Returns:
        ``[...]``, summed over the seven values.
    """
    turn = one[..., 6:7] - other[..., 6:7]
    apart = torch.cat((one[..., :6] - other[..., :6], turn.sin()), dim=-1)
    loss = F.smooth_l1_loss(apart, torch.zeros_like(apart), beta=_BETA, reduction="none")
    return loss.sum(dim=-1)
