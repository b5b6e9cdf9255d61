"""Squared difference of heatmap probabilities at pivotal positions."""

import torch.nn.functional as F
from torch import Tensor

from kd3d.distill.functional.pivots import Alignment, Pivots, check_pivots, pivot_weights
from kd3d.distill.functional.sampling import sample_at_centers
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

    With p = clamp(sigmoid(logit), 1e-4, 1 - 1e-4) and M the weights of `pivot_weights`:

        sum_byx M * sum_c (p_student - p_teacher)^2 / (sum_byx M + 1e-6)

    summed over classes, normalised once for the whole batch; zero if there is no pivot. The
    student's probability (not its logit) is read at the teacher's cell centres; cells outside the
    student's range do not count. The teacher's map is never resampled. From arXiv 2205.15156.

    Args:
        student_logits: ``[B, C, Hs, Ws]``, any floating dtype; computed in float32.
        teacher_logits: ``[B, C, Ht, Wt]``; no gradient flows into it.
        target_heatmap: ``[B, C, Ht, Wt]`` ground truth Gaussians, for "gaussian" pivots.
        pivots: rule for M.
        threshold: for "confidence" pivots.
        top_k: for "rank" pivots.
        alignment: "pivot" samples in metres and needs both grids unless the maps have one shape;
            "resize" stretches the student's map over the teacher's, whatever their ranges.
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
    teacher = probability(teacher_logits.detach())
    weights = pivot_weights(
        teacher, target_heatmap, pivots=pivots, threshold=threshold, top_k=top_k
    )
    student = probability(student_logits)
    if alignment == "resize":
        student = F.interpolate(student, size=teacher.shape[-2:], mode="bilinear")
    elif student_grid is not None and teacher_grid is not None:
        student, inside = sample_at_centers(student, student_grid, teacher_grid)
        weights = weights * inside
    elif student.shape != teacher.shape:
        raise ConfigError(
            "maps of different shapes are compared in metres, so both grids must be given.",
            where="pivotal_logit_loss",
        )
    difference = (student - teacher).square().sum(dim=1)
    return (weights * difference).sum() / (weights.sum() + 1e-6)


def probability(logits: Tensor) -> Tensor:
    """Turn logits into float32 probabilities within [1e-4, 1 - 1e-4]."""
    return logits.float().sigmoid().clamp(_EDGE, 1 - _EDGE)
