"""The typed values that flow between the rooms."""

from kd3d.structures.anchors import AnchorMaps, AnchorTargets
from kd3d.structures.batch import PointBatch, TargetBoxes
from kd3d.structures.detections import Detections
from kd3d.structures.maps import CenterTargets, ClassMaps, HeadMaps

__all__ = [
    "AnchorMaps",
    "AnchorTargets",
    "CenterTargets",
    "ClassMaps",
    "Detections",
    "HeadMaps",
    "PointBatch",
    "TargetBoxes",
]
