"""The distillation losses as pure functions of tensors; they need no trainer."""

from kd3d.distill.functional.aligned import AlignedHeat, align_heatmaps, probability
from kd3d.distill.functional.channel_kl import channel_kl_loss
from kd3d.distill.functional.duplicates import Duplicates, drop_duplicates
from kd3d.distill.functional.feature_l2 import feature_l2_loss
from kd3d.distill.functional.feature_pair import FeaturePair, align_features
from kd3d.distill.functional.gid_logit import gid_logit_loss, instance_cells
from kd3d.distill.functional.instances import Instances, select_instances
from kd3d.distill.functional.label import (
    TeacherBoxes,
    add_teacher_boxes,
    select_teacher_boxes,
    truth_targets,
)
from kd3d.distill.functional.pearson import pearson_loss
from kd3d.distill.functional.pivotal_logit import pivotal_logit_loss
from kd3d.distill.functional.pivots import Alignment, Pivots, pivot_weights
from kd3d.distill.functional.regression import Space, regression_kd_loss
from kd3d.distill.functional.roi_features import (
    RoIFeatures,
    pool_pair,
    relation_loss,
    roi_feature_loss,
)
from kd3d.distill.functional.sampling import average_over_cells, sample_at_centers
from kd3d.distill.functional.soft_focal import soft_focal_loss
from kd3d.distill.functional.truth_overlap import truth_overlap

__all__ = [
    "AlignedHeat",
    "Alignment",
    "Duplicates",
    "FeaturePair",
    "Instances",
    "Pivots",
    "RoIFeatures",
    "Space",
    "TeacherBoxes",
    "add_teacher_boxes",
    "align_features",
    "align_heatmaps",
    "average_over_cells",
    "channel_kl_loss",
    "drop_duplicates",
    "feature_l2_loss",
    "gid_logit_loss",
    "instance_cells",
    "pearson_loss",
    "pivot_weights",
    "pivotal_logit_loss",
    "pool_pair",
    "probability",
    "regression_kd_loss",
    "relation_loss",
    "roi_feature_loss",
    "sample_at_centers",
    "select_instances",
    "select_teacher_boxes",
    "soft_focal_loss",
    "truth_overlap",
    "truth_targets",
]
