"""The paper's method with the weights that it publishes."""

from collections.abc import Mapping
from difflib import get_close_matches

from kd3d.distill.functional import Alignment, Space
from kd3d.distill.objectives.base import Objective
from kd3d.distill.objectives.label import LabelKD
from kd3d.distill.objectives.pivotal_logit import PivotalLogitKD
from kd3d.distill.objectives.regression import RegressionKD
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.errors import ConfigError

__all__ = ["SparseKD"]

#: Weight of the logits, weight of the boxes, least score of Vehicle, Pedestrian, Cyclist.
_PUBLISHED: Mapping[str, tuple[float, float, tuple[float, float, float]]] = {
    "cp_voxel_s": (10.0, 0.2, (0.6, 0.6, 0.6)),
    "cp_voxel_xs": (15.0, 0.2, (0.6, 0.6, 0.6)),
    "cp_voxel_xxs": (15.0, 0.2, (0.6, 0.6, 0.6)),
    "cp_pillar_v040": (7.0, 0.0, (0.6, 0.6, 0.6)),
    "cp_pillar_v048": (7.0, 0.0, (0.6, 0.5, 0.5)),
    "cp_pillar_v064": (7.0, 0.0, (0.6, 0.5, 0.5)),
}


class SparseKD(dict[str, Objective]):
    """The objectives of SparseKD by name, ready for `KDCallback`.

    Logits at the teacher's gaussian pivots, boxes at the objects' centres, and the teacher's
    confident boxes as labels: "Towards Efficient 3D Object Detection with Knowledge Distillation"
    (NeurIPS 2022, arXiv 2205.15156). With it belong a teacher whose norms use the batch's
    statistics (``teacher_mode="batch_stats"``) and a student that starts from the teacher's weights
    (`kd3d.inherit_weights`: "copy" for pillars, "prefix" for voxels).

    Args:
        logit: weight of `PivotalLogitKD`.
        regression: weight of `RegressionKD`; 0 leaves it out.
        thresholds: least scores of `LabelKD`.
        space: where boxes are compared; the paper's code compares raw channels ("code"), which
            needs equal grids.
        reference: the exact behaviour of the paper's code where the defaults differ: maps are
            stretched over each other whatever their ranges, and teacher boxes come before the
            ground truth among the targets.
        schedule: when all three act, see `Schedule`.

    Raises:
        ConfigError: if a weight or an option is out of its range.

    Example:
        >>> callback = KDCallback(
        ...     "teacher.ckpt", SparseKD.for_pair("cp_voxel_xs"), teacher_mode="batch_stats"
        ... )
    """

    def __init__(
        self,
        logit: float = 7.0,
        regression: float = 0.0,
        thresholds: float | tuple[float, ...] | Mapping[str, float] = 0.6,
        *,
        space: Space = "code",
        reference: bool = False,
        schedule: ScheduleLike | None = None,
    ) -> None:
        alignment: Alignment = "resize" if reference else "pivot"
        super().__init__(logit=PivotalLogitKD(logit, alignment=alignment, schedule=schedule))
        if regression:
            self["regression"] = RegressionKD(regression, space=space, schedule=schedule)
        self["label"] = LabelKD(thresholds, reference_order=reference, schedule=schedule)

    @classmethod
    def for_pair(
        cls, student: str, *, reference: bool = False, schedule: ScheduleLike | None = None
    ) -> "SparseKD":
        """Give the published weights of one of the paper's six pairs.

        Args:
            student: name of the student: cp_voxel_s, cp_voxel_xs, cp_voxel_xxs (of CP-Voxel),
                cp_pillar_v040, cp_pillar_v048 or cp_pillar_v064 (of CP-Pillar).
            reference: the exact behaviour of the paper's code.
            schedule: when all objectives act; the paper has none.

        Raises:
            ConfigError: if the paper has no such student.
        """
        if student not in _PUBLISHED:
            near = get_close_matches(student, _PUBLISHED, n=1, cutoff=0.0)
            raise ConfigError(
                f"the paper publishes no weights for {student!r}, only for "
                f"{', '.join(_PUBLISHED)}.",
                where="SparseKD.for_pair",
                hint=f"The nearest is {near[0]!r}; or give weights: SparseKD(logit, regression, "
                "thresholds).",
            )
        logit, regression, thresholds = _PUBLISHED[student]
        return cls(logit, regression, thresholds, reference=reference, schedule=schedule)
