"""The typed values that flow between the rooms."""

from kd3d.structures.batch import PointBatch, TargetBoxes
from kd3d.structures.detections import Detections
from kd3d.structures.maps import CenterTargets, HeadMaps

__all__ = ["CenterTargets", "Detections", "HeadMaps", "PointBatch", "TargetBoxes"]
