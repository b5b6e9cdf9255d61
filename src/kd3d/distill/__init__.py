"""Distillation: the callback, its objectives, and the initialisation from a teacher."""

from kd3d.distill.batches import BatchView
from kd3d.distill.callback import DistillationCallback, KDCallback
from kd3d.distill.channels import Channels
from kd3d.distill.inherit import InheritanceReport, inherit_weights
from kd3d.distill.objectives import (
    AnchorLogitKD,
    AnchorRegressionKD,
    ChannelWiseKD,
    FeatureObjective,
    FitNetKD,
    ForegroundKD,
    GIDFeatureKD,
    GIDLogitKD,
    LabelKD,
    MimicKD,
    Objective,
    PearsonKD,
    PivotalLogitKD,
    RegressionKD,
    Schedule,
    SoftFocalKD,
    SparseKD,
    StepContext,
)
from kd3d.distill.predicted import PredictedBoxes
from kd3d.distill.protocol import CenterDetector
from kd3d.distill.teacher import Teacher, TeacherMode
from kd3d.distill.teacher_check import TeacherScore, waymo_score
from kd3d.distill.views import Outputs, View

__all__ = [
    "AnchorLogitKD",
    "AnchorRegressionKD",
    "BatchView",
    "CenterDetector",
    "ChannelWiseKD",
    "Channels",
    "DistillationCallback",
    "FeatureObjective",
    "FitNetKD",
    "ForegroundKD",
    "GIDFeatureKD",
    "GIDLogitKD",
    "InheritanceReport",
    "KDCallback",
    "LabelKD",
    "MimicKD",
    "Objective",
    "Outputs",
    "PearsonKD",
    "PivotalLogitKD",
    "PredictedBoxes",
    "RegressionKD",
    "Schedule",
    "SoftFocalKD",
    "SparseKD",
    "StepContext",
    "Teacher",
    "TeacherMode",
    "TeacherScore",
    "View",
    "inherit_weights",
    "waymo_score",
]
