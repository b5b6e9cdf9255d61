"""When an objective acts, and how strongly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kd3d.errors import ConfigError

__all__ = ["Schedule", "ScheduleLike", "as_schedule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A factor in [0, 1] of an objective's weight over the run.

    It rises linearly: with a warm-up over n, the k-th epoch (or optimiser step) has the factor
    ``k / (n + 1)`` and those after the n-th have 1. It is a function of epoch and step alone, so a
    run that resumes goes on where it was.

    Args:
        warmup_epochs: how many epochs have less than the whole weight.
        warmup_steps: how many optimiser steps have; instead of `warmup_epochs`.
        stop_after: the last epoch that the objective acts in, counted from 1; None: all of them.

    Raises:
        ConfigError: if a number is out of its range, or the warm-up would not end before the stop.

    Example:
        >>> Schedule(warmup_epochs=3, stop_after=20).factor(epoch=0, step=0)
        0.25
    """

    warmup_epochs: int = 0
    warmup_steps: int = 0
    stop_after: int | None = None

    def __post_init__(self) -> None:
        for name in ("warmup_epochs", "warmup_steps", "stop_after"):
            value, least = getattr(self, name), int(name == "stop_after")
            if value is None and name == "stop_after":
                continue
            if not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"{value!r} is no number of {'steps' if 'steps' in name else 'epochs'}.",
                    where=f"schedule.{name}",
                    hint=f"Give a whole number, {least} or more.",
                )
        if self.warmup_epochs and self.warmup_steps:
            raise ConfigError(
                "a warm-up is either over epochs or over steps.",
                where="schedule",
                hint="Leave out warmup_epochs or warmup_steps.",
            )
        self._check_epochs(math.inf)

    def factor(self, epoch: int, step: int) -> float:
        """Give the factor of a training step.

        Args:
            epoch: epochs that are done (Lightning's ``current_epoch``).
            step: optimiser steps that are done (``global_step``).
        """
        if self.stop_after is not None and epoch >= self.stop_after:
            return 0.0
        if self.warmup_steps:
            return min(1.0, (step + 1) / (self.warmup_steps + 1))
        return min(1.0, (epoch + 1) / (self.warmup_epochs + 1))

    def check_run(self, epochs: float, steps: float) -> None:
        """Check that what is scheduled happens in a run.

        Args:
            epochs: how many the run has; infinite if that is not known.
            steps: how many optimiser steps it has, likewise.

        Raises:
            ConfigError: if the run ends before the warm-up does, or before the objective stops.
        """
        if self.stop_after is not None and self.stop_after > epochs:
            raise ConfigError(
                f"the objective is to stop after epoch {self.stop_after}, the run ends after "
                f"{epochs:g}.",
                where="schedule.stop_after",
                hint=f"Give at most {epochs:g}, or train longer.",
            )
        self._check_epochs(epochs)
        if self.warmup_steps >= steps:
            raise ConfigError(
                f"a warm-up over {self.warmup_steps} steps never ends in a run of {steps:g}.",
                where="schedule.warmup_steps",
                hint=f"Give at most {steps - 1:g}, or train longer.",
            )

    def _check_epochs(self, epochs: float) -> None:
        last = min(epochs, math.inf if self.stop_after is None else self.stop_after)
        if self.warmup_epochs >= last:
            raise ConfigError(
                f"a warm-up over {self.warmup_epochs} epochs never ends if the objective acts in "
                f"{last:g}.",
                where="schedule.warmup_epochs",
                hint=f"Give at most {last - 1:g}.",
            )

    def __str__(self) -> str:
        parts = [
            f"warm-up over {count} {unit}"
            for count, unit in ((self.warmup_epochs, "epochs"), (self.warmup_steps, "steps"))
            if count
        ]
        if self.stop_after is not None:
            parts.append(f"stops after epoch {self.stop_after}")
        return ", ".join(parts) or "constant"


#: A schedule, or its options by name as a configuration file gives them.
ScheduleLike = Schedule | Mapping[str, Any]


def as_schedule(given: ScheduleLike | None) -> Schedule | None:
    """Take a schedule, or its options by name as a configuration file gives them.

    Raises:
        ConfigError: if it is neither, or an option is unknown or out of its range.
    """
    if given is None or isinstance(given, Schedule):
        return given
    known = [field.name for field in fields(Schedule)]
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"a {type(given).__name__} is no schedule.",
            where="schedule",
            hint=f"Give a kd3d.distill.Schedule, or a mapping of {', '.join(known)}.",
        )
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        raise ConfigError(
            f"a schedule has no {', '.join(unknown)}.",
            where="schedule",
            hint=f"It has {', '.join(known)}.",
        )
    return Schedule(**{str(name): value for name, value in given.items()})
