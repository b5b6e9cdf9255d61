"""Two networks' heatmaps as probabilities on the cells of one grid."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kd3d.distill.functional.pivots import Alignment
from kd3d.distill.functional.sampling import average_over_cells, check_on_grid, sample_at_centers
from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = ["AlignedHeat", "align_heatmaps", "probability"]

_EDGE = 1e-4  # the detection loss clamps probabilities so, and both maps must be read alike


@dataclass(frozen=True, slots=True)
class AlignedHeat:
    """Maps on the cells of one grid.

    Args:
        student: ``[B, C, H, W]`` float32 probabilities of the student, with gradients.
        teacher: ``[B, C, H, W]`` float32 probabilities of the teacher, without.
        heat: ``[B, C, H, W]`` the ground truth's Gaussians, if they were given.
        inside: ``[H, W]`` bool, whether both networks see the cell; None: all of them do.
    """

    student: Tensor
    teacher: Tensor
    heat: Tensor | None
    inside: Tensor | None


def align_heatmaps(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target_heatmap: Tensor | None = None,
    *,
    alignment: Alignment = "pivot",
    student_grid: BEVGrid | None = None,
    teacher_grid: BEVGrid | None = None,
) -> AlignedHeat:
    """Bring the heatmaps of two networks to the cells of one grid.

    ======  ====================================================================================
    pivot   the teacher's cells: the student's probability (not its logit) is sampled at their
            centres in metres; a centre outside the student's range is not inside
    resize  the teacher's cells: the student's probability is stretched over the teacher's map,
            whatever their ranges, and all cells are inside. This is the code of arXiv 2205.15156
    pool    the coarser cells: of the finer map, p (and G with it, if it is the teacher's) is
            averaged over each coarser cell, by shared area in metres:
            p_i = sum_j area(i and j) p_j / sum_j area(i and j). A centre outside the averaged map's
            range is not inside. Equal cells are as with "pivot"
    ======  ====================================================================================

    Args:
        student_logits: ``[B, C, Hs, Ws]``, any floating dtype; computed in float32.
        teacher_logits: ``[B, C, Ht, Wt]``; no gradient flows into it.
        target_heatmap: ``[B, C, Ht, Wt]`` ground truth Gaussians G.
        alignment: which cells; "pivot" and "pool" need both grids unless the maps have one shape.
        student_grid: grid of the student's map.
        teacher_grid: grid of the teacher's map.

    Raises:
        ConfigError: if the shapes or grids do not fit.
    """
    if student_logits.shape[:2] != teacher_logits.shape[:2]:
        raise ConfigError(
            f"student {tuple(student_logits.shape)} and teacher {tuple(teacher_logits.shape)} "
            "differ in frames or classes.",
            where="heatmap",
        )
    student, teacher = probability(student_logits), probability(teacher_logits.detach())
    if alignment == "resize":
        student = F.interpolate(student, size=teacher.shape[-2:], mode="bilinear")
        return AlignedHeat(student, teacher, target_heatmap, None)
    if student_grid is None or teacher_grid is None:
        _check_one_shape(student, teacher)
        return AlignedHeat(student, teacher, target_heatmap, None)
    check_on_grid(student, student_grid)
    check_on_grid(teacher, teacher_grid)
    ratio = _cell_area(student_grid) / _cell_area(teacher_grid)
    if alignment == "pivot" or ratio == 1:
        student, inside = sample_at_centers(student, student_grid, teacher_grid)
    elif ratio < 1:
        student, inside = average_over_cells(student, student_grid, teacher_grid)
    else:
        teacher, inside = average_over_cells(teacher, teacher_grid, student_grid)
        if target_heatmap is not None:
            heat = target_heatmap.float()
            target_heatmap, _ = average_over_cells(heat, teacher_grid, student_grid)
    return AlignedHeat(student, teacher, target_heatmap, inside)


def probability(logits: Tensor) -> Tensor:
    """Turn logits into float32 probabilities within [1e-4, 1 - 1e-4]."""
    return logits.float().sigmoid().clamp(_EDGE, 1 - _EDGE)


def _check_one_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ConfigError(
            f"maps of different shapes, {tuple(student.shape)} and {tuple(teacher.shape)}, are "
            "compared in metres, so both grids must be given.",
            where="student_grid, teacher_grid",
            hint="Give student_grid and teacher_grid, or alignment='resize'.",
        )


def _cell_area(grid: BEVGrid) -> float:
    return grid.cell_x * grid.cell_y
