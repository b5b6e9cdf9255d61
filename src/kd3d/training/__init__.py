"""LightningModules and schedules that train kd3d's detectors."""

from kd3d.training.frozen import FrozenPart
from kd3d.training.groups import RateGroups
from kd3d.training.module import DetectorModule
from kd3d.training.one_cycle import OneCycle, one_cycle
from kd3d.training.pictures import DetectionPictures
from kd3d.training.resume_checkpoint import ResumeCheckpoint, find_checkpoint
from kd3d.training.time_spent import TimeSpent
from kd3d.training.warm_start import StartedTensor, WarmStartReport, warm_start

__all__ = [
    "DetectionPictures",
    "DetectorModule",
    "FrozenPart",
    "OneCycle",
    "RateGroups",
    "ResumeCheckpoint",
    "StartedTensor",
    "TimeSpent",
    "WarmStartReport",
    "find_checkpoint",
    "one_cycle",
    "warm_start",
]
