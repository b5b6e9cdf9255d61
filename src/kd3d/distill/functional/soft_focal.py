"""Focal loss with the teacher's probabilities as soft targets."""

import torch
from torch import Tensor

from kd3d.distill.functional.aligned import align_heatmaps
from kd3d.distill.functional.pivots import Alignment, check_alignment
from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

__all__ = ["check_positive", "soft_focal_loss"]


def soft_focal_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    positive: float = 0.5,
    alignment: Alignment = "pivot",
    student_grid: BEVGrid | None = None,
    teacher_grid: BEVGrid | None = None,
) -> Tensor:
    """Train the student's heatmap on the teacher's as if it were the target heatmap.

    The penalty-reduced focal loss of CornerNet (Law and Deng, ECCV 2018), with
    p = clamp(sigmoid(logit), 1e-4, 1 - 1e-4) of the teacher in place of the ground truth's
    Gaussians, over the cells I that both networks cover:

        positives, p_teacher >= positive:  -(1 - p_student)^2 log(p_student)
        others:                            -(1 - p_teacher)^4 p_student^2 log(1 - p_student)

    summed over frames, classes and cells, divided by the number of positives (undivided if there
    is none). From the code of arXiv 2205.15156, which has it among its losses for heatmaps and a
    configurable threshold, but publishes no value. It is not a distance: at its least, zero, the
    student is sure of every positive and of every other cell.

    Args:
        student_logits: ``[B, C, Hs, Ws]``, any floating dtype; computed in float32.
        teacher_logits: ``[B, C, Ht, Wt]``; no gradient flows into it.
        positive: the teacher's probability from which, inclusive, a cell and class is positive.
        alignment: how maps of different cells are compared, see
            `kd3d.distill.functional.align_heatmaps`.
        student_grid: grid of the student's map.
        teacher_grid: grid of the teacher's map.

    Returns:
        A float32 scalar.

    Raises:
        ConfigError: if the shapes, grids or options do not fit.
    """
    check_alignment(alignment)
    check_positive(positive)
    maps = align_heatmaps(
        student_logits,
        teacher_logits,
        alignment=alignment,
        student_grid=student_grid,
        teacher_grid=teacher_grid,
    )
    is_positive = maps.teacher >= positive
    right = torch.where(is_positive, maps.student, 1 - maps.student)
    weight = torch.where(is_positive, 1.0, (1 - maps.teacher) ** 4) * (1 - right).square()
    if maps.inside is not None:
        weight, is_positive = weight * maps.inside, is_positive & maps.inside
    return -(weight * right.log()).sum() / is_positive.sum().clamp(min=1)


def check_positive(positive: float) -> None:
    """Raise `ConfigError` if this is no probability from which a cell is positive."""
    if not 0 < positive <= 1:
        raise ConfigError(
            f"{positive} is no probability.", where="positive", hint="Give one in (0, 1]."
        )
