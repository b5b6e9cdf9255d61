"""CWD: channels as distributions over the ground."""

from torch import Tensor

from kd3d.distill.functional.channel_kl import channel_kl_loss, check_temperature
from kd3d.distill.objectives.base import StepContext
from kd3d.distill.objectives.feature import Adapter, FeatureObjective
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs

__all__ = ["ChannelWiseKD"]


class ChannelWiseKD(FeatureObjective):
    """Imitate where in the scene each of the teacher's channels is strong.

        weight * T^2 / (B * C) * sum_bc KL(softmax_yx(f_teacher / T) || softmax_yx(f_student / T))

    on the coarser grid of the two. Channel-wise Knowledge Distillation for Dense Prediction (Shu et
    al., ICCV 2021, arXiv 2011.13256); see `kd3d.distill.functional.channel_kl_loss`.

    Args:
        weight: factor of the term; None is `default_weight`.
        temperature: T; the paper's 4 by default.
        student_tap: see `FeatureObjective`.
        teacher_tap: likewise.
        adapter: likewise.
        norm: likewise.
        schedule: when the objective acts; always, with its whole weight, if None.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "cwd"
    default_weight = 2.0

    def __init__(
        self,
        weight: float | None = None,
        *,
        temperature: float = 4.0,
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
        check_temperature(temperature)
        self.temperature = temperature

    @property
    def comparison(self) -> str:
        """What is compared, for the table of connections."""
        return f"softmax of each channel over the coarser grid (T {self.temperature:g})"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        return self.weight * channel_kl_loss(self.aligned(student, teacher), self.temperature)
