"""Upright boxes: angles, corners, and the points inside them.

A box is (x, y, z, length, width, height, heading): centre in the middle, metres, heading in radians
counter-clockwise from x, length along the heading.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from kd3d.errors import InputError

__all__ = [
    "check_boxes",
    "corners_3d",
    "corners_bev",
    "count_points_in_boxes",
    "points_in_boxes",
    "wrap_angle",
]

_CHUNK = 1 << 20
"""Point-box pairs tested at a time: a few tens of MB of temporaries."""

_CORNERS = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
"""Front left, rear left, rear right, front right, in units of length and width."""


def check_boxes(boxes: Tensor, where: str) -> None:
    """Make sure that a tensor holds boxes.

    Args:
        boxes: should be ``[N, 7 or more]`` of a floating dtype.
        where: what the boxes are, for the message.

    Raises:
        InputError: if it does not.
    """
    if boxes.ndim != 2 or boxes.shape[1] < 7 or not boxes.is_floating_point():
        raise InputError(
            f"boxes must be floating [N, 7], not {boxes.dtype} {tuple(boxes.shape)}.", where=where
        )


def wrap_angle(angle: Tensor) -> Tensor:
    """Wrap angles into [-pi, pi).

    Angles that are already there come back unchanged, bit for bit.

    Args:
        angle: ``[...]`` radians, floating.

    Returns:
        ``[...]`` radians, same dtype.
    """
    wrapped = angle - torch.floor((angle + math.pi) / (2 * math.pi)) * (2 * math.pi)
    # Rounding can lift an angle just below -pi to exactly pi.
    return torch.where(wrapped >= math.pi, wrapped - 2 * math.pi, wrapped)


def corners_bev(boxes: Tensor) -> Tensor:
    """Corners of boxes in bird's-eye view.

    Args:
        boxes: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.

    Returns:
        ``[N, 4, 2]`` (x, y) in metres, counter-clockwise: front left, rear left, rear right,
        front right.

    Raises:
        InputError: if `boxes` is not a floating ``[N, 7]``.
    """
    check_boxes(boxes, "corners_bev")
    local = boxes.new_tensor(_CORNERS) * boxes[:, None, 3:5]
    cos, sin = boxes[:, 6, None].cos(), boxes[:, 6, None].sin()
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return torch.stack((x, y), dim=-1) + boxes[:, None, :2]


def corners_3d(boxes: Tensor) -> Tensor:
    """Corners of boxes in 3D.

    Args:
        boxes: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.

    Returns:
        ``[N, 8, 3]`` (x, y, z) in metres: the four corners of `corners_bev` at the bottom, then the
        same four at the top.

    Raises:
        InputError: if `boxes` is not a floating ``[N, 7]``.
    """
    flat = corners_bev(boxes).repeat(1, 2, 1)
    half = 0.5 * boxes[:, 5, None].expand(-1, 4)
    z = boxes[:, 2, None] + torch.cat((-half, half), dim=1)
    return torch.cat((flat, z[..., None]), dim=-1)


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Tell which points lie inside which boxes; a point on a face is inside.

    Args:
        points: ``[N, 3 or more]`` x, y, z first, metres.
        boxes: ``[M, 7]`` (x, y, z, length, width, height, heading), metres and radians.

    Returns:
        ``[N, M]`` bool.

    Raises:
        InputError: if the shapes do not fit.
    """
    parts = list(_inside_chunks(points, boxes))
    return torch.cat(parts) if parts else boxes.new_zeros((0, len(boxes)), dtype=torch.bool)


def count_points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Count the points inside each box, in constant memory.

    Args:
        points: ``[N, 3 or more]`` x, y, z first, metres.
        boxes: ``[M, 7]`` (x, y, z, length, width, height, heading), metres and radians.

    Returns:
        ``[M]`` int64.

    Raises:
        InputError: if the shapes do not fit.
    """
    counts = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    for inside in _inside_chunks(points, boxes):
        counts += inside.sum(dim=0)
    return counts


def _inside_chunks(points: Tensor, boxes: Tensor) -> Iterator[Tensor]:
    """Yield ``[n, M]`` bool for consecutive chunks of the points."""
    check_boxes(boxes, "boxes")
    if points.ndim != 2 or points.shape[1] < 3:
        raise InputError(f"points must be [N, 3], not {tuple(points.shape)}.", where="points")
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    half = 0.5 * boxes[:, 3:6]
    size = max(1, _CHUNK // max(1, len(boxes)))
    for start in range(0, len(points), size):
        chunk = points[start : start + size]
        dx = chunk[:, 0, None] - boxes[:, 0]
        dy = chunk[:, 1, None] - boxes[:, 1]
        inside = (dx * cos + dy * sin).abs_() <= half[:, 0]
        inside &= (dy * cos - dx * sin).abs_() <= half[:, 1]
        inside &= (chunk[:, 2, None] - boxes[:, 2]).abs_() <= half[:, 2]
        yield inside
