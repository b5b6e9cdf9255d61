"""Batch sizes of a run, beside those of the published recipe."""

from dataclasses import dataclass

from rich.console import Console

__all__ = ["BatchSizes", "print_sizes"]


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How many frames share an optimiser step, and how many share BatchNorm statistics."""

    effective: int
    batch_norm: int


def print_sizes(console: Console, actual: BatchSizes, recipe: BatchSizes) -> None:
    """Say what a run's batch sizes are, with a warning where the recipe's differ."""
    console.print(
        f"effective batch: {actual.effective} frames per optimiser step; "
        f"BatchNorm batch: {actual.batch_norm} frames per device",
        soft_wrap=True,
    )
    for name, mine, published, spread in (
        ("effective batch", actual.effective, recipe.effective, "over 8 GPUs"),
        ("BatchNorm batch", actual.batch_norm, recipe.batch_norm, "per GPU"),
    ):
        if mine != published:
            console.print(
                f"[yellow]note:[/] the recipe's {name} is {published} {spread}, "
                f"this run's is {mine}; the learning rate is not rescaled.",
                soft_wrap=True,
            )
