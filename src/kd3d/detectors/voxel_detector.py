"""What the detectors on voxels share."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kd3d.detectors.arguments import (
    count_layers,
    divisible_grid,
    plain_depth,
    plain_numbers,
    plain_sizes,
    plain_value,
    scale_channels,
)
from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.bev_detector import BEVDetector, set_norm_momentum
from kd3d.detectors.map_to_bev import HeightCompression
from kd3d.detectors.mean_encoder import MeanEncoder
from kd3d.detectors.plain_voxel_backbone import PlainVoxelBackbone
from kd3d.detectors.sparse import Engine, SparseTensor
from kd3d.detectors.voxel_backbone import BEV_STRIDE, VoxelBackbone, fewest_cells, output_shape
from kd3d.detectors.voxelize import Voxelizer

__all__ = ["VoxelDetector"]

VOLUME_FILTERS = 128
BLOCK_FILTERS = (128, 256)
BLOCK_STRIDES = (1, 2)
BRANCH_FILTERS = (256, 256)
BRANCH_STRIDES = (1, 2)
SPARE_LAYERS = 1  # the published networks add an empty layer on top of the grid


class VoxelDetector(BEVDetector):
    """A detector whose maps are eight times coarser than its voxels, whatever its head.

    Arguments that are not described here are those of `CenterPointVoxel`.

    Args:
        backbone: class of the 3D backbone.
        stage_filters: channels of its four stages.
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
        voxel_size: Sequence[float],
        max_points: int,
        max_voxels: int,
        point_features: int,
        backbone: type[VoxelBackbone | PlainVoxelBackbone],
        stage_filters: Sequence[int],
        width: Mapping[str, float],
        depth: Sequence[int],
        depth_3d: Sequence[int],
        engine: Engine,
        norm_momentum: float,
        arguments: Mapping[str, Any] | None = None,
        **head: Any,  # noqa: ANN401 - handed on as they are
    ) -> None:
        bounds = plain_numbers(point_cloud_range, 6, "point_cloud_range")
        voxel = plain_sizes(voxel_size, 3, "voxel_size")
        layers = plain_depth(depth, len(BLOCK_FILTERS))
        layers_3d = plain_depth(depth_3d, len(stage_filters), "depth_3d")
        super().__init__(
            name=name,
            arguments=plain_value(
                {
                    "point_cloud_range": bounds,
                    "voxel_size": voxel,
                    "max_points": max_points,
                    "max_voxels": max_voxels,
                    "point_features": point_features,
                    "width": width,
                    "depth": layers,
                    "depth_3d": layers_3d,
                    "engine": engine,
                    "norm_momentum": norm_momentum,
                    **head,
                    **(arguments or {}),
                }
            ),
            point_cloud_range=bounds,
            grid=divisible_grid(
                bounds, voxel, divisor=BEV_STRIDE * max(BRANCH_STRIDES), stride=BEV_STRIDE
            ),
            point_features=point_features,
            **head,
        )
        cells = count_layers(bounds, voxel, fewest=fewest_cells() - SPARE_LAYERS)
        *stages, volume = scale_channels(
            (*stage_filters, VOLUME_FILTERS), width["backbone_3d"], "backbone_3d"
        )
        blocks = scale_channels(BLOCK_FILTERS, width["backbone_2d"], "backbone_2d")
        upsampled = scale_channels(BRANCH_FILTERS, width["backbone_2d"], "backbone_2d")

        self.voxelizer = Voxelizer(bounds, voxel, max_points, max_voxels)
        x_cells, y_cells, _ = self.voxelizer.grid_size
        self.sparse_shape = (cells + SPARE_LAYERS, y_cells, x_cells)
        self.vfe = MeanEncoder()
        self.backbone_3d = backbone(point_features, stages, volume, layers_3d, engine)
        self.map_to_bev = HeightCompression()
        self.backbone_2d = BEVBackbone(
            volume * output_shape(self.sparse_shape)[0],
            layers,
            BLOCK_STRIDES,
            blocks,
            BRANCH_STRIDES,
            upsampled,
        )
        set_norm_momentum(self, norm_momentum)

    def encode(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Tensor:
        """Turn points into the map ``[B, C, H, W]`` of voxel features, layers among channels."""
        voxels = self.voxelizer(points, batch_index, num_frames)
        volume = SparseTensor(self.vfe(voxels), voxels.coords, self.sparse_shape, num_frames)
        features: Tensor = self.map_to_bev(self.backbone_3d(volume))
        return features
