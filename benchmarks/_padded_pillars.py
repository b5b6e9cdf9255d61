"""The pillar encoder as published, every pillar padded to P points. Slow; the peer to beat."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.detectors.pillar_encoder import PillarEncoder
from kd3d.detectors.voxelize import Voxels


class PaddedPillarEncoder(nn.Module):
    """Same parameters, same function as `PillarEncoder`, over a ``[V, P, F]`` tensor."""

    def __init__(self, like: PillarEncoder) -> None:
        super().__init__()
        layers = list(like.pfn_layers)
        self.cell_size, self.first_centre = like.cell_size, like.first_centre
        self.pfn_layers = nn.ModuleList(
            PaddedLayer(layer.linear.in_features, layer.linear.out_features) for layer in layers
        )
        self.load_state_dict(like.state_dict())
        self.train(like.training)

    def forward(self, points: Tensor, counts: Tensor, coords: Tensor) -> Tensor:
        xyz = points[:, :, :3]
        mean = xyz.sum(dim=1, keepdim=True) / counts.float()[:, None, None]
        cells = coords[:, 1:].flip(1).float()
        centre = cells * xyz.new_tensor(self.cell_size) + xyz.new_tensor(self.first_centre)
        rows = torch.cat((points, xyz - mean, xyz - centre[:, None]), dim=2)
        slots = torch.arange(points.shape[1], device=points.device)
        rows = rows * (slots < counts[:, None])[:, :, None]
        *layers, last = self.pfn_layers
        for layer in layers:
            rows = layer(rows)
            highest = rows.max(dim=1, keepdim=True).values
            rows = torch.cat((rows, highest.expand(-1, rows.shape[1], -1)), dim=2)
        return last(rows).max(dim=1).values


class PaddedLayer(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, rows: Tensor) -> Tensor:
        rows = self.linear(rows)
        return F.relu(self.norm(rows.transpose(1, 2)).transpose(1, 2))


def pad(voxels: Voxels, max_points: int) -> Tensor:
    """Lay the points of voxels out as ``[V, max_points, F]``, zeros in empty slots."""
    padded = voxels.points.new_zeros(len(voxels), max_points, voxels.points.shape[1])
    starts = voxels.counts.cumsum(0) - voxels.counts
    slot = torch.arange(len(voxels.points)) - starts[voxels.owner]
    padded[voxels.owner, slot] = voxels.points
    return padded


def scatter_frame_by_frame(
    features: Tensor, coords: Tensor, frames: int, shape: tuple[int, int]
) -> Tensor:
    """Lay pillars out as maps, one frame after the other, as the reference does."""
    maps = []
    for frame in range(frames):
        of_frame = coords[:, 0] == frame
        canvas = features.new_zeros(features.shape[1], shape[0] * shape[1])
        canvas[:, coords[of_frame, 2] * shape[1] + coords[of_frame, 3]] = features[of_frame].t()
        maps.append(canvas)
    return torch.stack(maps).view(frames, -1, *shape)
