"""Fine-grained imitation: feature maps where objects are."""

from typing import Literal, get_args

from torch import Tensor

from kd3d.distill.functional.feature_l2 import feature_l2_loss
from kd3d.distill.objectives.base import StepContext
from kd3d.distill.objectives.feature import Adapter, FeatureObjective
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.truth_heat import truth_heat
from kd3d.distill.views import Outputs
from kd3d.errors import ConfigError

__all__ = ["ForegroundKD", "ForegroundMask"]

ForegroundMask = Literal["hard", "soft"]


class ForegroundKD(FeatureObjective):
    """Imitate a feature map of the teacher in the foreground.

        weight * sum_byx M * sum_c (f_student - f_teacher)^2 / (C * sum_byx M + 1e-6)

    on the coarser grid of the two. G being the ground truth's Gaussians (CenterPoint's) drawn on
    that grid, M is 1 where some G is above 0 ("hard"), or max_c G ("soft"). After Distilling Object
    Detectors with Fine-grained Feature Imitation (Wang et al., CVPR 2019, arXiv 1906.03609), with
    the mask that the code of arXiv 2205.15156 takes in place of anchors. See
    `kd3d.distill.functional.feature_l2_loss`.

    Args:
        weight: factor of the term; None is `default_weight`.
        mask: "hard" or "soft".
        student_tap: see `FeatureObjective`.
        teacher_tap: likewise.
        adapter: likewise.
        norm: likewise.
        schedule: when the objective acts; always, with its whole weight, if None.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "fg"
    default_weight = 15.0

    def __init__(
        self,
        weight: float | None = None,
        *,
        mask: ForegroundMask = "hard",
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
        if mask not in get_args(ForegroundMask):
            raise ConfigError(
                f"{mask!r} is not one of {list(get_args(ForegroundMask))}.", where="mask"
            )
        self.mask: ForegroundMask = mask

    @property
    def comparison(self) -> str:
        """What is compared, for the table of connections."""
        return f"features in the foreground of the coarser grid ({self.mask} mask)"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar; zero if the batch has no object."""
        pair = self.aligned(student, teacher)
        classes = student.maps.heatmap.shape[1]
        heat = truth_heat(context.boxes, context.labels, pair.grid, classes).amax(dim=1)
        mask = heat if self.mask == "soft" else (heat > 0).float()
        return self.weight * feature_l2_loss(pair, mask)
