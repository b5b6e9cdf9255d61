"""Choosing teacher boxes and putting them among the targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kd3d.distill.functional.truth_overlap import truth_overlap
from kd3d.errors import ConfigError
from kd3d.geometry.constants import constant
from kd3d.structures import Detections, TargetBoxes

__all__ = ["TeacherBoxes", "add_teacher_boxes", "select_teacher_boxes", "truth_targets"]


@dataclass(frozen=True, slots=True)
class TeacherBoxes:
    """The boxes that a teacher is sure of, padded.

    Args:
        boxes: ``[B, K, 7 or more]`` float32, zeros in empty slots.
        labels: ``[B, K]`` int64 class ids, -1 in empty slots, which come last.
        scores: ``[B, K]`` float32 in falling order, 0 in empty slots.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def first(self, count: int | None) -> "TeacherBoxes":
        """Leave only the `count` highest scores of each frame; None leaves all."""
        return TeacherBoxes(self.boxes[:, :count], self.labels[:, :count], self.scores[:, :count])

    def where(self, kept: Tensor) -> "TeacherBoxes":
        """Leave only the boxes for which ``[B, K]`` bool `kept` is true; the slots stay K."""
        order = _kept_first(kept)
        kept = kept.gather(1, order)
        return TeacherBoxes(
            boxes=torch.where(kept[..., None], _take(self.boxes, order), 0.0),
            labels=torch.where(kept, _take(self.labels, order), -1),
            scores=torch.where(kept, _take(self.scores, order), 0.0),
        )


@torch.no_grad()
def select_teacher_boxes(
    detections: Sequence[Detections],
    thresholds: Sequence[float],
    *,
    by_overlap: Sequence[bool] = (),
    boxes: Tensor | None = None,
    labels: Tensor | None = None,
) -> TeacherBoxes:
    """Keep the boxes that are better than the threshold of their class.

    How good a box is is its score or, for the classes of `by_overlap`, its greatest 3D
    intersection over union with a box of the ground truth, whatever the class of either (as in
    arXiv 2205.15156). Nothing waits for the device.

    Args:
        detections: the teacher's boxes per frame, in falling order of score.
        thresholds: one per class; a box must be better.
        by_overlap: one per class, whether overlap counts; empty: scores count for all.
        boxes: ``[B, M, 7 or more]`` ground truth; for overlaps.
        labels: ``[B, M]`` class ids of the ground truth, -1 in empty slots; for overlaps.

    Returns:
        Padded boxes in falling order of score, with as many slots as the longest frame has
        detections: how many are filled is known to the device alone.

    Raises:
        ConfigError: if overlaps count, and there is no ground truth.
    """
    found = TeacherBoxes(
        boxes=pad_sequence([frame.boxes for frame in detections], batch_first=True),
        labels=pad_sequence(
            [frame.labels for frame in detections], batch_first=True, padding_value=-1
        ),
        scores=pad_sequence([frame.scores for frame in detections], batch_first=True),
    )
    class_ids = found.labels.clamp(min=0)
    quality = found.scores
    if any(by_overlap):
        overlap = truth_overlap(found.boxes, *_needed(boxes, labels))
        counts = constant([float(value) for value in by_overlap], quality)[class_ids] > 0
        quality = torch.where(counts, overlap, quality)
    least = constant(thresholds, quality)[class_ids]
    return found.where((found.labels >= 0) & (quality > least))


def _needed(boxes: Tensor | None, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    if boxes is None or labels is None:
        raise ConfigError(
            "boxes are chosen by their overlap with the ground truth, which is not given.",
            where="select_teacher_boxes",
            hint="Give boxes and labels, or choose by score.",
        )
    return boxes, labels


def truth_targets(boxes: Tensor, labels: Tensor) -> TargetBoxes:
    """Give ground truth ``[B, M, 7 or more]`` with labels ``[B, M]`` as targets of weight 1."""
    return _as_targets(boxes, labels, torch.ones_like(boxes[..., 0]), 1.0, from_teacher=False)


@torch.no_grad()
def add_teacher_boxes(
    targets: TargetBoxes,
    teacher: TeacherBoxes,
    *,
    heat_weight: float = 1.0,
    box_weight: float = 1.0,
    soft: bool = False,
    teacher_first: bool = False,
) -> TargetBoxes:
    """Join targets and teacher boxes into one target list per frame.

    The peak of an added box is ``min(heat_weight, 1)``, or with `soft` ``min(heat_weight * score,
    1)``. Below 1 a peak h makes no positive of its cell for the penalty-reduced focal loss; along
    its Gaussian G the cells become softer negatives: -log(1 - p) p^2 (1 - h G)^4, where a harder
    target is not there already.

    Args:
        targets: what there is: `truth_targets`, or those that another teacher's boxes joined.
        teacher: boxes to add; columns that the targets lack are left out.
        heat_weight: factor of the added boxes' peaks, not negative; 0 draws no heat.
        box_weight: weight of the added boxes in the box loss; 0 leaves them out of it.
        soft: peaks are in proportion to the teacher's scores.
        teacher_first: put the added boxes first.

    Returns:
        Targets with one slot for each slot given, empty slots at the end of each frame: what there
        was first (or last).

    Raises:
        ConfigError: if the teacher's boxes have fewer columns than the targets.
    """
    columns = targets.boxes.shape[-1]
    if teacher.boxes.shape[-1] < columns:
        raise ConfigError(
            f"ground truth has {columns} columns, the teacher's boxes {teacher.boxes.shape[-1]}.",
            where="LabelKD",
            hint="Use a teacher with the same head branches.",
        )
    scores = teacher.scores if soft else torch.ones_like(teacher.scores)
    added = _as_targets(
        teacher.boxes[..., :columns],
        teacher.labels,
        (heat_weight * scores).clamp(max=1),
        box_weight,
        from_teacher=True,
    )
    first, second = (added, targets) if teacher_first else (targets, added)
    order = _kept_first(torch.cat((first.labels, second.labels), dim=1) >= 0)

    def join(one: Tensor, other: Tensor) -> Tensor:
        return _take(torch.cat((one, other.to(one.dtype)), dim=1), order)

    return TargetBoxes(
        boxes=join(first.boxes, second.boxes),
        labels=join(first.labels, second.labels),
        from_teacher=join(first.from_teacher, second.from_teacher),
        heat_weight=join(first.heat_weight, second.heat_weight),
        box_weight=join(first.box_weight, second.box_weight),
    )


def _as_targets(
    boxes: Tensor, labels: Tensor, peaks: Tensor, box_weight: float, *, from_teacher: bool
) -> TargetBoxes:
    filled = labels >= 0
    return TargetBoxes(
        boxes=boxes,
        labels=labels,
        from_teacher=filled & from_teacher,
        heat_weight=filled * peaks.float(),
        box_weight=filled.float() * box_weight,
    )


def _kept_first(kept: Tensor) -> Tensor:
    """Order slots ``[B, K]`` so that kept ones come first, in the order they have."""
    return torch.argsort((~kept).to(torch.int8), dim=1, stable=True)


def _take(values: Tensor, order: Tensor) -> Tensor:
    """Reorder slots of ``[B, K]`` or ``[B, K, c]``; `order` may name only some."""
    if values.ndim == 3:
        order = order[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, order)
