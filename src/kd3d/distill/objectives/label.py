"""Label distillation: confident teacher boxes as further targets."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kd3d.distill.functional import add_teacher_boxes, select_teacher_boxes
from kd3d.distill.objectives.base import Objective, StepContext
from kd3d.errors import ConfigError

__all__ = ["LabelKD"]


class LabelKD(Objective):
    """Add the teacher's confident boxes to what the student is trained on.

    The teacher decodes without suppression of overlaps; boxes that score above their class's
    threshold join the ground truth in the student's *targets* (`PointBatch.targets`). The batch's
    ground truth stays as it is for every other objective and metric. Ground truth comes first, so
    a limit on the number of targets never costs a true object. From arXiv 2205.15156, where most
    of the gain comes from the boxes' regression targets.

    Args:
        thresholds: least score, exclusive: one for all classes, one per class in class order, or a
            mapping of every class name. The paper uses 0.6 (pillars: 0.6, 0.5, 0.5).
        weight: factor of both weights below; 0 switches the objective off.
        heat_weight: height of a teacher box's peak in the student's target heatmap.
        box_weight: weight of a teacher box in the student's box loss.
        max_boxes: at most so many teacher boxes per frame, the highest scores first; None: all.
        reference_order: put teacher boxes before the ground truth, as the paper's code does; a
            limit on the number of targets then drops true objects.

    Raises:
        ConfigError: if an option is out of its range.
    """

    name = "label"
    teacher_methods = ("decode",)
    has_loss = False

    def __init__(
        self,
        thresholds: float | Sequence[float] | Mapping[str, float] = 0.6,
        weight: float = 1.0,
        *,
        heat_weight: float = 1.0,
        box_weight: float = 1.0,
        max_boxes: int | None = None,
        reference_order: bool = False,
    ) -> None:
        super().__init__(weight)
        if max_boxes is not None and max_boxes < 1:
            raise ConfigError(f"at least one box, not {max_boxes}.", where="max_boxes")
        self.thresholds: float | dict[str, float] | tuple[float, ...]
        if isinstance(thresholds, Mapping):
            self.thresholds = {str(name): float(value) for name, value in thresholds.items()}
        elif isinstance(thresholds, Sequence):
            self.thresholds = tuple(float(value) for value in thresholds)
        else:
            self.thresholds = float(thresholds)
        self.heat_weight = heat_weight
        self.box_weight = box_weight
        self.max_boxes = max_boxes
        self.reference_order = reference_order

    def amend(self, context: StepContext, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Give the batch with the teacher's boxes among its targets.

        Raises:
            ConfigError: if the batch has no ``with_targets`` or thresholds do not fit the classes.
        """
        if not hasattr(batch, "with_targets"):
            raise ConfigError(
                f"a batch of {type(batch).__name__} cannot be given other targets.",
                where="LabelKD",
                hint="Yield kd3d.PointBatch, or give the batch with_targets(TargetBoxes).",
            )
        chosen = select_teacher_boxes(
            context.teacher_boxes, self._per_class(context.teacher.classes), self.max_boxes
        )
        context.observed["teacher_boxes"] = _per_frame(chosen.labels)
        targets = add_teacher_boxes(
            context.boxes,
            context.labels,
            chosen,
            given=getattr(batch, "targets", None),
            heat_weight=self.weight * self.heat_weight,
            box_weight=self.weight * self.box_weight,
            teacher_first=self.reference_order,
        )
        return batch.with_targets(targets)

    def _per_class(self, classes: Sequence[str]) -> tuple[float, ...]:
        if isinstance(self.thresholds, float):
            return (self.thresholds,) * len(classes)
        if isinstance(self.thresholds, dict):
            if set(self.thresholds) != set(classes):
                raise ConfigError(
                    f"thresholds for {sorted(self.thresholds)}, classes are {list(classes)}.",
                    where="LabelKD.thresholds",
                    hint="Give exactly one threshold per class.",
                )
            return tuple(self.thresholds[name] for name in classes)
        if len(self.thresholds) != len(classes):
            raise ConfigError(
                f"{len(self.thresholds)} thresholds for {len(classes)} classes.",
                where="LabelKD.thresholds",
                hint="Give exactly one threshold per class, or a single one for all.",
            )
        return self.thresholds


def _per_frame(labels: Tensor) -> Tensor:
    return (labels >= 0).sum() / max(len(labels), 1)
