"""PointPillars: an anchor head on pillars."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd3d.detectors.anchor_detector import AnchorDetector
from kd3d.detectors.anchors import WAYMO_ANCHORS
from kd3d.detectors.arguments import complete_width
from kd3d.detectors.decode import Suppression, Threshold
from kd3d.detectors.pillar_detector import PillarDetector

__all__ = ["PointPillar"]

PARTS = ("encoder", "backbone_2d")


class PointPillar(PillarDetector, AnchorDetector):
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
        super().__init__(
            name=name,
            point_cloud_range=point_cloud_range,
            cell_size=cell_size,
            max_points=max_points,
            max_voxels=max_voxels,
            classes=classes,
            anchors=anchors or WAYMO_ANCHORS,
            point_features=point_features,
            intensity=intensity,
            width=complete_width(width, PARTS),
            depth=depth,
            norm_momentum=norm_momentum,
            score_threshold=score_threshold,
            nms=nms,
            nms_threshold=nms_threshold,
        )
        self.add_head()
