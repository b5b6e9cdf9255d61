"""CenterPoint on voxels."""

from collections.abc import Mapping, Sequence

from kd3d.detectors.arguments import (
    complete_width,
    limit_around,
    plain_branches,
    plain_numbers,
    scale_channels,
)
from kd3d.detectors.center_head import BOX_BRANCHES, CenterHead
from kd3d.detectors.center_point import CenterPoint
from kd3d.detectors.decode import Suppression, Threshold
from kd3d.detectors.sparse import Engine
from kd3d.detectors.voxel_backbone import VoxelBackbone
from kd3d.detectors.voxel_detector import VoxelDetector

__all__ = ["CenterPointVoxel"]

PARTS = ("backbone_3d", "backbone_2d", "head")
STAGE_FILTERS = (16, 32, 64, 128)
HEAD_CHANNELS = 64
CENTER_LIMIT = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)


class CenterPointVoxel(VoxelDetector, CenterPoint):
    """CenterPoint on voxels (CP-Voxel).

    Its maps are eight times coarser than its voxels along x and y.

    Args:
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres; along x and y a
            whole number of 16 voxels, along z of at least 24.
        voxel_size: (x, y, z) size of a voxel in metres.
        max_points: points kept per voxel.
        max_voxels: voxels kept per frame.
        classes: names of the classes.
        point_features: features per point, x, y, z included.
        intensity: "tanh" squashes the fourth feature, "as_is" leaves it.
        width: factors of the channel counts of "backbone_3d", "backbone_2d" and "head".
        depth: convolutions per block of the 2D backbone after its first one.
        depth_3d: residual blocks per stage of the 3D backbone.
        engine: sparse convolutions of "torch", of "spconv", or whichever is right and fast on the
            device ("auto"), see `kd3d.detectors.sparse`.
        extra_branches: further regression branches, name to channels; they learn the box columns
            after the seventh, in this order.
        norm_momentum: how fast running statistics of the backbones' norms follow the batches; runs
            of under about a thousand steps want 0.1.
        center_limit: (x, y, z, x, y, z) limits of a detected centre in metres; by default
            ±75.2 m and -2 to 4 m, or the range where it is larger.
        score_threshold: a detection scores higher than this.
        nms: which detections suppress each other: "class_agnostic" (the paper's), "per_class", or
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
        point_features: int = 5,
        intensity: str = "tanh",
        width: Mapping[str, float] | None = None,
        depth: Sequence[int] = (5, 5),
        depth_3d: Sequence[int] = (2, 2, 2, 2),
        engine: Engine = "auto",
        extra_branches: Mapping[str, int] | None = None,
        norm_momentum: float = 0.01,
        center_limit: Sequence[float] | None = None,
        score_threshold: float = 0.1,
        nms: Suppression = "class_agnostic",
        nms_threshold: Threshold = 0.7,
        name: str = "cp_voxel",
    ) -> None:
        factors = complete_width(width, PARTS)
        branches = plain_branches(extra_branches, [*BOX_BRANCHES, "heatmap"])
        limit = None if center_limit is None else plain_numbers(center_limit, 6, "center_limit")
        super().__init__(
            name=name,
            arguments={"extra_branches": branches, "center_limit": limit},
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_points=max_points,
            max_voxels=max_voxels,
            classes=classes,
            point_features=point_features,
            intensity=intensity,
            backbone=VoxelBackbone,
            stage_filters=STAGE_FILTERS,
            width=factors,
            depth=depth,
            depth_3d=depth_3d,
            engine=engine,
            norm_momentum=norm_momentum,
            center_limit=limit or limit_around(point_cloud_range, CENTER_LIMIT),
            score_threshold=score_threshold,
            nms=nms,
            nms_threshold=nms_threshold,
        )
        (head,) = scale_channels((HEAD_CHANNELS,), factors["head"], "head")
        self.dense_head = CenterHead(self.backbone_2d.out_channels, head, len(classes), branches)
