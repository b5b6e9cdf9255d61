"""Pillar features (PointPillars), without the padding that their definition speaks of.

The published encoder pads each pillar to P points. Padded rows are zero before the first layer, but
not after its norm and ReLU: they count in the batch statistics and in the maximum. All padded rows
of a pillar are equal, so one virtual row with a multiplicity stands for them, and the function, its
running statistics and its gradients are those of the padded form.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.detectors.voxelize import Voxels

__all__ = ["PillarEncoder", "PillarLayer", "scatter_pillars"]


class PillarEncoder(nn.Module):
    """Encode the points of each pillar into one feature vector.

    Points are decorated with their offsets from the mean and from the centre of their pillar.
    Parameters are named as in OpenPCDet's ``PillarVFE``. Runs in float32, under autocast too.

    Args:
        point_features: features per point, x, y, z included.
        filters: output channels of each layer. Layers before the last give half of them to the
            points and half to the maximum over their pillar.
        cell_size: (x, y, z) size of a pillar in metres.
        origin: (x, y, z) lower corner of the grid in metres.
        max_points: P, the points per pillar of the padded form.
    """

    def __init__(
        self,
        point_features: int,
        filters: Sequence[int],
        cell_size: Sequence[float],
        origin: Sequence[float],
        max_points: int,
    ) -> None:
        super().__init__()
        self.max_points = max_points
        self.cell_size = tuple(cell_size)
        self.first_centre = tuple(
            low + size / 2 for low, size in zip(origin, cell_size, strict=True)
        )
        halves = [channels // 2 for channels in filters[:-1]]
        inputs = [point_features + 6, *(2 * half for half in halves)]
        outputs = [*halves, filters[-1]]
        self.pfn_layers = nn.ModuleList(map(PillarLayer, inputs, outputs))

    def forward(self, voxels: Voxels) -> Tensor:
        """Give ``[V, C]`` float32 features of the pillars."""
        *layers, last = self.pfn_layers
        with torch.autocast(voxels.points.device.type, enabled=False):
            padding = self.max_points - voxels.counts
            rows = self._decorate(voxels)
            virtual = rows.new_zeros(len(voxels), rows.shape[1])
            for layer in layers:
                rows, virtual = layer(rows, virtual, padding)
                highest = F.relu(_highest(rows, virtual, padding, voxels.owner))
                rows = torch.cat((F.relu(rows), highest.index_select(0, voxels.owner)), dim=1)
                virtual = torch.cat((F.relu(virtual), highest), dim=1)
            rows, virtual = last(rows, virtual, padding)
            return F.relu(_highest(rows, virtual, padding, voxels.owner))

    def _decorate(self, voxels: Voxels) -> Tensor:
        points = voxels.points.float()
        xyz = points[:, :3]
        total = xyz.new_zeros(len(voxels), 3).index_add(0, voxels.owner, xyz)
        mean = total / voxels.counts[:, None]
        cells = voxels.coords[:, 1:].flip(1).float()
        centre = cells * xyz.new_tensor(self.cell_size) + xyz.new_tensor(self.first_centre)
        about = torch.cat((mean, centre), dim=1).index_select(0, voxels.owner)
        return torch.cat((points, xyz - about[:, :3], xyz - about[:, 3:]), dim=1)


class PillarLayer(nn.Module):
    """Linear layer and BatchNorm over the points of all pillars, padding included.

    The ReLU is left to the caller, who can take the maximum before it at less cost.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, rows: Tensor, virtual: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Transform the points and the virtual row of each pillar.

        Args:
            rows: ``[K, C]`` points.
            virtual: ``[V, C]`` one row per pillar, equal to each of its padded rows.
            padding: ``[V]`` int64 number of padded rows per pillar.
        """
        return _norm(self.norm, self.linear(rows), self.linear(virtual), padding)


def _norm(
    norm: nn.BatchNorm1d, rows: Tensor, virtual: Tensor, padding: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply BatchNorm as if each virtual row stood there `padding` times."""
    mean, variance = norm.running_mean, norm.running_var
    if (norm.training and len(rows) > 0) or mean is None or variance is None:
        count = len(rows) + padding.sum()
        mean, variance = _moments(rows, virtual, padding.to(rows.dtype), count)
        if norm.training and norm.track_running_stats:
            unbiased = variance.detach() * (count / (count - 1).clamp(min=1))
            _update_running(norm, mean.detach(), unbiased)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = norm.bias - mean * scale
    return torch.addcmul(shift, rows, scale), torch.addcmul(shift, virtual, scale)


def _moments(
    rows: Tensor, virtual: Tensor, padding: Tensor, count: Tensor
) -> tuple[Tensor, Tensor]:
    """Give the mean and the biased variance over the rows of the padded form."""
    mean = (rows.sum(0) + padding @ virtual) / count
    centre = mean.detach()  # deviations sum to zero, so the mean passes on no gradient here
    spread = (rows - centre).square().sum(0) + padding @ (virtual - centre).square()
    return mean, spread / count


def _update_running(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as `torch.nn.BatchNorm1d` does."""
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    factor = norm.momentum
    if factor is None:  # cumulative average
        factor = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, factor)
    norm.running_var.lerp_(variance, factor)


def _highest(rows: Tensor, virtual: Tensor, padding: Tensor, owner: Tensor) -> Tensor:
    """Give the maximum ``[V, C]`` over the points of each pillar and its padding, if any."""
    virtual = virtual.masked_fill((padding == 0)[:, None], -torch.inf)
    return virtual.scatter_reduce(0, owner[:, None].expand_as(rows), rows, "amax")


def scatter_pillars(features: Tensor, voxels: Voxels, shape: tuple[int, int]) -> Tensor:
    """Lay pillar features out as a dense map.

    Args:
        features: ``[V, C]``.
        voxels: the pillars, one cell high.
        shape: rows (y) and columns (x) of the map.

    Returns:
        ``[B, C, rows, columns]``, zeros where there is no pillar.
    """
    frame, _, y, x = voxels.coords.unbind(1)
    canvas = features.new_zeros(voxels.num_frames, features.shape[1], shape[0] * shape[1])
    canvas[frame, :, y * shape[1] + x] = features
    return canvas.view(voxels.num_frames, -1, *shape)
