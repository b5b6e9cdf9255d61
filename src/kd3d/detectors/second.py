"""SECOND: an anchor head on voxels."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kd3d.detectors.anchor_detector import AnchorDetector
from kd3d.detectors.anchors import WAYMO_ANCHORS
from kd3d.detectors.arguments import (
    complete_width,
    count_layers,
    divisible_grid,
    plain_depth,
    plain_numbers,
    plain_sizes,
    plain_threshold,
    scale_channels,
)
from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.center_point_voxel import (
    BLOCK_FILTERS,
    BLOCK_STRIDES,
    BRANCH_FILTERS,
    BRANCH_STRIDES,
    SPARE_LAYERS,
)
from kd3d.detectors.decode import Suppression, Threshold
from kd3d.detectors.map_to_bev import HeightCompression
from kd3d.detectors.mean_encoder import MeanEncoder
from kd3d.detectors.plain_voxel_backbone import PlainVoxelBackbone
from kd3d.detectors.sparse import Engine, SparseTensor
from kd3d.detectors.voxel_backbone import BEV_STRIDE, fewest_cells, output_shape
from kd3d.detectors.voxelize import Voxelizer

__all__ = ["Second"]

PARTS = ("backbone_3d", "backbone_2d")
STAGE_FILTERS = (16, 32, 64, 64)
VOLUME_FILTERS = 128


class Second(AnchorDetector):
    """SECOND (Yan et al., Sensors 2018) as OpenPCDet has it.

    Its maps are eight times coarser than its voxels along x and y.

    Args:
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres; along x and y a
            whole number of 16 voxels, along z of at least 24.
        voxel_size: (x, y, z) size of a voxel in metres.
        max_points: points kept per voxel.
        max_voxels: voxels kept per frame.
        classes: names of the classes.
        anchors: per class name what `kd3d.detectors.anchors.AnchorClass` takes; Waymo's by default.
        point_features: features per point, x, y, z included.
        intensity: "tanh" squashes the fourth feature, "as_is" leaves it.
        width: factors of the channel counts of "backbone_3d" and "backbone_2d".
        depth: convolutions per block of the 2D backbone after its first one.
        depth_3d: submanifold convolutions per stage of the 3D backbone.
        engine: sparse convolutions of "torch", of "spconv", or whichever is right and fast on the
            device ("auto"), see `kd3d.detectors.sparse`.
        norm_momentum: how fast running statistics of the norms follow the batches; runs of under
            about a thousand steps want 0.1.
        score_threshold: a detection scores higher than this.
        nms: which detections suppress each other: "class_agnostic" (OpenPCDet's), "per_class", or
            "circle" (by distance of centres).
        nms_threshold: bird's-eye-view overlap above which the lower of two detections goes, for
            "per_class" also one number for each class; "circle": metres.
        name: the name the detector goes by.

    Raises:
        ConfigError: if an argument cannot work.
    """

    def __init__(
        self,
        point_cloud_range: Sequence[float],
        voxel_size: Sequence[float],
        max_points: int = 5,
        max_voxels: int = 150_000,
        classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
        anchors: Mapping[str, Mapping[str, Any]] | None = None,
        point_features: int = 5,
        intensity: str = "tanh",
        width: Mapping[str, float] | None = None,
        depth: Sequence[int] = (5, 5),
        depth_3d: Sequence[int] = (1, 2, 2, 2),
        engine: Engine = "auto",
        norm_momentum: float = 0.01,
        score_threshold: float = 0.1,
        nms: Suppression = "class_agnostic",
        nms_threshold: Threshold = 0.7,
        name: str = "second",
    ) -> None:
        bounds = plain_numbers(point_cloud_range, 6, "point_cloud_range")
        voxel = plain_sizes(voxel_size, 3, "voxel_size")
        factors = complete_width(width, PARTS)
        layers = plain_depth(depth, len(BLOCK_FILTERS))
        layers_3d = plain_depth(depth_3d, len(STAGE_FILTERS), "depth_3d")
        laid = {str(key): dict(value) for key, value in (anchors or WAYMO_ANCHORS).items()}
        super().__init__(
            name=name,
            arguments={
                "point_cloud_range": bounds,
                "voxel_size": voxel,
                "max_points": int(max_points),
                "max_voxels": int(max_voxels),
                "classes": tuple(str(one) for one in classes),
                "anchors": laid,
                "point_features": int(point_features),
                "intensity": str(intensity),
                "width": factors,
                "depth": layers,
                "depth_3d": layers_3d,
                "engine": str(engine),
                "norm_momentum": float(norm_momentum),
                "score_threshold": float(score_threshold),
                "nms": str(nms),
                "nms_threshold": plain_threshold(nms_threshold),
            },
            classes=classes,
            point_cloud_range=bounds,
            grid=divisible_grid(
                bounds, voxel, divisor=BEV_STRIDE * max(BRANCH_STRIDES), stride=BEV_STRIDE
            ),
            point_features=point_features,
            intensity=intensity,
            anchors=laid,
            score_threshold=score_threshold,
            nms=nms,
            nms_threshold=nms_threshold,
        )
        cells = count_layers(bounds, voxel, fewest=fewest_cells() - SPARE_LAYERS)
        *stages, volume = scale_channels(
            (*STAGE_FILTERS, VOLUME_FILTERS), factors["backbone_3d"], "backbone_3d"
        )
        blocks = scale_channels(BLOCK_FILTERS, factors["backbone_2d"], "backbone_2d")
        upsampled = scale_channels(BRANCH_FILTERS, factors["backbone_2d"], "backbone_2d")

        self.voxelizer = Voxelizer(bounds, voxel, max_points, max_voxels)
        x_cells, y_cells, _ = self.voxelizer.grid_size
        self.sparse_shape = (cells + SPARE_LAYERS, y_cells, x_cells)
        self.vfe = MeanEncoder()
        self.backbone_3d = PlainVoxelBackbone(point_features, stages, volume, layers_3d, engine)
        self.map_to_bev = HeightCompression()
        self.backbone_2d = BEVBackbone(
            volume * output_shape(self.sparse_shape)[0],
            layers,
            BLOCK_STRIDES,
            blocks,
            BRANCH_STRIDES,
            upsampled,
        )
        self.add_head()

        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = norm_momentum

    def encode(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Tensor:
        """Turn points into the map ``[B, C, H, W]`` of voxel features, layers among channels."""
        voxels = self.voxelizer(points, batch_index, num_frames)
        volume = SparseTensor(self.vfe(voxels), voxels.coords, self.sparse_shape, num_frames)
        features: Tensor = self.map_to_bev(self.backbone_3d(volume))
        return features
