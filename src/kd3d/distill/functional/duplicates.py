"""Which teacher boxes repeat an object that is among the targets already."""

from typing import Literal, get_args

import torch
from torch import Tensor

from kd3d.distill.functional.label import TeacherBoxes
from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid
from kd3d.geometry.iou import iou_bev
from kd3d.geometry.nms import nms_rotated

__all__ = ["Duplicates", "check_duplicates", "drop_duplicates"]

Duplicates = Literal["keep", "cell", "iou"]


@torch.no_grad()
def drop_duplicates(
    teacher: TeacherBoxes,
    boxes: Tensor,
    labels: Tensor,
    *,
    rule: Duplicates,
    grid: BEVGrid | None = None,
    overlap: float = 0.5,
) -> TeacherBoxes:
    """Drop the teacher's boxes that repeat a target or a better box of the teacher.

    A teacher's object fires in neighbouring cells, and on top of the ground truth; all of these
    boxes are drawn and regressed, several of them perhaps in one cell, which has one box to give.
    Classes do not matter: one place holds one object.

    ====  ====================================================================================
    keep  drop none, as the paper's code (arXiv 2205.15156)
    cell  drop a box whose centre's cell holds a target, or a teacher's box with a higher score; as
          for targets, a centre outside the grid counts for the border cell next to it
    iou   drop a box that overlaps a target by more than `overlap` in bird's-eye view; then
          suppress the rest among themselves, greedily from the highest score, by the same overlap.
          On CUDA this waits for the device
    ====  ====================================================================================

    Args:
        teacher: the boxes to choose from.
        boxes: ``[B, M, 7 or more]`` the targets; all of them stay.
        labels: ``[B, M]`` class ids of the targets, -1 in empty slots.
        rule: which boxes are duplicates.
        grid: the student's grid, for "cell".
        overlap: intersection over union in [0, 1], for "iou".

    Returns:
        The teacher's boxes that are left, in the same order.

    Raises:
        ConfigError: if an option is out of its range, or "cell" has no grid.
    """
    check_duplicates(rule, overlap)
    if rule == "keep" or not teacher.labels.shape[1]:
        return teacher
    if rule == "iou":
        return teacher.where(_not_overlapping(teacher, boxes, labels, overlap))
    if grid is None:
        raise ConfigError(
            "the cells in which boxes are duplicates are those of the student's grid, which is "
            "not known.",
            where="duplicates='cell'",
            hint="Give the grid, or use duplicates='iou'.",
        )
    return teacher.where(_in_free_cells(teacher, boxes, labels, grid))


def check_duplicates(rule: str, overlap: float) -> None:
    """Raise `ConfigError` if an option of `drop_duplicates` is out of its range."""
    if rule not in get_args(Duplicates):
        raise ConfigError(
            f"{rule!r} is not one of {list(get_args(Duplicates))}.", where="duplicates"
        )
    if not 0 <= overlap <= 1:
        raise ConfigError(f"{overlap} is no overlap in [0, 1].", where="duplicate_overlap")


def _in_free_cells(teacher: TeacherBoxes, boxes: Tensor, labels: Tensor, grid: BEVGrid) -> Tensor:
    """Tell ``[B, K]`` which boxes are the first in their cell."""
    filled = teacher.labels >= 0
    cells, taken = _cell_of(teacher.boxes, grid), _cell_of(boxes, grid)
    on_target = ((cells[:, :, None] == taken[:, None]) & (labels >= 0)[:, None]).any(dim=2)
    shared = (cells[:, :, None] == cells[:, None]) & filled[:, None]
    return filled & ~on_target & ~shared.tril(diagonal=-1).any(dim=2)


def _cell_of(boxes: Tensor, grid: BEVGrid) -> Tensor:
    """Number ``[B, M]`` of the cell that a box's centre is assigned to."""
    column, row = grid.to_cells(boxes[..., :2].float()).long().unbind(dim=-1)
    return row.clamp(0, grid.height - 1) * grid.width + column.clamp(0, grid.width - 1)


def _not_overlapping(
    teacher: TeacherBoxes, boxes: Tensor, labels: Tensor, overlap: float
) -> Tensor:
    """Tell ``[B, K]`` which boxes overlap neither a target nor a better box that is left."""
    kept = torch.zeros_like(teacher.labels, dtype=torch.bool)
    for frame, (found, scores, own) in enumerate(
        zip(teacher.boxes[..., :7].float(), teacher.scores, boxes[..., :7].float(), strict=True)
    ):
        own = own[labels[frame] >= 0]
        free = teacher.labels[frame] >= 0
        if len(own):
            free = free & (iou_bev(found, own).amax(dim=1) <= overlap)
        left = free.nonzero()[:, 0]
        best = nms_rotated(found[left], scores[left], overlap, pre=len(found), post=len(found))
        kept[frame, left[best]] = True
    return kept
