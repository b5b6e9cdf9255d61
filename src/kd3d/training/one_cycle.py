"""The one-cycle schedule of rate and momentum that the CenterPoint recipes train with."""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kd3d.training.groups import MULTIPLIER

__all__ = ["OneCycle", "one_cycle"]


def one_cycle(
    step: int,
    total_steps: int,
    *,
    max_rate: float,
    momentum: tuple[float, float] = (0.95, 0.85),
    start_divisor: float = 10.0,
    end_divisor: float = 1e4,
    warm_fraction: float = 0.4,
    hold_fraction: float = 0.0,
    hold_divisor: float = 100.0,
) -> tuple[float, float]:
    """Give the learning rate and the momentum of one step.

    Both follow half a cosine up to the peak and half a cosine down: the rate from
    ``max_rate / start_divisor`` to ``max_rate`` and on to
    ``max_rate / start_divisor / end_divisor``; the momentum from its first value to its second
    and back. Unlike ``torch.optim.lr_scheduler.OneCycleLR`` the peak is at step
    ``int(warm_fraction * total_steps)`` itself and the end at ``total_steps``, as in the recipes
    of OpenPCDet.

    With a `hold_fraction` the cycle is shorter by that share of the steps and ends at
    ``max_rate / hold_divisor``, which the rest of the run keeps: there training goes on without
    changing much, so that a curve shows whether there is anything left to learn.

    Args:
        step: optimiser step, from 0.
        total_steps: optimiser steps of the whole run.
        max_rate: learning rate at the peak.
        momentum: beta1 of Adam at the start and end, and at the peak.
        start_divisor: peak rate over start rate.
        end_divisor: start rate over end rate.
        warm_fraction: share of the cycle's steps on the way up.
        hold_fraction: share of the steps, at the end, that keep the last rate of the cycle.
        hold_divisor: peak rate over the rate that is kept.
    """
    start = max_rate / start_divisor
    end = max_rate / hold_divisor if hold_fraction else start / end_divisor
    total_steps -= int(hold_fraction * total_steps)
    peak_step = int(warm_fraction * total_steps)
    if step < peak_step:
        done = step / peak_step
        return _cosine(start, max_rate, done), _cosine(momentum[0], momentum[1], done)
    done = min((step - peak_step) / max(total_steps - peak_step, 1), 1.0)
    return (
        _cosine(max_rate, end, done),
        _cosine(momentum[1], momentum[0], done),
    )


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


class OneCycle(LRScheduler):
    """Set rate and momentum of an Adam-like optimiser before each step.

    Args:
        optimizer: an optimiser whose groups have ``lr`` and ``betas``. A group's own
            ``multiplier``, where it has one, is a factor of its rate throughout.
        total_steps: optimiser steps of the whole run.
        max_rate: learning rate at the peak.
        **shape: further arguments of `one_cycle`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        max_rate: float,
        **shape: Any,  # noqa: ANN401 - forwarded to one_cycle
    ) -> None:
        self.total_steps = total_steps
        self.max_rate = max_rate
        self.shape = shape
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Give every group the rate of the current step, and set its momentum on the way."""
        rate, momentum = one_cycle(
            self.last_epoch, self.total_steps, max_rate=self.max_rate, **self.shape
        )
        for group in self.optimizer.param_groups:
            group["betas"] = (momentum, group["betas"][1])
        return [rate * group.get(MULTIPLIER, 1.0) for group in self.optimizer.param_groups]
