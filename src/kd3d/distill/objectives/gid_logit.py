"""Logit distillation at the instances of GID."""

from torch import Tensor

from kd3d.distill.functional import gid_logit_loss
from kd3d.distill.functional.instances import check_instances
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs

__all__ = ["GIDLogitKD"]


class GIDLogitKD(Objective):
    """Imitate the teacher's heatmap where the two networks disagree most (GID-L).

        weight * sum_yx M * sum_c (p_student - p_teacher)^2 / (sum_yx M + 1e-6)

    M is 1 at the cells of the `most` boxes per frame with the largest score gaps
    max_c |p_teacher - p_student|, the box being that of the network with the higher score, after
    suppression of overlaps. No ground truth is needed. See
    `kd3d.distill.functional.gid_logit_loss`. From "General Instance Distillation for Object
    Detection" (CVPR 2021, arXiv 2103.02340).

    Args:
        weight: factor of the loss; None is `default_weight`.
        most: instances per frame.
        overlap: bird's-eye-view intersection over union above which the instance of the smaller gap
            is dropped.
        schedule: when the objective acts, see `Schedule`.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "gid_logit"
    default_weight = 3.0
    map_names = ("heatmap", "center", "center_z", "dim", "rot")

    def __init__(
        self,
        weight: float | None = None,
        *,
        most: int = 10,
        overlap: float = 0.3,
        schedule: ScheduleLike | None = None,
    ) -> None:
        super().__init__(weight, schedule=schedule)
        check_instances(most, overlap)
        self.most = most
        self.overlap = overlap

    @property
    def comparison(self) -> str:
        """Where the heatmaps are compared, for the table of connections."""
        return f"heatmaps at the {self.most} boxes of a frame whose scores differ most"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        return self.weight * gid_logit_loss(
            student.box_maps, teacher.box_maps, most=self.most, overlap=self.overlap
        )
