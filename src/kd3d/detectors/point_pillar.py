"""PointPillars: an anchor head on pillars."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kd3d.detectors.anchor_detector import AnchorDetector
from kd3d.detectors.anchors import WAYMO_ANCHORS
from kd3d.detectors.arguments import (
    complete_width,
    divisible_grid,
    plain_depth,
    plain_numbers,
    plain_sizes,
    plain_threshold,
    scale_channels,
)
from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.center_point_pillar import (
    BLOCK_FILTERS,
    BLOCK_STRIDES,
    BRANCH_FILTERS,
    BRANCH_STRIDES,
    ENCODER_FILTERS,
)
from kd3d.detectors.decode import Suppression, Threshold
from kd3d.detectors.pillar_encoder import PillarEncoder, scatter_pillars
from kd3d.detectors.voxelize import Voxelizer

__all__ = ["PointPillar"]

PARTS = ("encoder", "backbone_2d")


class PointPillar(AnchorDetector):
    """PointPillars (Lang et al., CVPR 2019) as OpenPCDet has it on Waymo.

    Encoder and backbone are those of `kd3d.detectors.CenterPointPillar`; the head has anchors.

    Args:
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres; along x and y a
            whole number of four cells.
        cell_size: (x, y) size of a pillar in metres.
        max_points: points kept per pillar.
        max_voxels: pillars kept per frame.
        classes: names of the classes.
        anchors: per class name what `kd3d.detectors.anchors.AnchorClass` takes; Waymo's by default.
        point_features: features per point, x, y, z included.
        intensity: "tanh" squashes the fourth feature, "as_is" leaves it.
        width: factors of the channel counts of "encoder" and "backbone_2d".
        depth: convolutions per block of the 2D backbone after its first one.
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
        cell_size: Sequence[float],
        max_points: int,
        max_voxels: int = 150_000,
        classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
        anchors: Mapping[str, Mapping[str, Any]] | None = None,
        point_features: int = 5,
        intensity: str = "tanh",
        width: Mapping[str, float] | None = None,
        depth: Sequence[int] = (3, 5, 5),
        norm_momentum: float = 0.01,
        score_threshold: float = 0.1,
        nms: Suppression = "class_agnostic",
        nms_threshold: Threshold = 0.7,
        name: str = "pointpillar",
    ) -> None:
        bounds = plain_numbers(point_cloud_range, 6, "point_cloud_range")
        cell = plain_sizes(cell_size, 2, "cell_size")
        factors = complete_width(width, PARTS)
        layers = plain_depth(depth, len(BLOCK_FILTERS))
        laid = {str(key): dict(value) for key, value in (anchors or WAYMO_ANCHORS).items()}
        super().__init__(
            name=name,
            arguments={
                "point_cloud_range": bounds,
                "cell_size": cell,
                "max_points": int(max_points),
                "max_voxels": int(max_voxels),
                "classes": tuple(str(one) for one in classes),
                "anchors": laid,
                "point_features": int(point_features),
                "intensity": str(intensity),
                "width": factors,
                "depth": layers,
                "norm_momentum": float(norm_momentum),
                "score_threshold": float(score_threshold),
                "nms": str(nms),
                "nms_threshold": plain_threshold(nms_threshold),
            },
            classes=classes,
            point_cloud_range=bounds,
            grid=divisible_grid(bounds, cell, divisor=max(BRANCH_STRIDES)),
            point_features=point_features,
            intensity=intensity,
            anchors=laid,
            score_threshold=score_threshold,
            nms=nms,
            nms_threshold=nms_threshold,
        )
        pillar = (*cell, bounds[5] - bounds[2])
        encoder = scale_channels(ENCODER_FILTERS, factors["encoder"], "encoder", fewest=2)
        blocks = scale_channels(BLOCK_FILTERS, factors["backbone_2d"], "backbone_2d")
        upsampled = scale_channels(BRANCH_FILTERS, factors["backbone_2d"], "backbone_2d")

        self.voxelizer = Voxelizer(bounds, pillar, max_points, max_voxels)
        self.vfe = PillarEncoder(point_features, encoder, pillar, bounds[:3], max_points)
        self.backbone_2d = BEVBackbone(
            encoder[-1], layers, BLOCK_STRIDES, blocks, BRANCH_STRIDES, upsampled
        )
        self.add_head()

        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = norm_momentum

    def encode(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Tensor:
        """Turn points into the map ``[B, C, H, W]`` of pillar features."""
        pillars = self.voxelizer(points, batch_index, num_frames)
        return scatter_pillars(self.vfe(pillars), pillars, self.grid.shape)
