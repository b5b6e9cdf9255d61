"""Squared difference of feature maps, everywhere or weighted by cells."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kd3d.distill.functional.feature_pair import (
    FeaturePair,
    Pooled,
    blocks_of,
    check_channels_equal,
)
from kd3d.errors import ConfigError

__all__ = ["feature_l2_loss"]


def feature_l2_loss(pair: FeaturePair, weights: Tensor | None = None) -> Tensor:
    """Compare feature maps cell by cell.

    With M the weights, 0 where one network does not see a cell, and C channels:

        sum_byx M * sum_c (f_student - f_teacher)^2 / (C * sum_byx M + 1e-6)

    With M = 1 this is the hint loss of FitNets (Romero et al., ICLR 2015, arXiv 1412.6550) as mean
    squared error; weights of the foreground make it fine-grained imitation (Wang et al., CVPR 2019,
    arXiv 1906.03609). Zero if no cell has a weight.

    Args:
        pair: the maps, with equal channels; computed in float32.
        weights: ``[B, H, W]``, not negative, on the pair's grid; 1 everywhere by default.

    Returns:
        A float32 scalar.

    Raises:
        ConfigError: if the channels differ, or the weights have another shape.
    """
    student = pair.student
    check_channels_equal(student.shape[1], pair.teacher.shape[1])
    expected = (len(student), *pair.grid.shape)
    if weights is None:
        weights = torch.ones(expected, device=student.device)
    elif tuple(weights.shape) != expected:
        raise ConfigError(
            f"weights {tuple(weights.shape)} do not lie on maps of {expected}.", where="weights"
        )
    weights = weights.float().detach()
    if pair.inside is not None:
        weights = weights * pair.inside
    total: Tensor = _SquaredDifference.apply(student, pair.teacher, pair.factor, weights)  # type: ignore[no-untyped-call]
    return total / (student.shape[1] * weights.sum() + 1e-6)


class _SquaredDifference(torch.autograd.Function):
    """The weighted sum of squares. Keeps its inputs and the teacher's averages alone."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        student: Tensor,
        teacher: Tensor,
        factor: tuple[int, int],
        weights: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(student, teacher, weights)
        ctx.factor = factor
        ctx.pooled = Pooled.room_for(student, factor, ctx.needs_input_grad[0])
        sums = []
        for frame, rows, mine, theirs in blocks_of(student, teacher, factor, ctx.pooled):
            difference = mine - theirs
            sums.append((difference.square() * weights[frame, None, rows]).sum())
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        student, teacher, weights = ctx.saved_tensors
        slopes = 2 * gradient * weights
        pull, blocks = ctx.pooled.blocks_back(student, teacher, ctx.factor)
        for frame, rows, mine, theirs in blocks:
            torch.mul(mine - theirs, slopes[frame, None, rows], out=pull[frame, :, rows])
        return pull, None, None, None
