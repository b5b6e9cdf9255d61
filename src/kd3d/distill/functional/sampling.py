"""Reading a map at the cell centres of another grid."""

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = ["sample_at_centers"]


def sample_at_centers(maps: Tensor, source: BEVGrid, target: BEVGrid) -> tuple[Tensor, Tensor]:
    """Sample maps bilinearly, in metres, at the cell centres of another grid.

    Positions beyond the outermost cell centres are clamped to them, so that on a shared range this
    equals ``F.interpolate(mode="bilinear", align_corners=False)``.

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
    if tuple(maps.shape[-2:]) != source.shape:
        raise ConfigError(
            f"maps of {tuple(maps.shape[-2:])} cells do not lie on a grid of {source.shape}.",
            where="sample_at_centers",
        )
    device = maps.device
    rows = _Axis(source.y_min, source.cell_y, source.height)
    columns = _Axis(source.x_min, source.cell_x, source.width)
    y = _centers(target.y_min, target.cell_y, target.height, device)
    x = _centers(target.x_min, target.cell_x, target.width, device)
    if not (rows.overlaps(target.y_min, target.cell_y * target.height)) or not (
        columns.overlaps(target.x_min, target.cell_x * target.width)
    ):
        raise ConfigError(
            "the ranges of student and teacher do not overlap, so nothing can be compared.",
            where="point_cloud_range",
            hint="Build both on the same range.",
        )
    inside = rows.contains(y)[:, None] & columns.contains(x)[None, :]
    if source == target:
        return maps, inside
    return columns.sample(rows.sample(maps, y, dim=-2), x, dim=-1), inside


class _Axis:
    """One axis of a regular grid: its lower border, its cell size (metres), its cell count."""

    def __init__(self, lower: float, cell: float, count: int) -> None:
        self.lower = lower
        self.cell = cell
        self.count = count

    def overlaps(self, lower: float, length: float) -> bool:
        return lower < self.lower + self.cell * self.count and self.lower < lower + length

    def contains(self, positions: Tensor) -> Tensor:
        cells = (positions - self.lower) / self.cell
        return (cells >= 0) & (cells < self.count)

    def sample(self, maps: Tensor, positions: Tensor, dim: int) -> Tensor:
        """Interpolate linearly between the two nearest cell centres along one dimension."""
        cells = ((positions - self.lower) / self.cell - 0.5).clamp(0, self.count - 1)
        below = cells.floor().long()
        above = (below + 1).clamp(max=self.count - 1)
        fraction = (cells - below).to(maps.dtype)
        fraction = fraction[:, None] if dim == -2 else fraction
        return torch.lerp(maps.index_select(dim, below), maps.index_select(dim, above), fraction)


def _centers(lower: float, cell: float, count: int, device: torch.device) -> Tensor:
    # float64: in float32 a centre 75 m away would be off by a ten-thousandth of a cell
    return (torch.arange(count, device=device, dtype=torch.float64) + 0.5) * cell + lower
