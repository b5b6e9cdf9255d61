"""Box distillation between anchor heads."""

from torch import Tensor

from kd3d.distill.functional.anchor import anchor_regression_loss
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs

__all__ = ["AnchorRegressionKD"]


class AnchorRegressionKD(Objective):
    """Imitate the teacher's boxes of the anchors that stand for an object.

        weight * mean_frames sum_positive smooth_l1(b_student - b_teacher) / positive anchors

    with the sine of the difference of headings, and beta 1/9, as in the detection loss. From the
    authors' recipe for anchor heads (the SparseKD project's answer on SECOND and KITTI).

    Args:
        weight: factor of the loss; the authors use 0.2.
        schedule: when the objective acts, see `Schedule`.
    """

    name = "anchor_regression"
    map_names = ("box",)
    teacher_methods = ("assign_targets",)

    def __init__(self, weight: float = 0.2, *, schedule: ScheduleLike | None = None) -> None:
        super().__init__(weight, schedule=schedule)

    @property
    def comparison(self) -> str:
        """Where boxes are compared, for the table of connections."""
        return "boxes of positive anchors"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        positive = context.positive_anchors
        return self.weight * anchor_regression_loss(
            student.anchor_maps, teacher.anchor_maps, positive
        )
