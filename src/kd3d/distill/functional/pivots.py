"""Which cells of the teacher's heatmap are pivotal, and how much each counts."""

from typing import Literal, get_args

import torch
from torch import Tensor

from kd3d.errors import ConfigError

__all__ = [
    "Alignment",
    "Pivots",
    "check_alignment",
    "check_heatmap",
    "check_pivots",
    "needs_truth",
    "pivot_weights",
]

Pivots = Literal["gaussian", "foreground", "confidence", "rank", "all"]
Alignment = Literal["pivot", "resize", "pool"]


def pivot_weights(
    teacher_probability: Tensor,
    target_heatmap: Tensor | None = None,
    *,
    pivots: Pivots = "gaussian",
    threshold: float = 0.1,
    top_k: int = 500,
) -> Tensor:
    """Weigh the cells of the teacher's grid.

    ==========  ===========================================================================
    gaussian    max_c p_teacher * max_c G, with G the ground truth's Gaussian heatmap
    foreground  1 where max_c G > 0
    confidence  1 where max_c p_teacher > threshold
    rank        1 at the cells of the frame's `top_k` highest (class, cell) scores
    all         1 everywhere (vanilla logit distillation)
    ==========  ===========================================================================

    Args:
        teacher_probability: ``[B, C, H, W]`` float32 in (0, 1).
        target_heatmap: ``[B, C, H, W]`` in [0, 1] on the same grid; for "gaussian" and
            "foreground".
        pivots: the rule.
        threshold: for "confidence".
        top_k: for "rank".

    Returns:
        ``[B, H, W]`` float32, not negative.

    Raises:
        ConfigError: if the rule is unknown, or "gaussian" or "foreground" gets no heatmap or one
            of another shape.
    """
    check_pivots(pivots, threshold, top_k)
    confidence = teacher_probability.amax(dim=1)
    if needs_truth(pivots):
        heat = check_heatmap(target_heatmap, teacher_probability).float().amax(dim=1)
        return confidence * heat if pivots == "gaussian" else (heat > 0).float()
    if pivots == "confidence":
        return (confidence > threshold).float()
    if pivots == "rank":
        scores = teacher_probability.flatten(1)
        cells = teacher_probability.shape[-2] * teacher_probability.shape[-1]
        best = scores.topk(min(top_k, scores.shape[1]), dim=1).indices % cells
        return torch.zeros_like(confidence).flatten(1).scatter(1, best, 1.0).view_as(confidence)
    return torch.ones_like(confidence)


def needs_truth(pivots: Pivots) -> bool:
    """Tell whether a rule needs the ground truth's heatmap."""
    return pivots in ("gaussian", "foreground")


def check_heatmap(target_heatmap: Tensor | None, teacher: Tensor) -> Tensor:
    """Give the ground truth's heatmap; raise `ConfigError` unless it has the teacher's shape."""
    if target_heatmap is None or target_heatmap.shape != teacher.shape:
        shape = None if target_heatmap is None else tuple(target_heatmap.shape)
        raise ConfigError(
            f"these pivots need targets on the teacher's grid {tuple(teacher.shape)}, not {shape}.",
            where="target_heatmap",
            hint="Draw them with the teacher's assign_targets, or use another rule for pivots.",
        )
    return target_heatmap


def check_pivots(
    pivots: str, threshold: float = 0.1, top_k: int = 500, alignment: str = "pivot"
) -> None:
    """Raise `ConfigError` if an option of pivotal-position distillation is out of its range."""
    if pivots not in get_args(Pivots):
        raise ConfigError(f"{pivots!r} is not one of {list(get_args(Pivots))}.", where="pivots")
    check_alignment(alignment)
    if not 0 <= threshold < 1:
        raise ConfigError(f"{threshold} is no threshold of a probability.", where="threshold")
    if top_k < 1:
        raise ConfigError(f"at least one pivot, not {top_k}.", where="top_k")


def check_alignment(alignment: str) -> None:
    """Raise `ConfigError` unless `alignment` is an `Alignment`."""
    if alignment not in get_args(Alignment):
        raise ConfigError(
            f"{alignment!r} is not one of {list(get_args(Alignment))}.", where="alignment"
        )
