"""LightningModules and schedules that train kd3d's detectors."""

from kd3d.training.module import DetectorModule
from kd3d.training.one_cycle import OneCycle, one_cycle
from kd3d.training.pictures import DetectionPictures
from kd3d.training.resume_checkpoint import ResumeCheckpoint, find_checkpoint

__all__ = [
    "DetectionPictures",
    "DetectorModule",
    "OneCycle",
    "ResumeCheckpoint",
    "find_checkpoint",
    "one_cycle",
]
