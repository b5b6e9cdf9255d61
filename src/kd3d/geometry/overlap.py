"""Size of what two upright rotated boxes share, in bird's-eye view and 3D.

The overlap of two rectangles is computed by Green's theorem in the frame of the second, where that
one is the axis-aligned window [-l/2, l/2] x [-w/2, w/2]. With F(y) = clamp(y, -w/2, w/2),

    area = - (integral of F(y) dx along the first rectangle's border, counter-clockwise,
              restricted to |x| <= l/2),

which has a closed form on each of its four sides. The integrand is continuous and bounded, so the
result moves continuously with the boxes: coincident sides, shared corners and one box inside
another are ordinary inputs, no intersection points are built, and nothing is sorted.

Everything is computed in float64 with coordinates relative to the pair, so that boxes far from the
origin lose no precision.
"""

import torch
from torch import Tensor

from kd3d.errors import InputError
from kd3d.geometry.boxes import check_boxes

__all__ = ["check_aligned", "corners_seen_from", "overlap_3d_aligned", "overlap_bev_aligned"]

_ROUNDING = 1e-12
"""Overlaps below this share of the smaller rectangle are rounding: boxes that touch give 0."""


def overlap_bev_aligned(first: Tensor, second: Tensor) -> Tensor:
    """Area shared by box i of one set and box i of another, in bird's-eye view.

    Args:
        first: ``[P, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[P, 7]``, likewise.

    Returns:
        ``[P]`` float64, square metres; 0 where a box has a side that is not positive.

    Raises:
        InputError: if the arguments are not floating ``[P, 7]`` of equal length.
    """
    check_aligned(first, second)
    first, second = first.double(), second.double()
    x, y = corners_seen_from(first, second)
    half_length, half_width = 0.5 * second[:, 3, None], 0.5 * second[:, 4, None]

    next_x, next_y = x.roll(-1, dims=1), y.roll(-1, dims=1)
    step = next_x - x
    slope = (next_y - y) / torch.where(step == 0, 1.0, step)
    enter = _clamp(x, half_length)
    leave = _clamp(next_x, half_length)
    # A side that is nearly parallel to y has a huge slope but stays between its two ends.
    low, high = torch.minimum(y, next_y), torch.maximum(y, next_y)
    y_enter = torch.minimum(torch.maximum(y + slope * (enter - x), low), high)
    y_leave = torch.minimum(torch.maximum(y + slope * (leave - x), low), high)

    area = ((enter - leave) * _mean_of_clamped(y_enter, y_leave, half_width)).sum(dim=1)
    sizes = torch.stack((first[:, 3:5], second[:, 3:5]), dim=1)
    smaller = sizes.prod(dim=2).amin(dim=1)
    real = (sizes > 0).all(dim=2).all(dim=1) & (area > _ROUNDING * smaller)
    return torch.where(real, torch.minimum(area, smaller), 0.0)


def overlap_3d_aligned(first: Tensor, second: Tensor) -> Tensor:
    """Volume shared by box i of one set and box i of another.

    Args:
        first: ``[P, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[P, 7]``, likewise.

    Returns:
        ``[P]`` float64, cubic metres; 0 where a box has a side that is not positive.

    Raises:
        InputError: if the arguments are not floating ``[P, 7]`` of equal length.
    """
    check_aligned(first, second)
    first, second = first.double(), second.double()
    # Relative to the pair: heights above the first box's centre.
    rise = second[:, 2] - first[:, 2]
    half_first, half_second = 0.5 * first[:, 5], 0.5 * second[:, 5]
    top = torch.minimum(half_first, rise + half_second)
    bottom = torch.maximum(-half_first, rise - half_second)
    positive = (first[:, 5] > 0) & (second[:, 5] > 0)
    height = torch.where(positive, (top - bottom).clamp(min=0), 0.0)
    height = torch.where(height > _ROUNDING * first[:, 5], height, 0.0)
    return overlap_bev_aligned(first, second) * height


def corners_seen_from(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Corners x ``[P, 4]``, y ``[P, 4]`` of `first` in the frames of `second`."""
    cos, sin = _cos_sin(second[:, 6])
    dx, dy = first[:, 0] - second[:, 0], first[:, 1] - second[:, 1]
    turn_cos, turn_sin = _cos_sin(first[:, 6] - second[:, 6])
    along_x, along_y = 0.5 * first[:, 3] * turn_cos, 0.5 * first[:, 3] * turn_sin
    across_x, across_y = -0.5 * first[:, 4] * turn_sin, 0.5 * first[:, 4] * turn_cos
    x = torch.stack(
        (along_x + across_x, across_x - along_x, -along_x - across_x, along_x - across_x), dim=1
    )
    y = torch.stack(
        (along_y + across_y, across_y - along_y, -along_y - across_y, along_y - across_y), dim=1
    )
    return x + (dx * cos + dy * sin)[:, None], y + (dy * cos - dx * sin)[:, None]


def _cos_sin(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Both at once; torch's own `cos` and `sin` wake all threads even for short tensors."""
    both = torch.view_as_real(torch.polar(torch.ones_like(angle), angle))
    return both[..., 0], both[..., 1]


def _clamp(value: Tensor, limit: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value, -limit), limit)


def _mean_of_clamped(start: Tensor, stop: Tensor, limit: Tensor) -> Tensor:
    """Mean of clamp(y, -limit, limit) for y running evenly from `start` to `stop`."""
    run = stop - start
    clamped_start, clamped_stop = _clamp(start, limit), _clamp(stop, limit)
    inside = (clamped_stop - clamped_start) * 0.5 * (clamped_start + clamped_stop)
    above = torch.maximum(stop, limit) - torch.maximum(start, limit)
    below = torch.minimum(stop, -limit) - torch.minimum(start, -limit)
    total = inside + limit * (above - below)
    return torch.where(run == 0, clamped_start, total / torch.where(run == 0, 1.0, run))


def check_aligned(first: Tensor, second: Tensor) -> None:
    """Make sure that two tensors hold equally many boxes.

    Raises:
        InputError: if they do not.
    """
    check_boxes(first, "first boxes")
    check_boxes(second, "second boxes")
    if len(first) != len(second):
        raise InputError(
            f"{len(first)} boxes against {len(second)}; pairs need equally many.",
            where="second boxes",
            hint="For every pair of two sets use iou_bev or iou_3d.",
        )
