"""Squared difference of heatmap probabilities at pivotal positions."""

from torch import Tensor

from kd3d.distill.functional.aligned import align_heatmaps
from kd3d.distill.functional.pivots import (
    Alignment,
    Pivots,
    check_heatmap,
    check_pivots,
    needs_truth,
    pivot_weights,
)
from kd3d.geometry.grid import BEVGrid

__all__ = ["pivotal_logit_loss"]


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
    arXiv 2205.15156, whose logit baseline has M = 1 ("all"). Maps of different cells are compared
    as `alignment` says, see `kd3d.distill.functional.align_heatmaps`: at the teacher's cells
    ("pivot", "resize") or the coarser ones ("pool"); M and I are of these cells.

    Args:
        student_logits: ``[B, C, Hs, Ws]``, any floating dtype; computed in float32.
        teacher_logits: ``[B, C, Ht, Wt]``; no gradient flows into it.
        target_heatmap: ``[B, C, Ht, Wt]`` ground truth Gaussians G, for pivots "gaussian" and
            "foreground".
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
    heat = check_heatmap(target_heatmap, teacher_logits) if needs_truth(pivots) else None
    maps = align_heatmaps(
        student_logits,
        teacher_logits,
        heat,
        alignment=alignment,
        student_grid=student_grid,
        teacher_grid=teacher_grid,
    )
    weights = pivot_weights(
        maps.teacher, maps.heat, pivots=pivots, threshold=threshold, top_k=top_k
    )
    if maps.inside is not None:
        weights = weights * maps.inside
    difference = (maps.student - maps.teacher).square().sum(dim=1)
    return (weights * difference).sum() / (weights.sum() + 1e-6)
