"""Squared difference of heatmap probabilities at pivotal positions."""

import torch.nn.functional as F
from torch import Tensor

from kd3d.distill.functional.pivots import (
    Alignment,
    Pivots,
    check_heatmap,
    check_pivots,
    pivot_weights,
)
from kd3d.distill.functional.sampling import average_over_cells, check_on_grid, sample_at_centers
from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = ["pivotal_logit_loss", "probability"]

_EDGE = 1e-4  # the detection loss clamps probabilities so, and both maps must be read alike


def pivotal_logit_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target_heatmap: Tensor | None = None,
    *,
    pivots: Pivots = "gaussian",
    threshold: float = 0.1,
    top_k: int = 500,
    alignment: Alignment = "pivot",
    student_grid: BEVGrid | None = None,
    teacher_grid: BEVGrid | None = None,
) -> Tensor:
    """Compare heatmaps at the teacher's pivotal positions.

    With p = clamp(sigmoid(logit), 1e-4, 1 - 1e-4), M the weights of `pivot_weights` and I the cells
    that both networks cover:

        sum_byx I * M * sum_c (p_student - p_teacher)^2 / (sum_byx I * M + 1e-6)

    summed over classes, normalised once for the whole batch; zero if there is no pivot. From
    arXiv 2205.15156. Maps of different cells are compared as `alignment` says:

    ======  ====================================================================================
    pivot   at the teacher's cells: the student's probability (not its logit) is sampled at their
            centres in metres; a centre outside the student's range has I = 0
    resize  at the teacher's cells: the student's probability is stretched over the teacher's map,
            whatever their ranges, and I = 1 everywhere. This is the paper's code
    pool    at the coarser cells: of the finer map, p (and G with it, if it is the teacher's) is
            averaged over each coarser cell, by shared area in metres:
            p_i = sum_j area(i and j) p_j / sum_j area(i and j). M and I are of these cells, a
            centre outside the averaged map's range has I = 0. Equal cells are as with "pivot"
    ======  ====================================================================================

    Args:
        student_logits: ``[B, C, Hs, Ws]``, any floating dtype; computed in float32.
        teacher_logits: ``[B, C, Ht, Wt]``; no gradient flows into it.
        target_heatmap: ``[B, C, Ht, Wt]`` ground truth Gaussians G, for "gaussian" pivots.
        pivots: rule for M.
        threshold: for "confidence" pivots.
        top_k: for "rank" pivots.
        alignment: how maps of different cells are compared; "pivot" and "pool" need both grids
            unless the maps have one shape.
        student_grid: grid of the student's map.
        teacher_grid: grid of the teacher's map.

    Returns:
        A float32 scalar.

    Raises:
        ConfigError: if the shapes, grids or options do not fit.
    """
    check_pivots(pivots, threshold, top_k, alignment)
    if student_logits.shape[:2] != teacher_logits.shape[:2]:
        raise ConfigError(
            f"student {tuple(student_logits.shape)} and teacher {tuple(teacher_logits.shape)} "
            "differ in frames or classes.",
            where="heatmap",
        )
    student, teacher = probability(student_logits), probability(teacher_logits.detach())
    heat = check_heatmap(target_heatmap, teacher) if pivots == "gaussian" else None
    inside = None
    if alignment == "resize":
        student = F.interpolate(student, size=teacher.shape[-2:], mode="bilinear")
    elif student_grid is None or teacher_grid is None:
        _check_one_shape(student, teacher)
    else:
        check_on_grid(student, student_grid)
        check_on_grid(teacher, teacher_grid)
        ratio = _cell_area(student_grid) / _cell_area(teacher_grid)
        if alignment == "pivot" or ratio == 1:
            student, inside = sample_at_centers(student, student_grid, teacher_grid)
        elif ratio < 1:
            student, inside = average_over_cells(student, student_grid, teacher_grid)
        else:
            teacher, inside = average_over_cells(teacher, teacher_grid, student_grid)
            if heat is not None:
                heat, _ = average_over_cells(heat.float(), teacher_grid, student_grid)
    weights = pivot_weights(teacher, heat, pivots=pivots, threshold=threshold, top_k=top_k)
    if inside is not None:
        weights = weights * inside
    difference = (student - teacher).square().sum(dim=1)
    return (weights * difference).sum() / (weights.sum() + 1e-6)


def probability(logits: Tensor) -> Tensor:
    """Turn logits into float32 probabilities within [1e-4, 1 - 1e-4]."""
    return logits.float().sigmoid().clamp(_EDGE, 1 - _EDGE)


def _check_one_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ConfigError(
            f"maps of different shapes, {tuple(student.shape)} and {tuple(teacher.shape)}, are "
            "compared in metres, so both grids must be given.",
            where="pivotal_logit_loss",
            hint="Give student_grid and teacher_grid, or alignment='resize'.",
        )


def _cell_area(grid: BEVGrid) -> float:
    return grid.cell_x * grid.cell_y
