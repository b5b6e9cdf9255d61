"""Mimic: features inside regions of interest."""

from typing import Literal, get_args

import torch
from torch import Tensor

from kd3d.distill.functional.map_boxes import highest_boxes
from kd3d.distill.functional.roi_features import check_roi_size, pool_pair, roi_feature_loss
from kd3d.distill.objectives.base import StepContext
from kd3d.distill.objectives.feature import Adapter, FeatureObjective
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs
from kd3d.errors import ConfigError

__all__ = ["MimicKD", "RoISource"]

RoISource = Literal["truth", "teacher", "student"]


class MimicKD(FeatureObjective):
    """Imitate the teacher's features inside boxes.

        weight * sum_points sum_c (f_student - f_teacher)^2 / (C * number of points + 1e-6)

    Each box has a rotated grid of `size` x `size` points (`kd3d.geometry.pool_rois`), at which each
    network is read on its own grid in metres; points outside either range do not count. Mimicking
    Very Efficient Network for Object Detection (Li, Jin and Yan, CVPR 2017), which takes the
    student's proposals; the code of arXiv 2205.15156 takes the truth or the teacher's boxes. See
    `kd3d.distill.functional.roi_feature_loss`.

    Args:
        weight: factor of the term; None is `default_weight`.
        rois: the boxes: "truth" (all objects), or the highest boxes of the "teacher" or the
            "student", without suppression of overlaps.
        size: points along each side of a box.
        score_threshold: a box of a network must score more.
        max_boxes: boxes per frame of a network.
        student_tap: see `FeatureObjective`.
        teacher_tap: likewise.
        adapter: likewise.
        norm: likewise.
        schedule: when the objective acts; always, with its whole weight, if None.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "mimic"
    default_weight = 15.0

    def __init__(
        self,
        weight: float | None = None,
        *,
        rois: RoISource = "truth",
        size: int = 7,
        score_threshold: float = 0.1,
        max_boxes: int = 100,
        student_tap: str = "backbone_2d",
        teacher_tap: str | None = None,
        adapter: Adapter = "unequal",
        norm: bool = False,
        schedule: ScheduleLike | None = None,
    ) -> None:
        super().__init__(
            weight,
            student_tap=student_tap,
            teacher_tap=teacher_tap,
            adapter=adapter,
            norm=norm,
            schedule=schedule,
        )
        if rois not in get_args(RoISource):
            raise ConfigError(f"{rois!r} is not one of {list(get_args(RoISource))}.", where="rois")
        if not 0 <= score_threshold < 1:
            raise ConfigError(f"{score_threshold} is no score.", where="score_threshold")
        if max_boxes < 1:
            raise ConfigError(f"at least one box, not {max_boxes}.", where="max_boxes")
        check_roi_size(size)
        self.rois: RoISource = rois
        self.size = size
        self.score_threshold = score_threshold
        self.max_boxes = max_boxes

    @property
    def comparison(self) -> str:
        """What is compared, for the table of connections."""
        whose = {"truth": "true", "teacher": "the teacher's", "student": "the student's"}
        return f"features at {self.size} x {self.size} points in {whose[self.rois]} boxes"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar; zero if there is no box."""
        boxes, labels = self._boxes(student, teacher, context)
        features = self.on_own_grids(student, teacher)
        return self.weight * roi_feature_loss(pool_pair(*features, boxes, labels, self.size))

    def _boxes(
        self, student: Outputs, teacher: Outputs, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        if self.rois == "truth":
            return context.boxes, context.labels
        network = teacher if self.rois == "teacher" else student
        with torch.no_grad():
            return highest_boxes(network.box_maps, self.max_boxes, self.score_threshold)
