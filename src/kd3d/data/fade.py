"""Pasting and strong augmentation off for the last epochs of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kd3d.data.augment import CHANGES, WorldAugmentation
from kd3d.data.paste import ObjectPaste
from kd3d.data.run_length import fit_steps, steps_of_an_epoch
from kd3d.errors import ConfigError

__all__ = ["Fade"]

_PASTE = "paste"


@dataclass(frozen=True, slots=True)
class Fade:
    """What is left out in the last epochs of a run, so that a network ends on scenes as recorded.

    Args:
        epochs: how many; 0 for none.
        changes: what is left out in them: ``paste``, and changes of `WorldAugmentation`. Flips are
            not among them by default: a mirrored scene is as real as the recorded one.

    Raises:
        ConfigError: if `epochs` is negative, or there is no such change.
    """

    epochs: int = 0
    changes: Sequence[str] = (_PASTE, "rotation", "scaling")

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"{self.epochs} is below 0.", where="data.fade_epochs")
        known = (_PASTE, *CHANGES)
        unknown = [name for name in self.changes if name not in known]
        if isinstance(self.changes, str) or unknown:
            raise ConfigError(
                f"{self.changes!r} is not a list of what can fade.",
                where="data.fade",
                hint=f"Name some of {', '.join(known)}.",
            )

    def last_epoch(self, trainer: Any, batches: int) -> int:  # noqa: ANN401 - either Lightning
        """Give the last epoch before the fade, counted from 0.

        The run's epochs are counted from its optimiser steps, so that a run which ``max_steps``
        ends has as many as it trains, whatever its ``max_epochs``. If it ends within an epoch, the
        fade begins where at least `epochs` whole epochs' worth of steps are left.

        Args:
            trainer: of the run.
            batches: what the loader of one process gives in an epoch.

        Raises:
            ConfigError: if the run has no known length, or no epoch before the fade.
        """
        steps = fit_steps(trainer, batches)
        if steps is None:
            raise ConfigError(
                "the length of the run is unknown, so nobody knows its last epochs.",
                where="data.fade_epochs",
                hint="Give the trainer max_epochs or max_steps, or name the last epoch in "
                "data.augmentation.last_epoch and data.paste.last_epoch.",
            )
        of_epoch = max(steps_of_an_epoch(trainer, batches), 1)
        last = steps // of_epoch - self.epochs - 1
        if last < 0:
            raise ConfigError(
                f"the run has {steps / of_epoch:.4g} epochs ({steps} steps, {of_epoch} an epoch), "
                f"so the last {self.epochs} leave no whole one before them.",
                where="data.fade_epochs",
                hint=f"Give at most {max(steps // of_epoch - 1, 0)}, or train for longer.",
            )
        return last

    def apply(
        self, augmentation: WorldAugmentation | None, paste: ObjectPaste | None, last_epoch: int
    ) -> tuple[WorldAugmentation | None, ObjectPaste | None]:
        """Have the changes end with an epoch, where they do not end before it anyway."""
        if augmentation is not None:
            own = {change: augmentation.last_epoch_of(change) for change in CHANGES}
            ends = {
                change: _earlier(end, last_epoch if change in self.changes else None)
                for change, end in own.items()
            }
            augmentation = replace(
                augmentation,
                last_epoch={change: end for change, end in ends.items() if end is not None},
            )
        if paste is not None and _PASTE in self.changes:
            paste = replace(paste, last_epoch=_earlier(paste.last_epoch, last_epoch))
        return augmentation, paste


def _earlier(first: int | None, second: int | None) -> int | None:
    return min((epoch for epoch in (first, second) if epoch is not None), default=None)
