"""Label distillation: confident teacher boxes as further targets."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kd3d.distill.functional import (
    Duplicates,
    add_teacher_boxes,
    drop_duplicates,
    select_teacher_boxes,
    truth_targets,
)
from kd3d.distill.functional.duplicates import check_duplicates
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.distill.objectives.label_selection import (
    SelectBy,
    as_selection,
    as_thresholds,
    overlap_counts,
    thresholds_of,
)
from kd3d.distill.objectives.schedule import ScheduleLike
from kd3d.distill.predicted import PredictedBoxes
from kd3d.distill.prediction_source import Source
from kd3d.errors import ConfigError, TeacherError
from kd3d.geometry import BEVGrid
from kd3d.structures import Detections, TargetBoxes

__all__ = ["LabelKD"]


class LabelKD(Objective):
    """Add the teacher's confident boxes to what the student is trained on.

    The teacher decodes without suppression of overlaps; boxes that are better than their class's
    threshold (by default: that score more) join the ground truth in the student's *targets*
    (`TargetBoxes`), each with its source and with a weight for the heatmap and one for the box
    loss. The batch's ground truth stays as it is for every other objective and metric. Ground truth
    comes first, so a limit on the number of targets never costs a true object. From
    arXiv 2205.15156, where most of the gain comes from the boxes' regression targets.

    Args:
        thresholds: least score or overlap, exclusive: one for all classes, one per class in class
            order, or a mapping of every class name. The paper uses 0.6 (pillars: 0.6, 0.5, 0.5).
        select_by: what must be above the threshold: the "score" of a box; its greatest 3D
            intersection over union with the ground truth ("iou"); "mixed", the paper's choice of
            "iou" for Vehicle and "score" for other classes; or a mapping of every class name to
            "score" or "iou".
        weight: factor of both weights below; 0 switches the objective off.
        heat_weight: height of a teacher box's peak in the student's target heatmap; together with
            `weight` (and the score, if soft) at most 1. 0: the boxes are for the box loss only.
        box_weight: weight of a teacher box in the student's box loss. 0: for the heatmap only.
        soft_targets: multiply the peak by the teacher's score. A peak below 1 makes no positive
            for the focal loss but softens the penalty around it, see
            `kd3d.distill.functional.add_teacher_boxes`.
        duplicates: "keep" all boxes; drop those whose "cell" on the student's grid is taken by the
            ground truth or a better box; or those that overlap one ("iou"). See
            `kd3d.distill.functional.drop_duplicates`.
        duplicate_overlap: bird's-eye-view intersection over union from which, exclusive, "iou"
            drops a box.
        grid: the student's grid, for "cell"; by default the attribute ``grid`` of the student's
            detector.
        max_boxes: at most so many teacher boxes per frame, the highest scores first, duplicates not
            counted; None: all.
        predictions: boxes from files instead of a teacher network: `PredictedBoxes`, or what it
            takes as sources (paths of ``.parquet``, ``.bin`` or OpenPCDet's ``.npz`` files), to be
            opened for the student's classes when they are needed.
        reference_order: the exact behaviour of the paper's code: teacher boxes in falling order of
            score before the ground truth, so that a limit on the number of targets drops true
            objects; duplicates are kept, and all count in the box loss's normaliser.
        schedule: when the objective acts, see `Schedule`.

    Raises:
        ConfigError: if an option is out of its range, or contradicts `reference_order`.

    Example:
        >>> label = LabelKD({"Vehicle": 0.6, "Pedestrian": 0.5, "Cyclist": 0.5}, duplicates="cell")
    """

    name = "label"
    has_loss = False

    def __init__(
        self,
        thresholds: float | Sequence[float] | Mapping[str, float] = 0.6,
        weight: float = 1.0,
        *,
        select_by: SelectBy | Mapping[str, str] = "score",
        heat_weight: float = 1.0,
        box_weight: float = 1.0,
        soft_targets: bool = False,
        duplicates: Duplicates = "keep",
        duplicate_overlap: float = 0.5,
        grid: BEVGrid | None = None,
        max_boxes: int | None = None,
        predictions: PredictedBoxes | Source | Sequence[Source] | None = None,
        reference_order: bool = False,
        schedule: ScheduleLike | None = None,
    ) -> None:
        super().__init__(weight, schedule=schedule)
        _check_weights(heat_weight, box_weight)
        check_duplicates(duplicates, duplicate_overlap)
        if max_boxes is not None and max_boxes < 1:
            raise ConfigError(f"at least one box, not {max_boxes}.", where="max_boxes")
        if reference_order and (soft_targets or duplicates != "keep"):
            raise ConfigError(
                "the paper's code has neither soft targets nor a rule for duplicates.",
                where="reference_order",
                hint="Leave soft_targets and duplicates as they are by default.",
            )
        self.thresholds = as_thresholds(thresholds)
        self.select_by = as_selection(select_by)
        self.heat_weight = heat_weight
        self.box_weight = box_weight
        self.soft_targets = soft_targets
        self.duplicates: Duplicates = duplicates
        self.duplicate_overlap = duplicate_overlap
        self.grid = grid
        self.max_boxes = max_boxes
        self.predictions = predictions
        self.reference_order = reference_order
        self.needs_teacher = predictions is None
        self.teacher_methods = ("decode",) if self.needs_teacher else ()

    @property
    def comparison(self) -> str:
        """Whose boxes join the targets, for the table of connections."""
        boxes = "teacher's boxes" if self.needs_teacher else f"boxes of {self.predictions}"
        how = "that score" if self.select_by == "score" else f"chosen by {self.select_by},"
        return f"{boxes} {how} more than {self.thresholds} join the targets"

    def amend(self, context: StepContext, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Give the batch with the teacher's boxes among its targets.

        Raises:
            ConfigError: if the batch cannot be given targets, thresholds or `select_by` do not
                fit the classes, or "cell" meets a student whose grid is not known.
        """
        grid = self.grid if self.grid is not None else context.student_grid
        targets = _targets_so_far(context, batch)
        found = self._boxes(context, grid)
        by_overlap = overlap_counts(self.select_by, context.classes)
        truth = (context.boxes, context.labels) if any(by_overlap) else (None, None)
        chosen = select_teacher_boxes(
            found,
            thresholds_of(self.thresholds, context.classes),
            by_overlap=by_overlap,
            boxes=truth[0],
            labels=truth[1],
        )
        chosen = drop_duplicates(
            chosen,
            targets.boxes,
            targets.labels,
            rule=self.duplicates,
            grid=grid,
            overlap=self.duplicate_overlap,
        ).first(self.max_boxes)
        context.observed["teacher_boxes"] = _per_frame(chosen.labels)
        weight = self.factor * self.weight
        context.targets = add_teacher_boxes(
            targets,
            chosen,
            heat_weight=weight * self.heat_weight,
            box_weight=weight * self.box_weight,
            soft=self.soft_targets,
            teacher_first=self.reference_order,
        )
        return context.batch_view.give_targets(batch, context.targets)

    def predicted(self, classes: Sequence[str]) -> PredictedBoxes | None:
        """Give the boxes from files, which are opened if they are not yet; None without files.

        Args:
            classes: the student's class names in order.

        Raises:
            TeacherError: if the boxes are of other classes.
            Kd3dError: as `PredictedBoxes` does.
        """
        if self.predictions is None:
            return None
        if not isinstance(self.predictions, PredictedBoxes):
            self.predictions = PredictedBoxes(self.predictions, classes)
        if self.predictions.classes != tuple(classes):
            raise TeacherError(
                f"the predictions' classes {list(self.predictions.classes)} are not the student's "
                f"{list(classes)}.",
                where="LabelKD.predictions",
                hint="Give PredictedBoxes the student's classes, in the student's order.",
            )
        return self.predictions

    def _boxes(self, context: StepContext, grid: BEVGrid | None) -> list[Detections]:
        predicted = self.predicted(context.classes)
        if predicted is None:
            return context.teacher_boxes
        return predicted.detections(
            context.frame_ids,
            context.boxes.device,
            world=context.batch_view.read_world(context.batch),
            within=grid,
        )


def _check_weights(heat_weight: float, box_weight: float) -> None:
    for name, value in (("heat_weight", heat_weight), ("box_weight", box_weight)):
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"{value} is no weight.", where=name, hint="Give 0 or more.")
    if heat_weight == box_weight == 0:
        raise ConfigError(
            "boxes that count neither for the heatmap nor for the box loss teach nothing.",
            where="heat_weight, box_weight",
            hint="To switch label distillation off, use weight=0.",
        )


def _targets_so_far(context: StepContext, batch: Any) -> TargetBoxes:  # noqa: ANN401 - any batch
    """Give the ground truth, or what another teacher has made of it already."""
    given = context.targets if context.targets is not None else getattr(batch, "targets", None)
    if isinstance(given, TargetBoxes):
        return given
    return truth_targets(context.boxes, context.labels)


def _per_frame(labels: Tensor) -> Tensor:
    return (labels >= 0).sum() / max(len(labels), 1)
