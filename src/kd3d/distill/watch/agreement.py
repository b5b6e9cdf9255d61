"""How far a student agrees with its teacher where the teacher is sure."""

from typing import NamedTuple

import torch
from torch import Tensor

from kd3d.distill.functional.sampling import check_on_grid, sample_at_centers
from kd3d.errors import ConfigError
from kd3d.structures import AnchorMaps, ClassMaps, HeadMaps

__all__ = ["pivot_overlap", "score_correlation"]

Maps = HeadMaps | AnchorMaps | ClassMaps
_STEADY = 1e-6  # scores that vary less, as a standard deviation, say nothing but rounding


def pivot_overlap(student: Maps, teacher: Maps, *, top_k: int = 100) -> Tensor:
    """Tell which share of the teacher's pivots are pivots of the student as well.

    The pivots of a frame are its `top_k` highest scores over classes and cells (fewer on a smaller
    map). Both are counted on the teacher's cells: the student's probability is sampled at their
    centres in metres, and centres outside its range are no pivots of either. Equal maps give 1;
    maps that know nothing of each other give about `top_k` by the number of scores, near 0.

    Args:
        student: its maps; only heatmap and grid are read.
        teacher: the same classes, in the same order.
        top_k: pivots per frame.

    Returns:
        A float32 scalar in [0, 1], over all frames of the batch.

    Raises:
        ConfigError: if frames, classes or grids do not fit.
    """
    pivots = _pivots(student, teacher, top_k)
    best = pivots.scores.topk(pivots.places.shape[1], dim=1).indices
    chosen = torch.zeros_like(pivots.scores, dtype=torch.bool).scatter(1, best, True)
    shared = chosen.gather(1, pivots.places) & pivots.valid
    return shared.sum() / pivots.valid.sum().clamp(min=1)


def score_correlation(student: Maps, teacher: Maps, *, top_k: int = 100) -> Tensor:
    """Correlate the student's and the teacher's scores at the teacher's pivots.

    Pearson's coefficient over all pivots (see `pivot_overlap`) of all frames together.

    Args:
        student: its maps; only heatmap and grid are read.
        teacher: the same classes, in the same order.
        top_k: pivots per frame.

    Returns:
        A float32 scalar in [-1, 1]; 0 if either does not vary.

    Raises:
        ConfigError: if frames, classes or grids do not fit.
    """
    pivots = _pivots(student, teacher, top_k)
    theirs = _centred(pivots.teacher, pivots.valid)
    mine = _centred(pivots.scores.gather(1, pivots.places), pivots.valid)
    count = pivots.valid.sum().clamp(min=1)
    deviations = [(values.square().sum() / count).sqrt() for values in (mine, theirs)]
    varies = (deviations[0] > _STEADY) & (deviations[1] > _STEADY)
    product = (deviations[0] * deviations[1]).clamp(min=_STEADY**2)
    coefficient = ((mine * theirs).sum() / count / product).clamp(-1, 1)
    return torch.where(varies, coefficient, 0.0)


class _Pivots(NamedTuple):
    """The teacher's pivots, K per frame.

    `scores` ``[B, C * H * W]``: the student's at the teacher's cells, -1 outside its range.
    `places` ``[B, K]``: the teacher's pivots among them. `teacher` ``[B, K]``: its scores there.
    `valid` ``[B, K]``: false where there were fewer than K cells in range.
    """

    scores: Tensor
    places: Tensor
    teacher: Tensor
    valid: Tensor


def _pivots(student: Maps, teacher: Maps, top_k: int) -> _Pivots:
    if top_k < 1:
        raise ConfigError(f"at least one pivot, not {top_k}.", where="top_k")
    if student.heatmap.shape[:2] != teacher.heatmap.shape[:2]:
        raise ConfigError(
            f"student {tuple(student.heatmap.shape)} and teacher {tuple(teacher.heatmap.shape)} "
            "differ in frames or classes.",
            where="heatmap",
        )
    for maps in (student, teacher):
        check_on_grid(maps.heatmap, maps.grid)
    # not clamped as the losses clamp it: that makes ties, and ties make pivots of anything
    mine = student.heatmap.detach().float().sigmoid()
    sampled, inside = sample_at_centers(mine, student.grid, teacher.grid)
    theirs = teacher.heatmap.detach().float().sigmoid()
    scores = torch.where(inside, sampled, -1.0).flatten(1)
    theirs = torch.where(inside, theirs, -1.0).flatten(1)
    best, places = theirs.topk(min(top_k, theirs.shape[1]), dim=1)
    return _Pivots(scores, places, best, best >= 0)


def _centred(values: Tensor, valid: Tensor) -> Tensor:
    """Take the mean of the valid values off them; the others become 0."""
    mean = torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)
    return torch.where(valid, values - mean, 0.0)
