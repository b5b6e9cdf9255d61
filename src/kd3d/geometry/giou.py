"""Generalised overlap of upright rotated boxes (GIoU), in bird's-eye view and 3D.

GIoU = IoU - (E - U) / E with the union U and an enclosing shape of size E (Rezatofighi et al.,
CVPR 2019). In bird's-eye view the enclosing shape is the convex hull of both rectangles; in 3D it
is the upright prism over that hull from the lowest to the highest face.

The area of the hull is the integral of its upper minus its lower border. Both are straight between
neighbouring corners' x, and at a corner's x the upper border is the highest point there of all
segments between two corners. So nothing has to be walked around, and equal or aligned corners are
ordinary inputs.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kd3d.geometry.boxes import check_boxes
from kd3d.geometry.iou import in_chunks
from kd3d.geometry.overlap import (
    check_aligned,
    corners_seen_from,
    overlap_3d_aligned,
    overlap_bev_aligned,
)

__all__ = ["giou_3d", "giou_3d_aligned", "giou_bev", "giou_bev_aligned"]

_SHARE = 8
"""A hull takes more memory than an overlap."""


def giou_bev(first: Tensor, second: Tensor) -> Tensor:
    """GIoU of every pair of boxes, in bird's-eye view.

    Args:
        first: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[M, 7]``, likewise.

    Returns:
        ``[N, M]`` float32 in [-1, 1]; -1 where a box has a side that is not positive.

    Raises:
        InputError: if an argument is not a floating ``[N, 7]``.
    """
    return _pairwise(first, second, giou_bev_aligned)


def giou_3d(first: Tensor, second: Tensor) -> Tensor:
    """GIoU of every pair of boxes, in 3D.

    Args:
        first: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[M, 7]``, likewise.

    Returns:
        ``[N, M]`` float32 in [-1, 1]; -1 where a box has a side that is not positive.

    Raises:
        InputError: if an argument is not a floating ``[N, 7]``.
    """
    return _pairwise(first, second, giou_3d_aligned)


def giou_bev_aligned(first: Tensor, second: Tensor) -> Tensor:
    """GIoU of box i of one set with box i of another, in bird's-eye view.

    Args:
        first: ``[P, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[P, 7]``, likewise.

    Returns:
        ``[P]`` float32 in [-1, 1]; -1 where a box has a side that is not positive.

    Raises:
        InputError: if the arguments are not floating ``[P, 7]`` of equal length.
    """
    check_aligned(first, second)
    return in_chunks(_giou_bev, first, second, _SHARE)


def giou_3d_aligned(first: Tensor, second: Tensor) -> Tensor:
    """GIoU of box i of one set with box i of another, in 3D.

    Args:
        first: ``[P, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[P, 7]``, likewise.

    Returns:
        ``[P]`` float32 in [-1, 1]; -1 where a box has a side that is not positive.

    Raises:
        InputError: if the arguments are not floating ``[P, 7]`` of equal length.
    """
    check_aligned(first, second)
    return in_chunks(_giou_3d, first, second, _SHARE)


def _giou_bev(first: Tensor, second: Tensor) -> Tensor:
    first, second = first.double(), second.double()
    overlap = overlap_bev_aligned(first, second)
    return _generalised(overlap, first[:, 3:5], second[:, 3:5], _hull_area(first, second))


def _giou_3d(first: Tensor, second: Tensor) -> Tensor:
    first, second = first.double(), second.double()
    # Relative to the pair: heights above the first box's centre.
    rise = second[:, 2] - first[:, 2]
    half_first, half_second = 0.5 * first[:, 5], 0.5 * second[:, 5]
    top = torch.maximum(half_first, rise + half_second)
    bottom = torch.minimum(-half_first, rise - half_second)
    enclosing = _hull_area(first, second) * (top - bottom)
    overlap = overlap_3d_aligned(first, second)
    return _generalised(overlap, first[:, 3:6], second[:, 3:6], enclosing)


def _generalised(overlap: Tensor, sides: Tensor, others: Tensor, enclosing: Tensor) -> Tensor:
    """GIoU ``[P]`` float32 from the size of the overlap, both boxes' sides, and the enclosure."""
    real = ((sides > 0) & (others > 0)).all(dim=1)
    union = torch.where(real, sides.prod(dim=1) + others.prod(dim=1) - overlap, 1.0)
    enclosing = torch.where(real, torch.maximum(enclosing, union), 1.0)
    ratio = overlap / union - (enclosing - union) / enclosing
    return torch.where(real, ratio, -1.0).clamp(-1, 1).float()


def _hull_area(first: Tensor, second: Tensor) -> Tensor:
    """Area ``[P]`` of the convex hull of two rectangles."""
    x, y = corners_seen_from(first, second)
    half_length, half_width = 0.5 * second[:, 3, None], 0.5 * second[:, 4, None]
    x = torch.cat((x, half_length * x.new_tensor((1, -1, -1, 1))), dim=1)
    y = torch.cat((y, half_width * y.new_tensor((1, 1, -1, -1))), dim=1)
    x, order = x.sort(dim=1)
    y = y.gather(1, order)

    place, start, end = x[:, :, None, None], x[:, None, :, None], x[:, None, None, :]
    spans = (start <= place) & (place <= end)
    run = end - start
    share = (place - start) / torch.where(run == 0, 1.0, run)
    height = y[:, None, :, None] + share * (y[:, None, None, :] - y[:, None, :, None])
    upper = torch.where(spans, height, -torch.inf).amax(dim=(2, 3))
    lower = torch.where(spans, height, torch.inf).amin(dim=(2, 3))
    extent = upper - lower
    return (x.diff(dim=1) * 0.5 * (extent[:, 1:] + extent[:, :-1])).sum(dim=1)


def _pairwise(first: Tensor, second: Tensor, aligned: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    check_boxes(first, "first boxes")
    check_boxes(second, "second boxes")
    rows = torch.arange(len(first), device=first.device).repeat_interleave(len(second))
    columns = torch.arange(len(second), device=first.device).repeat(len(first))
    return aligned(first[rows], second[columns]).reshape(len(first), len(second))
