"""Checkpoints from which a run goes on as if nothing had happened."""

import os
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Checkpoint
from typing_extensions import override

from kd3d.detectors.checkpoint import read_checkpoint
from kd3d.errors import CheckpointError, ConfigError

__all__ = ["ResumeCheckpoint", "find_checkpoint"]

_LAST, _PREVIOUS = "last.ckpt", "previous.ckpt"
_CLOCK_STEPS = 10
"""Processes agree on the time in every so-manyth step only: it costs an exchange between them."""


class ResumeCheckpoint(Checkpoint):
    """Write ``last.ckpt`` often enough that a killed run loses little, and exactly resumable.

    A checkpoint is written after an optimiser step: when enough steps or minutes have passed since
    the last one, after the fit's last step, and, with one process, after the step in which SIGTERM
    comes, a scheduler's warning. Never between the batches of an accumulated gradient, whose first
    part would be lost, and before callbacks that average weights (EMA) put their average in place
    of the trained ones.

    The file appears whole or not at all, whatever kills the process, and the one before stays as
    ``previous.ckpt``.

    Args:
        dirpath: folder of the files.
        every_n_train_steps: optimiser steps between two checkpoints.
        every_n_minutes: minutes between two checkpoints.

    Raises:
        ConfigError: if there would be no time for training between two checkpoints.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str],
        *,
        every_n_train_steps: int = 500,
        every_n_minutes: float = 10.0,
    ) -> None:
        super().__init__()
        if every_n_train_steps < 1 or every_n_minutes <= 0:
            raise ConfigError(
                f"a checkpoint every {every_n_train_steps} steps and {every_n_minutes} minutes.",
                where="callbacks.checkpoint",
                hint="Give every_n_train_steps from 1, and every_n_minutes above 0.",
            )
        self.last = Path(dirpath) / _LAST
        self.previous = Path(dirpath) / _PREVIOUS
        self.every_n_train_steps = every_n_train_steps
        self.every_n_minutes = every_n_minutes
        self._step = 0
        self._saved_step = 0
        self._saved_at = 0.0

    @override
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Count from here, and from the right epoch."""
        loop = trainer.fit_loop
        if loop.restarted_mid_epoch and loop.epoch_loop.batch_progress.is_last_batch:
            # From an epoch's last batch Lightning goes on with the next epoch, but as if that had
            # begun before: it would not count it, and a second resume would start at a wrong batch.
            loop.reset_restart_stage()
        self._step = self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    @override
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step, if it is time to."""
        stepped = trainer.global_step > self._step
        self._step = trainer.global_step
        last = trainer.should_stop or _ends_fit(trainer) or _is_terminated(trainer)
        if stepped and (last or self._is_due(trainer)):
            self._save(trainer)

    @override
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the last weights of a fit that was stopped early."""
        if self._saved_step != trainer.global_step:
            self._save(trainer)

    def _is_due(self, trainer: Any) -> bool:  # noqa: ANN401 - either Lightning package
        if trainer.global_step - self._saved_step >= self.every_n_train_steps:
            return True
        if trainer.global_step % _CLOCK_STEPS:
            return False
        late = time.monotonic() - self._saved_at >= 60 * self.every_n_minutes
        return bool(trainer.strategy.reduce_boolean_decision(late, all=False))

    def _save(self, trainer: Any) -> None:  # noqa: ANN401 - either Lightning package
        """Write beside the old file and change places; every process takes part."""
        fresh = self.last.with_name(".last.ckpt")
        trainer.save_checkpoint(fresh, weights_only=False)  # optimiser and loops too
        if trainer.is_global_zero:
            with suppress(FileNotFoundError):
                self.last.replace(self.previous)
            fresh.replace(self.last)
        self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()


def _is_terminated(trainer: Any) -> bool:  # noqa: ANN401 - either Lightning package
    """Tell whether SIGTERM came. Of several processes it may have reached one: they cannot save."""
    return trainer.world_size == 1 and bool(trainer.received_sigterm)


def _ends_fit(trainer: Any) -> bool:  # noqa: ANN401 - either Lightning package
    """Tell whether this was the last step: later, Lightning counts a started epoch as complete."""
    ends_epoch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    return bool(
        trainer.global_step == trainer.max_steps
        or (ends_epoch and trainer.current_epoch + 1 == trainer.max_epochs)
    )


def find_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Find the checkpoint that a run goes on from: the last one, or if damaged the one before.

    Args:
        folder: the ``dirpath`` of a `ResumeCheckpoint`.

    Returns:
        its path; None if there is none. A damaged file that is passed over gives a warning.

    Raises:
        CheckpointError: if there are files and none can be read.
    """
    damage: list[CheckpointError] = []
    for path in (Path(folder) / _LAST, Path(folder) / _PREVIOUS):
        if not path.is_file():
            continue
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            damage.append(error)
            continue
        if damage:
            warnings.warn(f"going on from {path.name}: {damage[0]}", stacklevel=2)
        return path
    if damage:
        raise CheckpointError(
            f"no checkpoint can be read. {damage[0]}",
            where=str(folder),
            hint="Remove this folder to train from the start.",
        ) from damage[0]
    return None
