"""The bird's-eye-view grid: metres to cells and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.constants import constant

__all__ = ["BEVGrid"]


@dataclass(frozen=True, slots=True)
class BEVGrid:
    """A regular grid of cells over the ground plane, in the vehicle frame.

    Maps over it have shape ``[..., height, width]``: rows follow y, columns follow x, and cell
    ``(row, column)`` covers ``[x_min + column * cell_x, x_min + (column + 1) * cell_x)`` along x.

    Args:
        x_min: lower border along x (metres).
        y_min: lower border along y (metres).
        cell_x: size of a cell along x (metres).
        cell_y: size of a cell along y (metres).
        width: number of cells along x.
        height: number of cells along y.
    """

    x_min: float
    y_min: float
    cell_x: float
    cell_y: float
    width: int
    height: int

    @classmethod
    def from_range(
        cls,
        point_cloud_range: tuple[float, ...],
        cell_size: tuple[float, ...],
        stride: int = 1,
    ) -> "BEVGrid":
        """Make the grid of a detector's output map.

        Args:
            point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres.
            cell_size: voxel size along x, y (and more, ignored), in metres.
            stride: input cells per output cell.

        Raises:
            ConfigError: if the range is empty or not a whole number of output cells.
        """
        lengths = (
            point_cloud_range[3] - point_cloud_range[0],
            point_cloud_range[4] - point_cloud_range[1],
        )
        counts: list[int] = []
        for axis, length, size in zip("xy", lengths, cell_size[:2], strict=True):
            cell = size * stride
            count = round(length / cell) if size > 0 else 0
            if count < 1 or abs(count * cell - length) > 1e-3 * cell:
                nearest = max(count, 1) * cell / 2
                raise ConfigError(
                    f"{length:g} m along {axis} is not a whole number of {cell:g} m cells.",
                    where="point_cloud_range",
                    hint=f"The nearest symmetric range along {axis} is ±{nearest:g} m.",
                )
            counts.append(count)
        return cls(
            x_min=float(point_cloud_range[0]),
            y_min=float(point_cloud_range[1]),
            cell_x=float(cell_size[0]) * stride,
            cell_y=float(cell_size[1]) * stride,
            width=counts[0],
            height=counts[1],
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns: (height, width)."""
        return self.height, self.width

    def to_cells(self, xy: Tensor) -> Tensor:
        """Turn metres into continuous cell coordinates.

        Args:
            xy: positions ``[..., 2]`` (x, y) in metres.

        Returns:
            ``[..., 2]`` (column, row) in cells; cell k spans [k, k + 1), its centre is k + 0.5.
        """
        origin = constant((self.x_min, self.y_min), xy)
        return (xy - origin) / constant((self.cell_x, self.cell_y), xy)

    def to_metres(self, cells: Tensor) -> Tensor:
        """Turn continuous cell coordinates ``[..., 2]`` (column, row) into metres (x, y)."""
        origin = constant((self.x_min, self.y_min), cells)
        return cells * constant((self.cell_x, self.cell_y), cells) + origin

    def centers(self, device: torch.device | str | None = None) -> Tensor:
        """Positions of all cell centres.

        Returns:
            ``[height, width, 2]`` float32 (x, y) in metres.
        """
        columns = torch.arange(self.width, device=device, dtype=torch.float32) + 0.5
        rows = torch.arange(self.height, device=device, dtype=torch.float32) + 0.5
        grid_rows, grid_columns = torch.meshgrid(rows, columns, indexing="ij")
        return self.to_metres(torch.stack((grid_columns, grid_rows), dim=-1))

    def contains(self, xy: Tensor) -> Tensor:
        """Tell which positions ``[..., 2]`` (metres) lie inside the grid, as a bool ``[...]``."""
        cells = self.to_cells(xy)
        size = constant((self.width, self.height), cells)
        return ((cells >= 0) & (cells < size)).all(dim=-1)
