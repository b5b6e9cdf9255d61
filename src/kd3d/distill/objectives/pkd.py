"""PKD: correlation of feature maps."""

from torch import Tensor

from kd3d.distill.functional.pearson import pearson_loss
from kd3d.distill.objectives.base import StepContext
from kd3d.distill.objectives.feature import FeatureObjective
from kd3d.distill.views import Outputs

__all__ = ["PearsonKD"]


class PearsonKD(FeatureObjective):
    """Imitate where the teacher's channels are high and low, whatever their size and offset.

        weight * mean_c (1 - r_c)

    with r_c the Pearson correlation of channel c over all cells of the batch, on the coarser grid
    of the two. PKD: General Distillation Framework for Object Detectors via Pearson Correlation
    Coefficient (Cao et al., NeurIPS 2022, arXiv 2207.02039); see
    `kd3d.distill.functional.pearson_loss`. Arguments are those of `FeatureObjective`.
    """

    name = "pkd"
    default_weight = 3.0

    @property
    def comparison(self) -> str:
        """What is compared, for the table of connections."""
        return "correlation of each channel over the coarser grid"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        return self.weight * pearson_loss(self.aligned(student, teacher))
