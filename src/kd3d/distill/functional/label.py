"""Choosing teacher boxes and putting them among the targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kd3d.errors import ConfigError
from kd3d.structures import Detections, TargetBoxes

__all__ = ["TeacherBoxes", "add_teacher_boxes", "select_teacher_boxes"]


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


@torch.no_grad()
def select_teacher_boxes(
    detections: Sequence[Detections],
    thresholds: Sequence[float],
    max_boxes: int | None = None,
) -> TeacherBoxes:
    """Keep the boxes that score above the threshold of their class.

    Args:
        detections: the teacher's boxes per frame, in falling order of score.
        thresholds: one per class; a box must score more.
        max_boxes: at most so many per frame, highest scores first.

    Returns:
        Padded boxes in falling order of score.
    """
    boxes = pad_sequence([frame.boxes for frame in detections], batch_first=True)
    scores = pad_sequence([frame.scores for frame in detections], batch_first=True)
    labels = pad_sequence(
        [frame.labels for frame in detections], batch_first=True, padding_value=-1
    )
    least = scores.new_tensor(list(thresholds))[labels.clamp(min=0)]
    keep = (labels >= 0) & (scores > least)
    order, count = _kept_first(keep, max_boxes)
    keep = keep.gather(1, order)[:, :count]
    return TeacherBoxes(
        boxes=_take(boxes, order, count) * keep[..., None],
        labels=_take(labels, order, count).masked_fill(~keep, -1),
        scores=_take(scores, order, count) * keep,
    )


@torch.no_grad()
def add_teacher_boxes(
    boxes: Tensor,
    labels: Tensor,
    teacher: TeacherBoxes,
    *,
    given: TargetBoxes | None = None,
    heat_weight: float = 1.0,
    box_weight: float = 1.0,
    teacher_first: bool = False,
) -> TargetBoxes:
    """Join ground truth and teacher boxes into one target list per frame.

    Args:
        boxes: ``[B, M, 7 or more]`` ground truth.
        labels: ``[B, M]`` class ids, -1 in empty slots.
        teacher: boxes to add.
        given: targets that already replace the ground truth (another teacher's); extended if given.
        heat_weight: height of the added boxes' peaks.
        box_weight: weight of the added boxes in the box loss.
        teacher_first: put the added boxes first.

    Returns:
        Targets without gaps: ground truth first (or last), empty slots at the end.

    Raises:
        ConfigError: if ground truth and teacher boxes have different columns.
    """
    if boxes.shape[-1] != teacher.boxes.shape[-1]:
        raise ConfigError(
            f"ground truth has {boxes.shape[-1]} columns, the teacher's boxes "
            f"{teacher.boxes.shape[-1]}.",
            where="LabelKD",
            hint="Use a teacher with the same head branches.",
        )
    own = given if given is not None else _as_targets(boxes, labels, False, 1.0, 1.0)
    added = _as_targets(teacher.boxes, teacher.labels, True, heat_weight, box_weight)
    first, second = (added, own) if teacher_first else (own, added)
    joined_labels = torch.cat((first.labels, second.labels), dim=1)
    order, count = _kept_first(joined_labels >= 0)

    def join(one: Tensor, other: Tensor) -> Tensor:
        return _take(torch.cat((one, other.to(one.dtype)), dim=1), order, count)

    return TargetBoxes(
        boxes=join(first.boxes, second.boxes),
        labels=join(first.labels, second.labels),
        from_teacher=join(first.from_teacher, second.from_teacher),
        heat_weight=join(first.heat_weight, second.heat_weight),
        box_weight=join(first.box_weight, second.box_weight),
    )


def _as_targets(
    boxes: Tensor, labels: Tensor, from_teacher: bool, heat_weight: float, box_weight: float
) -> TargetBoxes:
    filled = (labels >= 0).float()
    return TargetBoxes(
        boxes=boxes,
        labels=labels,
        from_teacher=(labels >= 0) & from_teacher,
        heat_weight=filled * heat_weight,
        box_weight=filled * box_weight,
    )


def _kept_first(keep: Tensor, limit: int | None = None) -> tuple[Tensor, int]:
    """Order slots ``[B, K]`` so that kept ones come first, and count how many slots are needed."""
    order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)
    count = int(keep.sum(dim=1).max()) if keep.numel() else 0
    return order, count if limit is None else min(count, limit)


def _take(values: Tensor, order: Tensor, count: int) -> Tensor:
    """Reorder slots of ``[B, K]`` or ``[B, K, c]`` and cut them to `count`."""
    order = order[:, :count]
    if values.ndim == 3:
        order = order[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, order)
