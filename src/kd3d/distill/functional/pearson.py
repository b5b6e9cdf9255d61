"""Correlation of feature maps, channel by channel."""

from collections.abc import Iterable
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

__all__ = ["pearson_loss"]

_EPSILON = 1e-8


def pearson_loss(pair: FeaturePair) -> Tensor:
    """Compare the pattern of every channel over all cells of the batch, not its size and offset.

        mean_c (1 - r_c),   r_c = cov_c / sqrt((var_student,c + 1e-8) (var_teacher,c + 1e-8))

    with covariance and variances over frames, rows and columns: half the mean squared difference of
    the maps after each channel is brought to mean 0 and deviation 1. PKD (Cao et al., NeurIPS 2022,
    arXiv 2207.02039). Channels in which the teacher says the same everywhere have no correlation
    and are left out of the mean; without any, the loss is zero. Cells that only one network sees do
    not count.

    Args:
        pair: the maps, with equal channels; computed in float32, sums in float64.

    Returns:
        A float32 scalar in [0, 2].

    Raises:
        ConfigError: if the channels differ.
    """
    check_channels_equal(pair.student.shape[1], pair.teacher.shape[1])
    loss: Tensor = _OneMinusCorrelation.apply(  # type: ignore[no-untyped-call]
        pair.student, pair.teacher, pair.factor, pair.inside
    )
    return loss


class _OneMinusCorrelation(torch.autograd.Function):
    """The mean of 1 - r over channels. Keeps its inputs and the teacher's averages alone."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        student: Tensor,
        teacher: Tensor,
        factor: tuple[int, int],
        inside: Tensor | None,
    ) -> Tensor:
        ctx.pooled = Pooled.room_for(student, factor, ctx.needs_input_grad[0])
        shift, sums = _moments(blocks_of(student, teacher, factor, ctx.pooled), inside)
        count = sums[5]
        mean_s, mean_t, product, square_s, square_t = (sums[:5] / count).unbind()
        var_s = (square_s - mean_s * mean_s).clamp(min=0) + _EPSILON
        var_t = (square_t - mean_t * mean_t).clamp(min=0) + _EPSILON
        scale = (var_s * var_t).rsqrt()
        correlation = (product - mean_s * mean_t) * scale
        share = (var_t > 2 * _EPSILON).double()
        share = share / share.sum().clamp(min=1)

        # d loss / d student = by_teacher * teacher + by_student * student + constant, inside
        by_teacher = -share * scale / count
        by_student = share * correlation / var_s / count
        constant = -by_teacher * (mean_t + shift[1]) - by_student * (mean_s + shift[0])
        slopes = torch.stack((by_student, by_teacher, constant))
        ctx.save_for_backward(student, teacher, inside, slopes)
        ctx.factor = factor
        return (share * (1 - correlation)).sum().float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        student, teacher, inside, slopes = ctx.saved_tensors
        by_student, by_teacher, constant = (slopes * gradient).float()[:, :, None, None]
        pull, blocks = ctx.pooled.blocks_back(student, teacher, ctx.factor)
        for frame, rows, mine, theirs in blocks:
            part = torch.addcmul(constant, mine, by_student)
            torch.addcmul(part, theirs, by_teacher, out=pull[frame, :, rows])
            if inside is not None:
                pull[frame, :, rows] *= inside[rows]
        return pull, None, None, None


def _moments(
    blocks_of_both: Iterable[tuple[slice, slice, Tensor, Tensor]], inside: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum up both maps, their product and their squares per channel.

    Returns:
        What is taken off both maps before, against cancellation ``[2, C]``, and the five sums and
        the number of cells ``[6, C]``; float64.
    """
    cells = (0, 2, 3)
    shift: list[Tensor] = []
    sums: list[Tensor] = []
    for _, rows, *blocks in blocks_of_both:
        if not shift:
            shift = [block.mean(dim=cells, keepdim=True) for block in blocks]
        mine, other = (block - offset for block, offset in zip(blocks, shift, strict=True))
        seen = torch.ones_like(mine[:, :1]) if inside is None else inside[rows]
        if inside is not None:
            mine, other = mine * seen, other * seen
        found = [
            mine.sum(dim=cells),
            other.sum(dim=cells),
            (mine * other).sum(dim=cells),
            mine.square_().sum(dim=cells),  # in place, and so the last that is done with it
            other.square_().sum(dim=cells),
        ]
        sums.append(torch.stack((*found, seen.sum().expand_as(found[0]))))
    offsets = torch.stack([offset.flatten() for offset in shift]).double()
    total = torch.stack(sums).double().sum(dim=0)
    total[5].clamp_(min=1)
    return offsets, total
