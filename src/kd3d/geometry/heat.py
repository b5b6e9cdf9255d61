"""Gaussian heat of objects on bird's-eye-view maps."""

import torch
from torch import Tensor

__all__ = ["draw_gaussians", "gaussian_radius"]


def gaussian_radius(length_cells: Tensor, width_cells: Tensor, min_overlap: float) -> Tensor:
    """Find how far a box may be shifted and still overlap itself.

    The smallest of CornerNet's three cases (Law and Deng, ECCV 2018), in the original form that
    divides every root by two.

    Args:
        length_cells: ``[...]`` lengths in cells, positive.
        width_cells: ``[...]`` widths in cells, positive.
        min_overlap: intersection over union that must remain.

    Returns:
        ``[...]`` radii in cells, not rounded.
    """
    total, area = length_cells + width_cells, length_cells * width_cells
    one_in_one_out = _half_root(total, 4 * area * (1 - min_overlap) / (1 + min_overlap))
    inside = _half_root(2 * total, 16 * (1 - min_overlap) * area)
    outside = _half_root(-2 * min_overlap * total, 16 * min_overlap * (min_overlap - 1) * area)
    return torch.minimum(torch.minimum(one_in_one_out, inside), outside)


def _half_root(linear: Tensor, product: Tensor) -> Tensor:
    return (linear + torch.sqrt(linear * linear - product)) / 2


def draw_gaussians(
    shape: tuple[int, int, int],
    planes: Tensor,
    rows: Tensor,
    columns: Tensor,
    radii: Tensor,
    peaks: Tensor,
) -> Tensor:
    """Draw one Gaussian per object; where they overlap, the higher value stays.

    Each Gaussian fills a window of ``2 r + 1`` cells a side, with a standard deviation of a sixth
    of it, and is cropped at the borders (Zhou et al., "Objects as Points", 2019).

    Args:
        shape: planes, rows and columns of the maps.
        planes: ``[N]`` int64, the map each object is drawn on.
        rows: ``[N]`` int64 row of the peak.
        columns: ``[N]`` int64 column of the peak.
        radii: ``[N]`` int64 radius in cells.
        peaks: ``[N]`` float height of the peak, exactly kept at its cell.

    Returns:
        ``[planes, rows, columns]`` float32 heat, zero where nothing was drawn.
    """
    heat = torch.zeros(shape, dtype=torch.float32, device=planes.device)
    side = 2 * radii + 1
    cells = side * side
    owner = torch.repeat_interleave(cells)
    place = torch.arange(len(owner), device=planes.device) - (cells.cumsum(0) - cells)[owner]
    down = place // side[owner] - radii[owner]
    right = place % side[owner] - radii[owner]

    sigma = side.double() / 6
    squared = (down * down + right * right).double()
    value = torch.exp(-squared / (2 * sigma * sigma)[owner]).float() * peaks.float()[owner]

    row, column = rows[owner] + down, columns[owner] + right
    inside = (row >= 0) & (row < shape[1]) & (column >= 0) & (column < shape[2])
    index = ((planes[owner] * shape[1] + row) * shape[2] + column)[inside]
    heat.view(-1).scatter_reduce_(0, index, value[inside], "amax")
    return heat
