"""How many optimiser steps a fit has, counted before its first one."""

from typing import Any

__all__ = ["fit_steps", "steps_of_an_epoch"]


def steps_of_an_epoch(trainer: Any, batches: int) -> int:  # noqa: ANN401 - either Lightning package
    """Count the optimiser steps of an epoch.

    Args:
        trainer: its ``limit_train_batches`` and ``accumulate_grad_batches`` count.
        batches: what the loader of one process gives in an epoch.
    """
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return int(-(-batches // trainer.accumulate_grad_batches))


def fit_steps(trainer: Any, batches: int | None) -> int | None:  # noqa: ANN401 - either package
    """Count the optimiser steps of a fit, without asking the trainer's own estimate.

    (Reading ``trainer.estimated_stepping_batches`` builds the loader early and makes Lightning
    forget a stateful loader's position on resume.)

    Args:
        trainer: its ``max_steps`` and ``max_epochs`` bound the fit; what else may stop it, such as
            ``max_time`` or a callback, nobody knows before.
        batches: what the loader of one process gives in an epoch; None where that is unknown.

    Returns:
        steps; None if nothing that is known bounds them.
    """
    bounds = [trainer.max_steps] if trainer.max_steps > 0 else []
    epochs = trainer.max_epochs
    if batches is not None and epochs is not None and epochs > 0:
        bounds.append(epochs * steps_of_an_epoch(trainer, batches))
    return min(bounds, default=None)
