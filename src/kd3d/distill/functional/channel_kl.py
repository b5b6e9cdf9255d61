"""Divergence of feature maps, each channel read as a distribution over the ground."""

import math
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

__all__ = ["channel_kl_loss", "check_temperature"]

_NOWHERE = -1e30
_LOG2E = math.log2(math.e)
"""exp(x) = exp2(x log2 e), which torch computes several times as fast on the CPU."""


def channel_kl_loss(pair: FeaturePair, temperature: float = 4.0) -> Tensor:
    """Compare where each channel is strong.

    With phi the softmax of ``f / T`` over the cells of one channel of one frame:

        T^2 / (B * C) * sum_bc sum_yx phi_teacher * (log phi_teacher - log phi_student)

    Channel-wise knowledge distillation (Shu et al., ICCV 2021, arXiv 2011.13256). Cells that only
    one network sees do not count.

    Args:
        pair: the maps, with equal channels; computed in float32.
        temperature: T, positive; the larger, the wider the part of the map that has a say.

    Returns:
        A float32 scalar, not negative but for rounding.

    Raises:
        ConfigError: if the channels differ or the temperature is not positive.
    """
    check_temperature(temperature)
    check_channels_equal(pair.student.shape[1], pair.teacher.shape[1])
    total: Tensor = _Divergence.apply(  # type: ignore[no-untyped-call]
        pair.student, pair.teacher, pair.factor, pair.inside, temperature
    )
    return total * (temperature * temperature / pair.student.shape[:2].numel())


def check_temperature(temperature: float) -> None:
    """Raise `ConfigError` unless the temperature is positive and finite."""
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"{temperature} is no temperature above 0.", where="temperature")


class _Divergence(torch.autograd.Function):
    """The sum of the divergences. Keeps its inputs and the teacher's averages alone."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        student: Tensor,
        teacher: Tensor,
        factor: tuple[int, int],
        inside: Tensor | None,
        temperature: float,
    ) -> Tensor:
        sums = [_Sums(student.shape[1], temperature, student.device) for _ in range(len(student))]
        ctx.pooled = Pooled.room_for(student, factor, ctx.needs_input_grad[0])
        for frame, rows, mine, theirs in blocks_of(student, teacher, factor, ctx.pooled):
            if inside is None:
                sums[frame.start].add(mine, theirs)
            else:
                outside = inside[rows] == 0
                both = (block.masked_fill(outside, _NOWHERE) for block in (mine, theirs))
                sums[frame.start].add(*both)
        log_s, log_t = (torch.cat([one.logs()[side] for one in sums]) for side in (0, 1))
        ctx.save_for_backward(student, teacher, inside, log_s, log_t)
        ctx.factor, ctx.temperature = factor, temperature
        return torch.stack([one.divergence() for one in sums]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        student, teacher, inside, log_s, log_t = ctx.saved_tensors
        sharpness = _LOG2E / ctx.temperature
        slope = gradient / ctx.temperature
        pull, blocks = ctx.pooled.blocks_back(student, teacher, ctx.factor)
        for frame, rows, mine, theirs in blocks:
            strong = torch.add(-log_s[frame], mine, alpha=sharpness).exp2_()
            stronger = torch.add(-log_t[frame], theirs, alpha=sharpness).exp2_()
            apart = strong.sub_(stronger)
            if inside is not None:  # not a product: it may be larger than numbers can be
                apart.masked_fill_(inside[rows] == 0, 0.0)
            torch.mul(apart, slope, out=pull[frame, :, rows])
        return pull, None, None, None, None


class _Sums:
    """The sums of one frame's channels over the blocks seen so far, relative to their maxima.

    Args:
        channels: how many.
        temperature: what the maps are divided by.
        device: where they are.
    """

    def __init__(self, channels: int, temperature: float, device: torch.device) -> None:
        self.temperature = temperature
        self.sharpness = _LOG2E / temperature
        #: Maxima ``[2, C, 1, 1]`` of student and teacher, not yet divided by the temperature.
        self.tops = torch.full((2, channels, 1, 1), _NOWHERE, device=device)
        #: Sums ``[3, C, 1, 1]`` of exp(student), exp(teacher), and exp(teacher) times the gap.
        self.parts = torch.zeros((3, channels, 1, 1), device=device)

    def add(self, mine: Tensor, other: Tensor) -> None:
        """Add blocks ``[1, C, rows, W]``."""
        blocks = (mine, other)
        tops = torch.cat([block.amax(dim=(2, 3), keepdim=True) for block in blocks])
        tops = torch.maximum(self.tops, tops)
        strong, stronger = (
            torch.add(-top * self.sharpness, block, alpha=self.sharpness).exp2_()
            for block, top in zip(blocks, tops, strict=True)
        )
        gap = torch.sub(other, mine).mul_(stronger)
        found = torch.stack([block.sum(dim=(0, 2, 3)) for block in (strong, stronger, gap)])
        shrink = ((self.tops - tops) * self.sharpness).exp2()
        self.tops = tops
        self.parts = self.parts * torch.cat((shrink, shrink[1:])) + found[..., None, None]

    def logs(self) -> Tensor:
        """Logarithm to base 2 of the sum of exponentials ``[2, 1, C, 1, 1]``."""
        return (self.tops * self.sharpness + self.parts[:2].log2())[:, None]

    def divergence(self) -> Tensor:
        """Sum over the channels of the divergence of the student from the teacher."""
        log_s, log_t = self.logs()
        gap = self.parts[2] / self.parts[1] / self.temperature
        return torch.sum(gap + (log_s - log_t) / _LOG2E)
