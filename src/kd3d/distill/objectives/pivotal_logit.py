"""Pivotal-position logit distillation."""

from torch import Tensor

from kd3d.distill.functional import Alignment, Pivots, pivotal_logit_loss
from kd3d.distill.functional.pivots import check_pivots, needs_truth
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs

__all__ = ["PivotalLogitKD"]

_ALIGNED: dict[Alignment, str] = {
    "pivot": "pivot: student sampled at the teacher's cells",
    "resize": "resize: student's map stretched over the teacher's",
    "pool": "pool: finer map averaged over the coarser cells",
}
#: Weights by the kind of pivots: at the first as published, at the others chosen (weight-study.md).
_WEIGHTS: dict[Pivots, float] = {
    "gaussian": 7.0,
    "confidence": 15.0,
    "rank": 20.0,
    "foreground": 30.0,
    "all": 250.0,
}


class PivotalLogitKD(Objective):
    """Imitate the teacher's heatmap where it matters: at its pivotal positions.

        weight * sum_yx M * sum_c (p_student - p_teacher)^2 / (sum_yx M + 1e-6)

    See `kd3d.distill.functional.pivotal_logit_loss` for M and for how grids are aligned. From
    "Towards Efficient 3D Object Detection with Knowledge Distillation" (NeurIPS 2022,
    arXiv 2205.15156).

    Args:
        weight: factor of the loss; the paper's recipes use 7 (pillars), 10 or 15 (voxels). None is
            7 at gaussian pivots, and what suits the other kinds (docs/weight-study.md).
        pivots: "gaussian" (teacher confidence times ground-truth Gaussian; the paper's best),
            "foreground" (wherever that Gaussian is not zero), "confidence", "rank", or "all": the
            paper's plain logit distillation.
        threshold: teacher confidence above which a cell is a pivot ("confidence").
        top_k: how many of a frame's highest teacher scores make pivots ("rank").
        alignment: how maps of different cells are compared: "pivot" samples the student at the
            teacher's cells in metres, and is right for different ranges as well; "resize"
            stretches the student's map over the teacher's, as the paper's code does; "pool"
            averages the finer map over the cells of the coarser one.
        schedule: when the objective acts, see `Schedule`.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "logit"

    def __init__(
        self,
        weight: float | None = None,
        *,
        pivots: Pivots = "gaussian",
        threshold: float = 0.1,
        top_k: int = 500,
        alignment: Alignment = "pivot",
        schedule: ScheduleLike | None = None,
    ) -> None:
        check_pivots(pivots, threshold, top_k, alignment)
        super().__init__(_WEIGHTS[pivots] if weight is None else weight, schedule=schedule)
        self.pivots: Pivots = pivots
        self.threshold = threshold
        self.top_k = top_k
        self.alignment: Alignment = alignment

    @property
    def comparison(self) -> str:
        """Alignment and pivots, for the table of connections."""
        return f"{_ALIGNED[self.alignment]}; pivots: {self.pivots}"

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar."""
        return self.weight * pivotal_logit_loss(
            student.maps.heatmap,
            teacher.maps.heatmap,
            context.teacher_heat if needs_truth(self.pivots) else None,
            pivots=self.pivots,
            threshold=self.threshold,
            top_k=self.top_k,
            alignment=self.alignment,
            student_grid=student.maps.grid,
            teacher_grid=teacher.maps.grid,
        )
