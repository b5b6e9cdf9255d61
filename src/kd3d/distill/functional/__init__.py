"""The distillation losses as pure functions of tensors; they need no trainer."""

from kd3d.distill.functional.duplicates import Duplicates, drop_duplicates
from kd3d.distill.functional.label import (
    TeacherBoxes,
    add_teacher_boxes,
    select_teacher_boxes,
    truth_targets,
)
from kd3d.distill.functional.pivotal_logit import pivotal_logit_loss, probability
from kd3d.distill.functional.pivots import Alignment, Pivots, pivot_weights
from kd3d.distill.functional.regression import Space, regression_kd_loss
from kd3d.distill.functional.sampling import average_over_cells, sample_at_centers

__all__ = [
    "Alignment",
    "Duplicates",
    "Pivots",
    "Space",
    "TeacherBoxes",
    "add_teacher_boxes",
    "average_over_cells",
    "drop_duplicates",
    "pivot_weights",
    "pivotal_logit_loss",
    "probability",
    "regression_kd_loss",
    "sample_at_centers",
    "select_teacher_boxes",
    "truth_targets",
]
