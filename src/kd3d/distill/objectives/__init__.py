"""Distillation objectives: what a student learns from its teacher."""

from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.label import LabelKD
from kd3d.distill.objectives.pivotal_logit import PivotalLogitKD
from kd3d.distill.objectives.regression import RegressionKD

__all__ = ["LabelKD", "Objective", "PivotalLogitKD", "RegressionKD", "StepContext"]
