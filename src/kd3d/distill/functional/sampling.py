"""Bringing a map to the cells of another grid, in metres."""

import math

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = ["average_over_cells", "check_on_grid", "check_shared_range", "sample_at_centers"]


def sample_at_centers(maps: Tensor, source: BEVGrid, target: BEVGrid) -> tuple[Tensor, Tensor]:
    """Sample maps bilinearly, in metres, at the cell centres of another grid.

    Positions beyond the outermost cell centres are clamped to them, so that on a shared range this
    equals ``F.interpolate(mode="bilinear", align_corners=False)``. All cells are sampled, pivotal
    or not: to pick out the pivots, CUDA would have to tell the host how many there are.

    Args:
        maps: ``[B, C, H, W]`` over the source grid, any floating dtype.
        source: the grid of the maps.
        target: the grid to sample at.

    Returns:
        The samples ``[B, C, target.height, target.width]`` in the maps' dtype, and a bool
        ``[target.height, target.width]``, false where a centre is outside the source's range.

    Raises:
        ConfigError: if the maps do not lie on the source grid, or the ranges do not overlap.
    """
    rows, columns = _axes(maps, source, target)
    inside = rows.contains_centers(maps.device)[:, None] & columns.contains_centers(maps.device)
    if source == target:
        return maps, inside
    return columns.sample(rows.sample(maps, -2), -1), inside


def average_over_cells(maps: Tensor, source: BEVGrid, target: BEVGrid) -> tuple[Tensor, Tensor]:
    """Average maps over the cells of another grid, in metres.

    A target cell takes the mean of the source cells weighted by the area that they share with it;
    what lies outside the source's range has no part in the mean. With a whole number of source
    cells in every target cell and a shared range this is average pooling.

    Args:
        maps: ``[B, C, H, W]`` over the source grid, any floating dtype.
        source: the grid of the maps.
        target: the grid whose cells are averaged over.

    Returns:
        The means ``[B, C, target.height, target.width]`` in the maps' dtype, and a bool
        ``[target.height, target.width]``, false where a centre is outside the source's range.

    Raises:
        ConfigError: if the maps do not lie on the source grid, or the ranges do not overlap.
    """
    rows, columns = _axes(maps, source, target)
    inside = rows.contains_centers(maps.device)[:, None] & columns.contains_centers(maps.device)
    if source == target:
        return maps, inside
    return columns.average(rows.average(maps, -2), -1), inside


def check_on_grid(maps: Tensor, grid: BEVGrid) -> None:
    """Raise `ConfigError` unless maps ``[..., H, W]`` have one value for each cell of the grid."""
    if tuple(maps.shape[-2:]) != grid.shape:
        raise ConfigError(
            f"maps of {tuple(maps.shape[-2:])} cells do not lie on a grid of {grid.shape}.",
            where="HeadMaps.grid",
            hint="Give the maps the grid (height, width) that they were computed on.",
        )


def check_shared_range(student: BEVGrid, teacher: BEVGrid) -> None:
    """Raise `ConfigError` unless two grids cover some ground together."""
    for name, axis in zip("yx", _axes_between(student, teacher), strict=True):
        if not axis.overlaps():
            raise ConfigError(
                f"student and teacher share no range along {name}: one is on "
                f"{axis.source_text()}, the other on {axis.target_text()} m.",
                where="point_cloud_range",
                hint="Build both on the same range, or on ranges that overlap.",
            )


def _axes(maps: Tensor, source: BEVGrid, target: BEVGrid) -> "tuple[_Axis, _Axis]":
    """Give rows and columns of a change of grids."""
    check_on_grid(maps, source)
    check_shared_range(source, target)
    return _axes_between(source, target)


def _axes_between(source: BEVGrid, target: BEVGrid) -> "tuple[_Axis, _Axis]":
    rows = _Axis(
        (source.y_min, source.cell_y, source.height), (target.y_min, target.cell_y, target.height)
    )
    columns = _Axis(
        (source.x_min, source.cell_x, source.width), (target.x_min, target.cell_x, target.width)
    )
    return rows, columns


class _Axis:
    """One axis of two regular grids, each given by its lower border, cell size and cell count.

    Positions are float64: in float32 a centre 75 m away would be off by a ten-thousandth of a cell.
    """

    def __init__(self, source: tuple[float, float, int], target: tuple[float, float, int]) -> None:
        self.lower, self.cell, self.count = source
        self.other_lower, self.other_cell, self.other_count = target

    def overlaps(self) -> bool:
        upper = self.lower + self.cell * self.count
        other_upper = self.other_lower + self.other_cell * self.other_count
        return self.other_lower < upper and self.lower < other_upper

    def source_text(self) -> str:
        return f"{self.lower:g} to {self.lower + self.cell * self.count:g}"

    def target_text(self) -> str:
        return f"{self.other_lower:g} to {self.other_lower + self.other_cell * self.other_count:g}"

    def positions(self, offset: float, device: torch.device) -> Tensor:
        """Where the target's cells are ``[other_count]``, in cells of the source.

        `offset` says what of a cell: 0 its lower border, 0.5 its centre, 1 its upper border.
        """
        cells = torch.arange(self.other_count, device=device, dtype=torch.float64) + offset
        return (cells * self.other_cell + self.other_lower - self.lower) / self.cell

    def contains_centers(self, device: torch.device) -> Tensor:
        centers = self.positions(0.5, device)
        return (centers >= 0) & (centers < self.count)

    def sample(self, maps: Tensor, dim: int) -> Tensor:
        """Interpolate linearly between the two nearest cell centres along one dimension."""
        cells = (self.positions(0.5, maps.device) - 0.5).clamp(0, self.count - 1)
        below = cells.floor().long()
        above = (below + 1).clamp(max=self.count - 1)
        fraction = _along((cells - below).to(maps.dtype), dim)
        return torch.lerp(maps.index_select(dim, below), maps.index_select(dim, above), fraction)

    def average(self, maps: Tensor, dim: int) -> Tensor:
        """Average along one dimension, weighted by shared lengths."""
        start = self.positions(0.0, maps.device).clamp(0, self.count)
        stop = self.positions(1.0, maps.device).clamp(0, self.count)
        shared = (stop - start).clamp(min=1e-9)
        first = start.floor()
        total = maps.new_zeros(())
        for step in range(math.ceil(self.other_cell / self.cell) + 1):
            cell = first + step
            length = torch.minimum(stop, cell + 1) - torch.maximum(start, cell)
            weight = (length.clamp(min=0) / shared).to(maps.dtype)
            index = cell.long().clamp(max=self.count - 1)
            total = total + maps.index_select(dim, index) * _along(weight, dim)
        return total


def _along(values: Tensor, dim: int) -> Tensor:
    """Shape ``[n]`` so that it runs along rows (-2) or columns (-1)."""
    return values[:, None] if dim == -2 else values
