"""Detectors: points in, head maps and boxes out."""

from kd3d.detectors.anchor_detector import AnchorDetector
from kd3d.detectors.center_point import CenterPoint
from kd3d.detectors.center_point_pillar import CenterPointPillar
from kd3d.detectors.center_point_voxel import CenterPointVoxel
from kd3d.detectors.checkpoint import load_detector, save_detector
from kd3d.detectors.detector import Detector
from kd3d.detectors.point_pillar import PointPillar
from kd3d.detectors.second import Second
from kd3d.detectors.zoo import create_detector, list_detectors

__all__ = [
    "AnchorDetector",
    "CenterPoint",
    "CenterPointPillar",
    "CenterPointVoxel",
    "Detector",
    "PointPillar",
    "Second",
    "create_detector",
    "list_detectors",
    "load_detector",
    "save_detector",
]
