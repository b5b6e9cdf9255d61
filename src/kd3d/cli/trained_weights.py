"""Which weights of a training a stage's result is of: its last ones, or its best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from kd3d.detectors.checkpoint import read_checkpoint
from kd3d.errors import ConfigError
from kd3d.training import DetectorModule, find_checkpoint

__all__ = ["check_weights", "load_trained"]

_KINDS = ("last", "best")


def check_weights(config: DictConfig) -> None:
    """Make sure that the weights that ``run.weights`` asks for will be there.

    Raises:
        ConfigError: if it is no known word, or ``best`` without a callback that keeps the best.
    """
    if config.run.weights not in _KINDS:
        raise ConfigError(
            f"{config.run.weights!r} is not one of {', '.join(_KINDS)}.", where="run.weights"
        )
    if config.run.weights == "best" and not (config.callbacks or {}).get("best"):
        raise ConfigError(
            "nothing keeps the best weights.",
            where="run.weights",
            hint="Say callbacks=[default,best], or run.weights=last.",
        )


def load_trained(
    trainer: Any,  # noqa: ANN401 - its list of callbacks is not in Lightning's types
    module: DetectorModule,
    which: str,
    folder: Path,
) -> None:
    """Put the weights that count into a module that a trainer has fitted.

    What is in the checkpoint counts: with averaged weights (EMA) that is their average, also where
    the fit had come to its end before and only its evaluation was interrupted.

    Args:
        trainer: of the fit; averaging ends here, so that evaluations use the weights as they are.
        module: changed in place.
        which: ``last`` or ``best``.
        folder: of the checkpoints.

    Raises:
        ConfigError: if the best is asked for and no validation has taken place.
        CheckpointError: if the checkpoint cannot be read.
    """
    averaging = getattr(lightning_callbacks, "WeightAveraging", ())  # from Lightning 2.6 on
    trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, averaging)]
    if which == "best":
        module.load_state_dict(read_checkpoint(_best(trainer.callbacks, folder))["state_dict"])
        return
    path = find_checkpoint(folder)
    content = {} if path is None else read_checkpoint(path)
    if content.get("global_step") == trainer.global_step:
        module.load_state_dict(content["state_dict"])


def _best(callbacks: Sequence[object], folder: Path) -> Path:
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            path = Path(callback.best_model_path)
            return path if path.is_file() else folder / path.name  # the run may have moved
    raise ConfigError(
        "there are no best weights, because no validation has taken place.",
        where="run.weights",
        hint="Validate more often: trainer.val_check_interval=STEPS and "
        "trainer.check_val_every_n_epoch=null; or say run.weights=last.",
    )
