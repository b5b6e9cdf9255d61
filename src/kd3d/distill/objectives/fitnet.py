"""FitNets: whole feature maps."""

from torch import Tensor

from kd3d.distill.functional.feature_l2 import feature_l2_loss
from kd3d.distill.objectives.base import StepContext
from kd3d.distill.objectives.feature import FeatureObjective
from kd3d.distill.views import Outputs

__all__ = ["FitNetKD"]


class FitNetKD(FeatureObjective):
    """Imitate a feature map of the teacher at every position.

        weight * sum_byx sum_c (f_student - f_teacher)^2 / (C * number of cells + 1e-6)

    on the coarser grid of the two. FitNets: Hints for Thin Deep Nets (Romero et al., ICLR 2015,
    arXiv 1412.6550); see `kd3d.distill.functional.feature_l2_loss`. Arguments are those of
    `FeatureObjective`.
    """

    name = "fitnet"
    default_weight = 4.0

    @property
    def comparison(self) -> str:
        """What is compared, for the table of connections."""
        return "features at all cells of the coarser grid"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        return self.weight * feature_l2_loss(self.aligned(student, teacher))
