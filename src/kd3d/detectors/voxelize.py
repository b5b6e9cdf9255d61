"""Points to voxels, with the semantics of the field's voxel generators."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.errors import ConfigError

__all__ = ["Voxelizer", "Voxels"]


@dataclass(frozen=True, slots=True)
class Voxels:
    """The points that a detector keeps, grouped by voxel.

    Frames come one after the other, voxels of a frame in order of their first point, points of a
    voxel in their own order.

    Args:
        points: ``[K, F]`` float32 kept points.
        owner: ``[K]`` int64, ascending: the voxel of each point.
        counts: ``[V]`` int64 points per voxel, at least 1.
        coords: ``[V, 4]`` int64 (frame, z, y, x) cell of each voxel.
        num_frames: frames in the batch, those without points included.
    """

    points: Tensor
    owner: Tensor
    counts: Tensor
    coords: Tensor
    num_frames: int

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True, slots=True)
class Voxelizer:
    """Group points into voxels.

    A point belongs to cell ``floor((p - lower) / size)``, in float32. Points outside the range, and
    those after the first `max_points` of a voxel or in later voxels than the first `max_voxels` of
    a frame, are left out.

    Args:
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres.
        voxel_size: (x, y, z) in metres.
        max_points: points kept per voxel.
        max_voxels: voxels kept per frame.

    Raises:
        ConfigError: if `max_points` or `max_voxels` is not positive.
    """

    point_cloud_range: tuple[float, ...]
    voxel_size: tuple[float, ...]
    max_points: int
    max_voxels: int

    def __post_init__(self) -> None:
        for name in ("max_points", "max_voxels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"must be at least 1, not {getattr(self, name)}.", where=name)

    @property
    def grid_size(self) -> tuple[int, int, int]:
        """Cells along x, y, z."""
        low, high = self.point_cloud_range[:3], self.point_cloud_range[3:]
        x, y, z = (
            round((b - a) / size) for a, b, size in zip(low, high, self.voxel_size, strict=True)
        )
        return x, y, z

    def __call__(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Voxels:
        """Group the points of a batch.

        Args:
            points: ``[N, F]`` float32; x, y, z in metres, then any features.
            batch_index: ``[N]`` int64 frame of each point, ascending.
            num_frames: frames in the batch.
        """
        inside, cells = self._cells(points)
        kept = inside.nonzero().squeeze(1)
        cells, frames = cells[kept], batch_index[kept]
        x_cells, y_cells, z_cells = self.grid_size
        key = ((frames * z_cells + cells[:, 2]) * y_cells + cells[:, 1]) * x_cells + cells[:, 0]

        key, order = torch.sort(key, stable=True)
        _, counts = torch.unique_consecutive(key, return_counts=True)
        starts = counts.cumsum(0) - counts
        first = order[starts]
        voxels = torch.argsort(first)
        voxels = voxels[self._within_limit(frames[first[voxels]], num_frames)]
        starts, first = starts[voxels], first[voxels]
        counts = counts[voxels].clamp(max=self.max_points)

        owner = torch.repeat_interleave(counts)
        offset = starts - (counts.cumsum(0) - counts)
        place = torch.arange(len(owner), device=owner.device) + offset[owner]
        return Voxels(
            points=points[kept[order[place]]],
            owner=owner,
            counts=counts,
            coords=torch.cat((frames[first, None], cells[first].flip(1)), dim=1),
            num_frames=num_frames,
        )

    def _cells(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Tell which points are inside, and the (x, y, z) cell of each."""
        xyz = points[:, :3]
        low = xyz.new_tensor(self.point_cloud_range[:3])
        high = xyz.new_tensor(self.point_cloud_range[3:])
        cells = torch.floor((xyz - low) / xyz.new_tensor(self.voxel_size))
        inside = ((cells >= 0) & (cells < cells.new_tensor(self.grid_size))).all(dim=1)
        # The upper border belongs to the range in x and y; rounding may put it in the last cell.
        inside &= ((xyz >= low) & (xyz <= high))[:, :2].all(dim=1)
        return inside, cells.long()

    def _within_limit(self, frames: Tensor, num_frames: int) -> Tensor:
        """Tell which voxels, given their ascending frames, are among the first of their frame."""
        per_frame = torch.bincount(frames, minlength=num_frames)
        earlier = (per_frame.cumsum(0) - per_frame)[frames]
        return torch.arange(len(frames), device=frames.device) - earlier < self.max_voxels
