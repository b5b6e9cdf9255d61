"""Distillation at the anchors that stand for objects."""

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.residuals import residual_distance
from kd3d.structures import AnchorMaps

__all__ = ["anchor_logit_loss", "anchor_regression_loss"]


def anchor_logit_loss(student: AnchorMaps, teacher: AnchorMaps, positive: Tensor) -> Tensor:
    """Squared difference of the scores of positive anchors.

        sum_anchors sum_classes (p_student - p_teacher)^2 / number of positive anchors

    over all frames together; zero without positive anchors. p = sigmoid(logit).

    Args:
        student: its maps.
        teacher: maps of the same anchors.
        positive: ``[B, N]`` bool, the anchors that stand for an object.

    Returns:
        A float32 scalar.

    Raises:
        ConfigError: if the two do not have the same anchors and classes.
    """
    check_anchors(student, teacher, positive)
    with torch.autocast(positive.device.type, enabled=False):
        mine, theirs = (maps.scores.float().sigmoid() for maps in (student, teacher.detach()))
        apart = (mine - theirs).square().sum(dim=-1)
        return (apart * positive).sum() / positive.sum().clamp(min=1)


def anchor_regression_loss(student: AnchorMaps, teacher: AnchorMaps, positive: Tensor) -> Tensor:
    """Smooth L1 of the box residuals of positive anchors.

    Of headings by the sine of their difference. Summed over the seven values, divided by the number
    of positive anchors of each frame (at least 1), averaged over frames, as in the detection loss.

    Args:
        student: its maps.
        teacher: maps of the same anchors.
        positive: ``[B, N]`` bool, the anchors that stand for an object.

    Returns:
        A float32 scalar.

    Raises:
        ConfigError: if the two do not have the same anchors and classes.
    """
    check_anchors(student, teacher, positive)
    with torch.autocast(positive.device.type, enabled=False):
        mine, theirs = (maps.residuals.float() for maps in (student, teacher.detach()))
        apart = residual_distance(mine, theirs)
        count = positive.sum(dim=1, keepdim=True).clamp(min=1)
        return (apart * positive / count).sum() / len(apart)


def check_anchors(student: AnchorMaps, teacher: AnchorMaps, positive: Tensor) -> None:
    """Raise `ConfigError` unless both heads have the same number of anchors, at the same places."""
    mine, theirs = student.score.shape, teacher.score.shape
    same = mine == theirs and student.anchors == teacher.anchors
    if not same or student.grid != teacher.grid:
        raise ConfigError(
            f"student ({student.anchors} per cell, scores {list(mine)}, cells of "
            f"{student.grid.cell_x:g} m) and teacher ({teacher.anchors} per cell, scores "
            f"{list(theirs)}, cells of {teacher.grid.cell_x:g} m) have other anchors.",
            where="anchors",
            hint="Anchors are compared one by one: same range, cells and classes. Across cell "
            "sizes use LabelKD, or PivotalLogitKD on the heatmaps.",
        )
    if positive.shape != (mine[0], student.anchors * mine[2] * mine[3]):
        raise ConfigError(
            f"{list(positive.shape)} is not one truth value for each anchor.", where="positive"
        )
