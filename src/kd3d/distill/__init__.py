"""Distillation: the callback, its objectives, and the initialisation from a teacher."""

from kd3d.distill.batches import BatchView
from kd3d.distill.callback import DistillationCallback, KDCallback
from kd3d.distill.channels import Channels
from kd3d.distill.inherit import InheritanceReport, inherit_weights
from kd3d.distill.objectives import (
    LabelKD,
    Objective,
    PivotalLogitKD,
    RegressionKD,
    StepContext,
)
from kd3d.distill.predicted import PredictedBoxes
from kd3d.distill.protocol import CenterDetector
from kd3d.distill.teacher import Teacher, TeacherMode
from kd3d.distill.teacher_check import TeacherScore, waymo_score
from kd3d.distill.views import Outputs, View

__all__ = [
    "BatchView",
    "CenterDetector",
    "Channels",
    "DistillationCallback",
    "InheritanceReport",
    "KDCallback",
    "LabelKD",
    "Objective",
    "Outputs",
    "PivotalLogitKD",
    "PredictedBoxes",
    "RegressionKD",
    "StepContext",
    "Teacher",
    "TeacherMode",
    "TeacherScore",
    "View",
    "inherit_weights",
    "waymo_score",
]
