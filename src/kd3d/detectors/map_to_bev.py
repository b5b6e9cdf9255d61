"""From voxels to a map seen from above."""

from torch import Tensor, nn

from kd3d.detectors.sparse import SparseTensor

__all__ = ["HeightCompression"]


class HeightCompression(nn.Module):
    """Stack the layers of a sparse volume into the channels of a bird's-eye-view map.

    Channel ``c * D + d`` of the map is channel c of layer d, counted from the lowest of D layers.
    """

    def forward(self, volume: SparseTensor) -> Tensor:
        """Turn features ``[N, C]`` on D layers into ``[B, C * D, H, W]``, zeros at empty cells."""
        return volume.dense().flatten(1, 2)
