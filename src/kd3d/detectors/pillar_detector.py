"""What the detectors on pillars share."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kd3d.detectors.arguments import (
    divisible_grid,
    plain_depth,
    plain_numbers,
    plain_sizes,
    plain_value,
    scale_channels,
)
from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.bev_detector import BEVDetector, set_norm_momentum
from kd3d.detectors.pillar_encoder import PillarEncoder, scatter_pillars
from kd3d.detectors.voxelize import Voxelizer

__all__ = ["PillarDetector"]

ENCODER_FILTERS = (64, 64)
BLOCK_FILTERS = (64, 128, 256)
BLOCK_STRIDES = (1, 2, 2)
BRANCH_FILTERS = (128, 128, 128)
BRANCH_STRIDES = (1, 2, 4)


class PillarDetector(BEVDetector):
    """A detector whose maps have the cells of its pillars, whatever its head.

    Arguments that are not described here are those of `CenterPointPillar`.

    Args:
        width: a factor for every part.
        arguments: what rebuilds the detector beside, or in place of, what is passed here.
        head: arguments of the base that knows the head.
    """

    backbone_2d: BEVBackbone

    def __init__(
        self,
        *,
        name: str,
        point_cloud_range: Sequence[float],
        cell_size: Sequence[float],
        max_points: int,
        max_voxels: int,
        point_features: int,
        width: Mapping[str, float],
        depth: Sequence[int],
        norm_momentum: float,
        arguments: Mapping[str, Any] | None = None,
        **head: Any,  # noqa: ANN401 - handed on as they are
    ) -> None:
        bounds = plain_numbers(point_cloud_range, 6, "point_cloud_range")
        cell = plain_sizes(cell_size, 2, "cell_size")
        layers = plain_depth(depth, len(BLOCK_FILTERS))
        super().__init__(
            name=name,
            arguments=plain_value(
                {
                    "point_cloud_range": bounds,
                    "cell_size": cell,
                    "max_points": max_points,
                    "max_voxels": max_voxels,
                    "point_features": point_features,
                    "width": width,
                    "depth": layers,
                    "norm_momentum": norm_momentum,
                    **head,
                    **(arguments or {}),
                }
            ),
            point_cloud_range=bounds,
            grid=divisible_grid(bounds, cell, divisor=max(BRANCH_STRIDES)),
            point_features=point_features,
            **head,
        )
        pillar = (*cell, bounds[5] - bounds[2])
        encoder = scale_channels(ENCODER_FILTERS, width["encoder"], "encoder", fewest=2)
        blocks = scale_channels(BLOCK_FILTERS, width["backbone_2d"], "backbone_2d")
        upsampled = scale_channels(BRANCH_FILTERS, width["backbone_2d"], "backbone_2d")

        self.voxelizer = Voxelizer(bounds, pillar, max_points, max_voxels)
        self.vfe = PillarEncoder(point_features, encoder, pillar, bounds[:3], max_points)
        self.backbone_2d = BEVBackbone(
            encoder[-1], layers, BLOCK_STRIDES, blocks, BRANCH_STRIDES, upsampled
        )
        set_norm_momentum(self, norm_momentum)

    def encode(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Tensor:
        """Turn points into the map ``[B, C, H, W]`` of pillar features."""
        pillars = self.voxelizer(points, batch_index, num_frames)
        return scatter_pillars(self.vfe(pillars), pillars, self.grid.shape)
