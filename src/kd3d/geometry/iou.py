"""Overlap of upright rotated boxes in bird's-eye view and 3D.

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

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kd3d.errors import InputError
from kd3d.geometry.boxes import check_boxes

__all__ = [
    "close_pairs",
    "iou_3d",
    "iou_3d_aligned",
    "iou_bev",
    "iou_bev_aligned",
    "overlap_bev_aligned",
]

_PAIRS_AT_ONCE = {"cpu": 1 << 14, "cuda": 1 << 20}
"""Pairs clipped at a time: on the CPU the temporaries then stay in its caches."""

_CENTRES_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Distances between centres computed at a time."""

_ROUNDING = 1e-12
"""Overlaps below this share of the smaller rectangle are rounding: boxes that touch give 0."""


def iou_bev(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair of boxes, in bird's-eye view.

    Args:
        first: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[M, 7]``, likewise.

    Returns:
        ``[N, M]`` float32 in [0, 1]; 0 where a box has a side that is not positive.

    Raises:
        InputError: if an argument is not a floating ``[N, 7]``.
    """
    return _pairwise(first, second, iou_bev_aligned)


def iou_3d(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair of boxes, in 3D.

    Args:
        first: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[M, 7]``, likewise.

    Returns:
        ``[N, M]`` float32 in [0, 1]; 0 where a box has a side that is not positive.

    Raises:
        InputError: if an argument is not a floating ``[N, 7]``.
    """
    return _pairwise(first, second, iou_3d_aligned)


def iou_bev_aligned(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of box i of one set with box i of another, in bird's-eye view.

    Args:
        first: ``[P, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[P, 7]``, likewise.

    Returns:
        ``[P]`` float32 in [0, 1]; 0 where a box has a side that is not positive.

    Raises:
        InputError: if the arguments are not floating ``[P, 7]`` of equal length.
    """
    _check_aligned(first, second)
    return _in_chunks(_iou_bev, first, second)


def iou_3d_aligned(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of box i of one set with box i of another, in 3D.

    Args:
        first: ``[P, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[P, 7]``, likewise.

    Returns:
        ``[P]`` float32 in [0, 1]; 0 where a box has a side that is not positive.

    Raises:
        InputError: if the arguments are not floating ``[P, 7]`` of equal length.
    """
    _check_aligned(first, second)
    return _in_chunks(_iou_3d, first, second)


def close_pairs(
    first: Tensor, second: Tensor, *, below_diagonal: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Find the pairs of boxes that may overlap: their circumscribed circles meet.

    Args:
        first: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        second: ``[M, 7]``, likewise.
        below_diagonal: give only pairs with column < row, for a set with itself.

    Yields:
        Rows ``[P]`` and columns ``[P]`` int64 of consecutive blocks of rows.
    """
    radius, other_radius = _radius(first), _radius(second)
    rows_at_once = max(1, _limit(_CENTRES_AT_ONCE, first) // max(1, len(second)))
    for start in range(0, len(first), rows_at_once):
        stop = min(start + rows_at_once, len(first))
        others = slice(0, stop) if below_diagonal else slice(None)
        dx = first[start:stop, 0, None] - second[others, 0]
        dy = first[start:stop, 1, None] - second[others, 1]
        reach = radius[start:stop, None] + other_radius[others]
        rows, columns = (dx.square_() + dy.square_() <= reach.square_()).nonzero(as_tuple=True)
        rows = rows + start
        if below_diagonal:
            lower = columns < rows
            rows, columns = rows[lower], columns[lower]
        yield rows, columns


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
    _check_aligned(first, second)
    first, second = first.double(), second.double()
    x, y = _corners_seen_from(first, second)
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


def _corners_seen_from(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Corners x ``[P, 4]``, y ``[P, 4]`` of `first` in the frames of `second`."""
    cos, sin = second[:, 6].cos(), second[:, 6].sin()
    dx, dy = first[:, 0] - second[:, 0], first[:, 1] - second[:, 1]
    turn = first[:, 6] - second[:, 6]
    along_x, along_y = 0.5 * first[:, 3] * turn.cos(), 0.5 * first[:, 3] * turn.sin()
    across_x, across_y = -0.5 * first[:, 4] * turn.sin(), 0.5 * first[:, 4] * turn.cos()
    x = torch.stack(
        (along_x + across_x, across_x - along_x, -along_x - across_x, along_x - across_x), dim=1
    )
    y = torch.stack(
        (along_y + across_y, across_y - along_y, -along_y - across_y, along_y - across_y), dim=1
    )
    return x + (dx * cos + dy * sin)[:, None], y + (dy * cos - dx * sin)[:, None]


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


def _iou_bev(first: Tensor, second: Tensor) -> Tensor:
    first, second = first.double(), second.double()
    overlap = overlap_bev_aligned(first, second)
    return _ratio(overlap, first[:, 3:5].prod(dim=1), second[:, 3:5].prod(dim=1))


def _iou_3d(first: Tensor, second: Tensor) -> Tensor:
    first, second = first.double(), second.double()
    # Relative to the pair: heights above the first box's centre.
    rise = second[:, 2] - first[:, 2]
    half_first, half_second = 0.5 * first[:, 5], 0.5 * second[:, 5]
    top = torch.minimum(half_first, rise + half_second)
    bottom = torch.maximum(-half_first, rise - half_second)
    positive = (first[:, 5] > 0) & (second[:, 5] > 0)
    height = torch.where(positive, (top - bottom).clamp(min=0), 0.0)
    height = torch.where(height > _ROUNDING * first[:, 5], height, 0.0)
    overlap = overlap_bev_aligned(first, second) * height
    return _ratio(overlap, first[:, 3:6].prod(dim=1), second[:, 3:6].prod(dim=1))


def _ratio(overlap: Tensor, first_size: Tensor, second_size: Tensor) -> Tensor:
    """Intersection over union ``[P]`` float32."""
    union = first_size + second_size - overlap
    ratio = torch.where(overlap > 0, overlap / torch.where(overlap > 0, union, 1.0), 0.0)
    return ratio.clamp(0, 1).float()


def _pairwise(first: Tensor, second: Tensor, aligned: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Fill ``[N, M]`` with the overlap of the pairs that are close, and 0 elsewhere."""
    check_boxes(first, "first boxes")
    check_boxes(second, "second boxes")
    table = torch.zeros((len(first), len(second)), dtype=torch.float32, device=first.device)
    for rows, columns in close_pairs(first, second):
        table[rows, columns] = aligned(first[rows], second[columns])
    return table


def _in_chunks(
    measure: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor
) -> Tensor:
    size = _limit(_PAIRS_AT_ONCE, first)
    if len(first) <= size:
        return measure(first, second)
    starts = range(0, len(first), size)
    return torch.cat([measure(first[i : i + size], second[i : i + size]) for i in starts])


def _radius(boxes: Tensor) -> Tensor:
    """Radius ``[N]`` of the circle around each box, a little generous against rounding."""
    return torch.hypot(boxes[:, 3], boxes[:, 4]) * 0.50001 + 1e-4


def _limit(limits: dict[str, int], like: Tensor) -> int:
    return limits.get(like.device.type, limits["cuda"])


def _check_aligned(first: Tensor, second: Tensor) -> None:
    check_boxes(first, "first boxes")
    check_boxes(second, "second boxes")
    if len(first) != len(second):
        raise InputError(
            f"{len(first)} boxes against {len(second)}; pairs need equally many.",
            where="second boxes",
            hint="For every pair of two sets use iou_bev or iou_3d.",
        )
