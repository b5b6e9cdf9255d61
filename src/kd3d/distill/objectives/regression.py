"""Box regression distillation."""

from collections.abc import Sequence

from torch import Tensor

from kd3d.distill.functional import Space, regression_kd_loss
from kd3d.distill.functional.regression import check_space
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs

__all__ = ["RegressionKD"]


class RegressionKD(Objective):
    """Imitate the teacher's boxes at the centres of the ground-truth objects.

        weight * sum_j w_j * sum_objects |b_student,j - b_teacher,j| / number of objects

    Each network is read at its own cell of an object, so grids may differ. See
    `kd3d.distill.functional.regression_kd_loss` for the eight values j of a box.

    Args:
        weight: factor of the loss; the paper's voxel recipes use 0.2.
        space: "metres" compares decoded boxes; "code" compares the raw channels, as the paper's
            code does, and needs equal grids.
        code_weights: factors w_j of the eight values; all 1 by default.
        schedule: when the objective acts, see `Schedule`.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "regression"
    default_weight = 0.2
    map_names = ("center", "center_z", "dim", "rot")

    def __init__(
        self,
        weight: float | None = None,
        *,
        space: Space = "metres",
        code_weights: Sequence[float] | None = None,
        schedule: ScheduleLike | None = None,
    ) -> None:
        super().__init__(weight, schedule=schedule)
        check_space(space, code_weights)
        self.space: Space = space
        self.code_weights = tuple(code_weights) if code_weights is not None else None

    @property
    def comparison(self) -> str:
        """Where and in what the boxes are compared, for the table of connections."""
        unit = "in metres" if self.space == "metres" else "by raw channels"
        return f"boxes at true centres, {unit}"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        return self.weight * regression_kd_loss(
            student.box_maps,
            teacher.box_maps,
            context.boxes,
            context.labels,
            space=self.space,
            code_weights=self.code_weights,
        )
