"""Detectors: points in, head maps and boxes out; and the parts that they are made of."""

from kd3d.detectors.anchor_detector import AnchorDetector
from kd3d.detectors.anchor_head import AnchorHead
from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.bev_detector import BEVDetector
from kd3d.detectors.center_head import CenterHead
from kd3d.detectors.center_point import CenterPoint
from kd3d.detectors.center_point_pillar import CenterPointPillar
from kd3d.detectors.center_point_voxel import CenterPointVoxel
from kd3d.detectors.checkpoint import load_detector, save_detector
from kd3d.detectors.decode import decode_centers, decode_codes, read_codes
from kd3d.detectors.detector import Detector
from kd3d.detectors.losses import center_box_loss, center_focal_loss
from kd3d.detectors.pillar_encoder import PillarEncoder, scatter_pillars
from kd3d.detectors.point_pillar import PointPillar
from kd3d.detectors.second import Second
from kd3d.detectors.targets import assign_center_targets
from kd3d.detectors.voxelize import Voxelizer, Voxels
from kd3d.detectors.zoo import create_detector, list_detectors

__all__ = [
    "AnchorDetector",
    "AnchorHead",
    "BEVBackbone",
    "BEVDetector",
    "CenterHead",
    "CenterPoint",
    "CenterPointPillar",
    "CenterPointVoxel",
    "Detector",
    "PillarEncoder",
    "PointPillar",
    "Second",
    "Voxelizer",
    "Voxels",
    "assign_center_targets",
    "center_box_loss",
    "center_focal_loss",
    "create_detector",
    "decode_centers",
    "decode_codes",
    "list_detectors",
    "load_detector",
    "read_codes",
    "save_detector",
    "scatter_pillars",
]
