"""SECOND: an anchor head on voxels."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd3d.detectors.anchor_detector import AnchorDetector
from kd3d.detectors.anchors import WAYMO_ANCHORS
from kd3d.detectors.arguments import complete_width
from kd3d.detectors.decode import Suppression, Threshold
from kd3d.detectors.plain_voxel_backbone import PlainVoxelBackbone
from kd3d.detectors.sparse import Engine
from kd3d.detectors.voxel_detector import VoxelDetector

__all__ = ["Second"]

PARTS = ("backbone_3d", "backbone_2d")
STAGE_FILTERS = (16, 32, 64, 64)


class Second(VoxelDetector, AnchorDetector):
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
        super().__init__(
            name=name,
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_points=max_points,
            max_voxels=max_voxels,
            classes=classes,
            anchors=anchors or WAYMO_ANCHORS,
            point_features=point_features,
            intensity=intensity,
            backbone=PlainVoxelBackbone,
            stage_filters=STAGE_FILTERS,
            width=complete_width(width, PARTS),
            depth=depth,
            depth_3d=depth_3d,
            engine=engine,
            norm_momentum=norm_momentum,
            score_threshold=score_threshold,
            nms=nms,
            nms_threshold=nms_threshold,
        )
        self.add_head()
