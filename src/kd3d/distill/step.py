"""Wrapping a LightningModule's training step, and undoing it."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

__all__ = ["StepAmender", "unwrap_training_step", "wrap_training_step"]

_AMENDERS = "_kd3d_amenders"
_RESTORE = "_kd3d_restore"


class StepAmender(Protocol):
    """Something that acts before and after a training step."""

    def before_step(self, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Give the batch that the step is to train on."""

    def after_step(self, output: Any) -> Any:  # noqa: ANN401 - any step output
        """Give the output that the step is to return."""


def wrap_training_step(module: nn.Module, amender: StepAmender) -> None:
    """Let `amender` act on ``module.training_step``; doing so twice is doing it once.

    The step is wrapped on the instance, inside the trainer's autocast, gradient accumulation and
    loss scaling, so that terms added to the loss are treated as the loss is. Several amenders share
    one wrapper and may leave in any order.
    """
    step: Any = module.training_step
    if not hasattr(step, _AMENDERS):
        step = _wrapped(module, step)
        module.training_step = step
    amenders: list[StepAmender] = getattr(step, _AMENDERS)
    if amender not in amenders:
        amenders.append(amender)


def unwrap_training_step(module: nn.Module, amender: StepAmender) -> None:
    """Undo `wrap_training_step`; harmless if nothing is wrapped."""
    step: Any = module.training_step
    amenders: list[StepAmender] = getattr(step, _AMENDERS, [])
    if amender in amenders:
        amenders.remove(amender)
        if not amenders:
            getattr(step, _RESTORE)()


def _wrapped(module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
    amenders: list[StepAmender] = []
    shadowed = "training_step" in vars(module)  # a compiled step, or somebody else's wrapper

    @functools.wraps(original)  # Lightning reads the signature to know what to pass
    def training_step(batch: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        for amender in amenders:
            batch = amender.before_step(batch)
        output = original(batch, *args, **kwargs)
        for amender in amenders:
            output = amender.after_step(output)
        return output

    def restore() -> None:
        if shadowed:
            module.training_step = original  # type: ignore[assignment]
        else:
            del module.training_step

    setattr(training_step, _AMENDERS, amenders)
    setattr(training_step, _RESTORE, restore)
    return training_step
