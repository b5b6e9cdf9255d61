"""Intersection over union of upright rotated boxes, in bird's-eye view and 3D."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kd3d.geometry.boxes import check_boxes
from kd3d.geometry.overlap import check_aligned, overlap_3d_aligned, overlap_bev_aligned

__all__ = [
    "close_pairs",
    "in_chunks",
    "iou_3d",
    "iou_3d_aligned",
    "iou_bev",
    "iou_bev_aligned",
]

_PAIRS_AT_ONCE = {"cpu": 1 << 13, "cuda": 1 << 20}
"""Pairs clipped at a time. On the CPU torch does not split tensors of this size over threads, whose
waking costs more than the work, and a multiple of it where other processes keep the cores busy."""

_CENTRES_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 24}
"""Distances between centres computed at a time, chosen alike."""


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
    check_aligned(first, second)
    return in_chunks(_iou_bev, first, second)


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
    check_aligned(first, second)
    return in_chunks(_iou_3d, first, second)


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


def _iou_bev(first: Tensor, second: Tensor) -> Tensor:
    first, second = first.double(), second.double()
    overlap = overlap_bev_aligned(first, second)
    return _ratio(overlap, first[:, 3:5].prod(dim=1), second[:, 3:5].prod(dim=1))


def _iou_3d(first: Tensor, second: Tensor) -> Tensor:
    first, second = first.double(), second.double()
    overlap = overlap_3d_aligned(first, second)
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


def in_chunks(
    measure: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor, share: int = 1
) -> Tensor:
    """Measure aligned boxes some at a time; `share` divides how many."""
    size = _limit(_PAIRS_AT_ONCE, first) // share
    if len(first) <= size:
        return measure(first, second)
    starts = range(0, len(first), size)
    return torch.cat([measure(first[i : i + size], second[i : i + size]) for i in starts])


def _radius(boxes: Tensor) -> Tensor:
    """Radius ``[N]`` of the circle around each box, a little generous against rounding."""
    return torch.hypot(boxes[:, 3], boxes[:, 4]) * 0.50001 + 1e-4


def _limit(limits: dict[str, int], like: Tensor) -> int:
    return limits.get(like.device.type, limits["cuda"])
