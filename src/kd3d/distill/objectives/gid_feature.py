"""GID-F: features of the instances about which both networks disagree most."""

from torch import Tensor

from kd3d.distill.functional.instances import check_instances, select_instances
from kd3d.distill.functional.roi_features import (
    check_roi_size,
    pool_pair,
    relation_loss,
    roi_feature_loss,
)
from kd3d.distill.objectives.base import StepContext
from kd3d.distill.objectives.feature import Adapter, FeatureObjective
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.views import Outputs
from kd3d.errors import ConfigError

__all__ = ["GIDFeatureKD"]


class GIDFeatureKD(FeatureObjective):
    """Imitate features, and distances between features, of the most discriminative instances.

        weight * (sum_points sum_c (f_student - f_teacher)^2 / (C * number of points + 1e-6)
                  + relation_weight * 1 / B * sum_b mean_(i != j) l(D_teacher, D_student))

    inside the instances of `kd3d.distill.functional.select_instances`, sampled as by `MimicKD`; D
    are the squared distances between the features of two instances of a frame, divided by the
    frame's mean, and l is the smooth-L1 distance. Feature and relation terms of General Instance
    Distillation (Dai et al., CVPR 2021, arXiv 2103.02340); its response term is `GIDLogitKD`. See
    `kd3d.distill.functional.relation_loss`.

    Args:
        weight: factor of the term; None is `default_weight`.
        relation_weight: factor of the relation term within it; 0 leaves it out.
        most: instances per frame.
        overlap: bird's-eye-view IoU above which an instance with a smaller score gap is dropped.
        size: points along each side of a box.
        student_tap: see `FeatureObjective`.
        teacher_tap: likewise.
        adapter: likewise.
        norm: likewise.
        schedule: when the objective acts; always, with its whole weight, if None.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "gid_f"
    default_weight = 4.5

    def __init__(
        self,
        weight: float | None = None,
        *,
        relation_weight: float = 1.0,
        most: int = 10,
        overlap: float = 0.3,
        size: int = 7,
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
        if not 0 <= relation_weight < float("inf"):
            raise ConfigError(
                f"{relation_weight} is no weight.", where="relation_weight", hint="Give 0 or more."
            )
        check_instances(most, overlap)
        check_roi_size(size)
        self.relation_weight = relation_weight
        self.most = most
        self.overlap = overlap
        self.size = size

    @property
    def comparison(self) -> str:
        """What is compared, for the table of connections."""
        return (
            f"features at {self.size} x {self.size} points in the {self.most} boxes with the "
            "largest score gaps, and their distances"
        )

    def forward(self, student: Outputs, teacher: Outputs, context: StepContext) -> Tensor:
        """Give the weighted loss, a float32 scalar; zero if both networks agree everywhere."""
        found = select_instances(
            student.box_maps, teacher.box_maps, most=self.most, overlap=self.overlap
        )
        features = self.on_own_grids(student, teacher)
        rois = pool_pair(*features, found.boxes, found.labels, self.size)
        loss = roi_feature_loss(rois)
        if self.relation_weight:
            loss = loss + self.relation_weight * relation_loss(rois)
        return self.weight * loss
