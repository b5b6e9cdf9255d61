"""Reading maps inside boxes: a rotated grid of points per box, sampled bilinearly in metres."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kd3d.errors import ConfigError, InputError
from kd3d.geometry.grid import BEVGrid

__all__ = ["pool_rois", "roi_points"]


def roi_points(boxes: Tensor, size: int = 7) -> Tensor:
    """Place a grid of points over the ground that each box covers.

    The box is cut into size x size equal parts, and a point lies in the middle of each. In the
    box's own frame, point (row, column) is at

        along its length:  ((column + 0.5) / size - 0.5) * length
        along its width:   ((row + 0.5) / size - 0.5) * width

    turned by the heading and moved to the centre, so that columns follow the length and, at heading
    0, rows and columns follow y and x as those of maps do.

    Args:
        boxes: ``[..., 7 or more]`` (x, y, z, length, width, height, heading), metres and radians.
        size: points along each side.

    Returns:
        ``[..., size, size, 2]`` (x, y) in metres, in the boxes' dtype.

    Raises:
        InputError: if `boxes` is not floating with at least seven columns.
        ConfigError: if `size` is less than one.
    """
    if boxes.ndim < 1 or boxes.shape[-1] < 7 or not boxes.is_floating_point():
        raise InputError(
            f"boxes must be floating [..., 7], not {boxes.dtype} {tuple(boxes.shape)}.",
            where="roi_points",
        )
    if size < 1:
        raise ConfigError(f"a grid of {size} points.", where="size", hint="Give at least 1.")
    steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size - 0.5
    along = (boxes[..., 3, None] * steps)[..., None, :]
    across = (boxes[..., 4, None] * steps)[..., :, None]
    cos, sin = boxes[..., 6, None, None].cos(), boxes[..., 6, None, None].sin()
    x = boxes[..., 0, None, None] + along * cos - across * sin
    y = boxes[..., 1, None, None] + along * sin + across * cos
    return torch.stack((x, y), dim=-1)


def pool_rois(maps: Tensor, boxes: Tensor, grid: BEVGrid, size: int = 7) -> Tensor:
    """Sample maps at a rotated grid of points inside every box.

    The half-cell conventions: the value of cell (row, column) holds at the cell's *centre*, which
    is ``grid.to_metres((column + 0.5, row + 0.5))``; points are those of `roi_points`; between
    centres values are interpolated bilinearly. Inside the range but beyond the outermost centres
    the outermost values hold, so a constant map gives its constant. Points outside the range give
    exactly 0, as do points that are not finite; ``grid.contains(roi_points(boxes))`` tells which.

    Args:
        maps: ``[B, C, H, W]`` over the grid, any floating dtype. The channels-last layout is the
            fast one; others are copied.
        boxes: ``[B, M, 7 or more]`` (x, y, z, length, width, height, heading), metres and radians;
            empty slots hold any box, their samples are to be left out by the caller.
        grid: the grid of the maps.
        size: points along each side of a box.

    Returns:
        ``[B, M, C, size, size]`` in the maps' dtype; rows follow the box's width, columns its
        length. Differentiable in maps and boxes.

    Raises:
        InputError: if the shapes do not fit.
        ConfigError: if `size` is less than one.
    """
    _check(maps, boxes, grid)
    frames, channels, height, width = maps.shape
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    points = roi_points(boxes, size).flatten(1, 3)
    inside = grid.contains(points)
    cells = torch.where(inside[..., None], grid.to_cells(points), 0.5)
    column, next_column, right = _neighbours(cells[..., 0], width)
    row, next_row, below = _neighbours(cells[..., 1], height)

    first = torch.arange(frames, device=maps.device)[:, None] * (height * width)
    corners = torch.stack(
        [first + one * width + other for one in (row, next_row) for other in (column, next_column)],
        dim=-1,
    )
    weights = torch.stack(
        ((1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right), dim=-1
    )
    weights = (weights * inside[..., None]).to(maps.dtype)
    rows = maps.permute(0, 2, 3, 1).reshape(frames * height * width, channels)
    samples = F.embedding_bag(
        corners.flatten(0, 1), rows, mode="sum", per_sample_weights=weights.flatten(0, 1)
    )
    samples = samples.view(frames, boxes.shape[1], size, size, channels)
    return samples.permute(0, 1, 4, 2, 3)


def _neighbours(position: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give the two cells whose centres enclose a position, and how far the second has a say."""
    from_first = (position - 0.5).clamp(0, count - 1)
    lower = from_first.detach().floor()
    cell = lower.long()
    return cell, (cell + 1).clamp(max=count - 1), from_first - lower


def _check(maps: Tensor, boxes: Tensor, grid: BEVGrid) -> None:
    if maps.ndim != 4 or not maps.is_floating_point() or tuple(maps.shape[2:]) != grid.shape:
        raise InputError(
            f"maps must be floating [B, C, {grid.height}, {grid.width}] to lie on the grid, not "
            f"{maps.dtype} {tuple(maps.shape)}.",
            where="pool_rois",
        )
    if boxes.ndim != 3 or len(boxes) != len(maps):
        raise InputError(
            f"maps of {len(maps)} frames need boxes [{len(maps)}, M, 7], not {tuple(boxes.shape)}.",
            where="pool_rois",
        )
