"""Logit distillation by a focal loss with soft targets."""

from torch import Tensor

from kd3d.distill.functional import Alignment, soft_focal_loss
from kd3d.distill.functional.pivots import check_alignment
from kd3d.distill.functional.soft_focal import check_positive
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs

__all__ = ["SoftFocalKD"]


class SoftFocalKD(Objective):
    """Train the student's heatmap by a focal loss whose targets are the teacher's probabilities.

        weight * sum_cyx l(p_student, p_teacher) / max(number of positives, 1)

        l = -(1 - p_student)^2 log(p_student)                       if p_teacher >= positive
        l = -(1 - p_teacher)^4 p_student^2 log(1 - p_student)       otherwise

    Over all cells, without a mask and without ground truth. See
    `kd3d.distill.functional.soft_focal_loss`. From the code of "Towards Efficient 3D Object
    Detection with Knowledge Distillation" (NeurIPS 2022, arXiv 2205.15156).

    Args:
        weight: factor of the loss; None is `default_weight`.
        positive: the teacher's probability from which, inclusive, a cell and class is positive.
        alignment: how maps of different cells are compared, as for `PivotalLogitKD`.
        schedule: when the objective acts, see `Schedule`.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "soft_focal"
    default_weight = 0.7

    def __init__(
        self,
        weight: float | None = None,
        *,
        positive: float = 0.5,
        alignment: Alignment = "pivot",
        schedule: ScheduleLike | None = None,
    ) -> None:
        super().__init__(weight, schedule=schedule)
        check_positive(positive)
        check_alignment(alignment)
        self.positive = positive
        self.alignment: Alignment = alignment

    @property
    def comparison(self) -> str:
        """What is a positive, for the table of connections."""
        return f"focal loss on the teacher's heatmap, positive from {self.positive:g}"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        return self.weight * soft_focal_loss(
            student.maps.heatmap,
            teacher.maps.heatmap,
            positive=self.positive,
            alignment=self.alignment,
            student_grid=student.maps.grid,
            teacher_grid=teacher.maps.grid,
        )
