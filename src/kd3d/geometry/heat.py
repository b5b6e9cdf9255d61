"""Gaussian heat of objects on bird's-eye-view maps."""

import torch
from torch import Tensor

from kd3d.geometry.grid import BEVGrid

__all__ = ["draw_gaussians", "draw_objects", "gaussian_radius"]

# CenterPoint's
_MIN_OVERLAP = 0.1
_MIN_RADIUS = 2


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


def draw_objects(
    boxes: Tensor,
    labels: Tensor,
    drawn: Tensor,
    cells: Tensor,
    grid: BEVGrid,
    num_classes: int,
    peaks: Tensor | None = None,
) -> Tensor:
    """Draw the Gaussians of a batch of boxes, as CenterPoint's targets have them.

    Args:
        boxes: ``[B, M, 7 or more]`` float32; lengths and widths in metres give the radii.
        labels: ``[B, M]`` int64 class ids, the map that each is drawn on.
        drawn: ``[B, M]`` bool, which of them are drawn; the others may hold anything.
        cells: ``[B, M, 2]`` int64 (column, row) of the peaks.
        grid: where to draw.
        num_classes: C.
        peaks: ``[B, M]`` heights; 1 by default.

    Returns:
        ``[B, C, H, W]`` float32. Nothing waits for the device, see `draw_gaussians`.
    """
    length, width = (
        torch.where(drawn, boxes[..., axis], 1.0) / cell
        for axis, cell in ((3, grid.cell_x), (4, grid.cell_y))
    )
    radii = gaussian_radius(length, width, _MIN_OVERLAP).long().clamp(min=_MIN_RADIUS)
    frame = torch.arange(len(boxes), device=boxes.device)[:, None]
    columns, rows = torch.where(drawn[..., None], cells, 0).unbind(dim=-1)
    heat = draw_gaussians(
        (len(boxes) * num_classes, grid.height, grid.width),
        planes=(frame * num_classes + labels.clamp(min=0)).flatten(),
        rows=rows.flatten(),
        columns=columns.flatten(),
        radii=torch.where(drawn, radii, -1).flatten(),
        peaks=(torch.ones_like(length) if peaks is None else peaks).flatten(),
        usual_radius=_bus_radius(grid),
    )
    return heat.view(len(boxes), num_classes, grid.height, grid.width)


def _bus_radius(grid: BEVGrid) -> int:
    """Give the radius in cells that a bus of 12 m x 3 m is drawn with, more than most objects."""
    length, width = torch.tensor(12 / grid.cell_x), torch.tensor(3 / grid.cell_y)
    return max(_MIN_RADIUS, int(gaussian_radius(length, width, _MIN_OVERLAP)))


def _half_root(linear: Tensor, product: Tensor) -> Tensor:
    return (linear + torch.sqrt(linear * linear - product)) / 2


def draw_gaussians(
    shape: tuple[int, int, int],
    planes: Tensor,
    rows: Tensor,
    columns: Tensor,
    radii: Tensor,
    peaks: Tensor,
    *,
    usual_radius: int | None = None,
) -> Tensor:
    """Draw one Gaussian per object; where they overlap, the higher value stays.

    Each Gaussian fills a window of ``2 r + 1`` cells a side, with a standard deviation of a sixth
    of it, and is cropped at the borders (Zhou et al., "Objects as Points", 2019).

    Args:
        shape: planes, rows and columns of the maps.
        planes: ``[N]`` int64, the map each object is drawn on.
        rows: ``[N]`` int64 row of the peak.
        columns: ``[N]`` int64 column of the peak.
        radii: ``[N]`` int64 radius in cells; negative for an object that is not drawn.
        peaks: ``[N]`` float height of the peak, exactly kept at its cell.
        usual_radius: a radius that objects have at most on average. With it nothing on CUDA waits
            for the number of cells to draw; objects that are larger, on average over all N and
            beyond one whole map, stop the process there with an assertion of the device.

    Returns:
        ``[planes, rows, columns]`` float32 heat, zero where nothing was drawn.
    """
    heat = torch.zeros(shape, dtype=torch.float32, device=planes.device)
    top, bottom = (rows - radii).clamp(min=0), (rows + radii).clamp(max=shape[1] - 1)
    left, right = (columns - radii).clamp(min=0), (columns + radii).clamp(max=shape[2] - 1)
    across = (right - left + 1).clamp(min=0)
    cells = across * (bottom - top + 1).clamp(min=0)
    if usual_radius is None or _may_ask(planes.device) or not len(cells):
        owner = torch.repeat_interleave(cells)  # how many there are has to be known on the host
    else:
        owner = owners_within(cells, len(cells) * (2 * usual_radius + 1) ** 2 + shape[1] * shape[2])
    place = torch.arange(len(owner), device=planes.device) - (cells.cumsum(0) - cells)[owner]
    drawn = place < cells[owner]
    width = across[owner].clamp(min=1)
    row = torch.where(drawn, top[owner] + place // width, 0)
    column = torch.where(drawn, left[owner] + place % width, 0)

    sigma = (2 * radii + 1).double() / 6
    squared = ((row - rows[owner]) ** 2 + (column - columns[owner]) ** 2).double()
    value = torch.exp(-squared / (2 * sigma * sigma)[owner]).float() * peaks.float()[owner] * drawn

    index = (planes[owner] * shape[1] + row) * shape[2] + column
    heat.view(-1).scatter_reduce_(0, index, value, "amax")
    return heat


def owners_within(counts: Tensor, capacity: int) -> Tensor:
    """Repeat each index as often as its count says, without asking how many that makes.

    Args:
        counts: ``[N]`` int64, not negative, N at least 1.
        capacity: how many indices to give; an asynchronous assertion fails if they are too few.

    Returns:
        ``[capacity]`` int64 ascending; those after the sum of the counts are N - 1.
    """
    ends = counts.cumsum(0)
    torch._assert_async(ends[-1] <= capacity, "more cells of heat than usual_radius allows for")
    places = torch.arange(capacity, device=counts.device)
    return torch.searchsorted(ends, places, right=True).clamp(max=len(counts) - 1)


def _may_ask(device: torch.device) -> bool:
    """Whether a number on the device is known on the host without waiting."""
    return device.type == "cpu"
