"""Which objects student and teacher disagree about most: the instances of GID."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.distill.functional.aligned import probability
from kd3d.distill.functional.map_boxes import boxes_at
from kd3d.distill.functional.sampling import sample_at_centers
from kd3d.errors import ConfigError
from kd3d.geometry import BEVGrid
from kd3d.geometry.iou import iou_bev_aligned
from kd3d.structures import HeadMaps

__all__ = ["Instances", "check_instances", "select_instances"]

_BEFORE_NMS = 500


@dataclass(frozen=True, slots=True)
class Instances:
    """The boxes where two networks disagree most, padded.

    Args:
        boxes: ``[B, K, 7]`` float32 (x, y, z, length, width, height, heading), metres and radians;
            zeros in empty slots, which come last.
        labels: ``[B, K]`` int64 class whose probabilities differ most, -1 in empty slots.
        gaps: ``[B, K]`` float32 score gaps in falling order, 0 in empty slots.
    """

    boxes: Tensor
    labels: Tensor
    gaps: Tensor


@torch.no_grad()
def select_instances(
    student: HeadMaps, teacher: HeadMaps, *, most: int = 10, overlap: float = 0.3
) -> Instances:
    """Choose the general instances of a batch.

    At every cell of the teacher, with p the probabilities (the student's sampled at the cell's
    centre in metres) and c the classes:

        gap = max_c |p_teacher,c - p_student,c|
        box = the teacher's if max_c p_teacher,c > max_c p_student,c, else the student's

    The student's box is read at its own cell, in which that centre lies. Then greedy non-maximum
    suppression over all classes, from the largest gap down. From General Instance Distillation
    (Dai et al., CVPR 2021, arXiv 2103.02340), equations 1 to 3; there all locations take part in
    the suppression, here the 500 of a frame with the largest gaps. Nothing waits for the device.

    Args:
        student: the student's maps, any floating dtype; no gradient flows into them.
        teacher: the teacher's maps, with as many classes.
        most: instances per frame.
        overlap: bird's-eye-view IoU with a chosen box above which a box is dropped.

    Returns:
        At most `most` instances per frame. Cells where both agree exactly, cells outside the
        student's range, and boxes that are not finite are none.

    Raises:
        ConfigError: if an option is out of its range, or the maps do not fit.
    """
    check_instances(most, overlap)
    mine, theirs = probability(student.heatmap), probability(teacher.heatmap)
    if mine.shape[:2] != theirs.shape[:2]:
        raise ConfigError(
            f"student {tuple(mine.shape)} and teacher {tuple(theirs.shape)} differ in frames or "
            "classes.",
            where="heatmap",
        )
    mine, inside = sample_at_centers(mine, student.grid, teacher.grid)
    gap, label = (theirs - mine).abs().max(dim=1)
    of_teacher = theirs.amax(dim=1) > mine.amax(dim=1)

    gap = (gap * inside).flatten(1)
    gap, cells = gap.topk(min(_BEFORE_NMS, gap.shape[1]), dim=1)
    other = boxes_at(student, _same_place(cells, teacher.grid, student.grid))
    of_teacher = of_teacher.flatten(1).gather(1, cells)
    boxes = torch.where(of_teacher[..., None], boxes_at(teacher, cells), other)
    gap = torch.where(boxes.isfinite().all(dim=-1), gap, 0.0)
    labels = label.flatten(1).gather(1, cells)
    return _suppress(boxes.nan_to_num(0.0, 0.0, 0.0), labels, gap, most, overlap)


def check_instances(most: int, overlap: float) -> None:
    """Raise `ConfigError` if an option of `select_instances` is out of its range."""
    if most < 1:
        raise ConfigError(f"at least one instance per frame, not {most}.", where="most")
    if not 0 <= overlap <= 1:
        raise ConfigError(f"{overlap} is no overlap in [0, 1].", where="overlap")


def _same_place(cells: Tensor, source: BEVGrid, target: BEVGrid) -> Tensor:
    """Number the target's cells ``[B, K]`` that hold the centres of the source's cells."""
    middle = torch.stack((cells % source.width, cells // source.width), dim=-1) + 0.5
    column, row = target.to_cells(source.to_metres(middle)).floor().long().unbind(dim=-1)
    return row.clamp(0, target.height - 1) * target.width + column.clamp(0, target.width - 1)


def _suppress(boxes: Tensor, labels: Tensor, gaps: Tensor, most: int, overlap: float) -> Instances:
    """Choose greedily, one box of every frame in each round: no count is asked of the device."""
    frames, count = gaps.shape
    left, rounds = gaps, []
    for _ in range(min(most, count)):
        best = left.argmax(dim=1, keepdim=True)
        rounds.append(torch.cat((best, (left.gather(1, best) > 0).long()), dim=1))
        box = boxes.gather(1, best[..., None].expand(-1, -1, 7)).expand(-1, count, -1)
        iou = iou_bev_aligned(box.flatten(0, 1), boxes.flatten(0, 1)).view(frames, count)
        left = torch.where(iou > overlap, 0.0, left).scatter(1, best, 0.0)
    chosen, real = torch.stack(rounds, dim=1).unbind(dim=2)
    real = real.bool()
    return Instances(
        boxes=boxes.gather(1, chosen[..., None].expand(-1, -1, 7)) * real[..., None],
        labels=torch.where(real, labels.gather(1, chosen), -1),
        gaps=gaps.gather(1, chosen) * real,
    )
