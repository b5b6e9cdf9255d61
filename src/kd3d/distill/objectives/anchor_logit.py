"""Logit distillation between anchor heads."""

from torch import Tensor

from kd3d.distill.functional.anchor import anchor_logit_loss
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs

__all__ = ["AnchorLogitKD"]


class AnchorLogitKD(Objective):
    """Imitate the teacher's scores of the anchors that stand for an object.

        weight * sum_positive sum_classes (p_student - p_teacher)^2 / number of positive anchors

    The anchors that the ground truth makes positive are the pivotal positions. From the authors'
    recipe for anchor heads (the SparseKD project's answer on SECOND and KITTI).

    Args:
        weight: factor of the loss; the authors use 15.
        schedule: when the objective acts, see `Schedule`.
    """

    name = "anchor_logit"
    map_names = ("score",)
    teacher_methods = ("assign_targets",)

    def __init__(self, weight: float = 15.0, *, schedule: ScheduleLike | None = None) -> None:
        super().__init__(weight, schedule=schedule)

    @property
    def comparison(self) -> str:
        """Where scores are compared, for the table of connections."""
        return "scores at positive anchors"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        positive = context.positive_anchors
        return self.weight * anchor_logit_loss(student.anchor_maps, teacher.anchor_maps, positive)
