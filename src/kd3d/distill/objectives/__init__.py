"""Distillation objectives: what a student learns from its teacher."""

from kd3d.distill.objectives.anchor_logit import AnchorLogitKD
from kd3d.distill.objectives.anchor_regression import AnchorRegressionKD
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.cwd import ChannelWiseKD
from kd3d.distill.objectives.feature import FeatureObjective
from kd3d.distill.objectives.fitnet import FitNetKD
from kd3d.distill.objectives.foreground import ForegroundKD
from kd3d.distill.objectives.gid_feature import GIDFeatureKD
from kd3d.distill.objectives.gid_logit import GIDLogitKD
from kd3d.distill.objectives.label import LabelKD
from kd3d.distill.objectives.mimic import MimicKD
from kd3d.distill.objectives.pivotal_logit import PivotalLogitKD
from kd3d.distill.objectives.pkd import PearsonKD
from kd3d.distill.objectives.regression import RegressionKD
from kd3d.distill.objectives.schedule import Schedule
from kd3d.distill.objectives.soft_focal import SoftFocalKD
from kd3d.distill.objectives.sparsekd import SparseKD

__all__ = [
    "AnchorLogitKD",
    "AnchorRegressionKD",
    "ChannelWiseKD",
    "FeatureObjective",
    "FitNetKD",
    "ForegroundKD",
    "GIDFeatureKD",
    "GIDLogitKD",
    "LabelKD",
    "MimicKD",
    "Objective",
    "PearsonKD",
    "PivotalLogitKD",
    "RegressionKD",
    "Schedule",
    "SoftFocalKD",
    "SparseKD",
    "StepContext",
]
