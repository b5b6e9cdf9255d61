"""The configuration that a run's folder keeps, and what may differ when the run goes on."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from kd3d.errors import ConfigError
from kd3d.study.settings import differing as differing_settings

__all__ = ["FREE", "check_same", "config_text", "differing", "is_free"]

FREE = (
    "data.root",
    "data.num_workers",
    "data.pin_memory",
    "data.multiprocessing_context",
    "data.cache_dir",
    "logger",
    "callbacks.checkpoint",
    "callbacks.pictures",
    "callbacks.progress",
    "callbacks.rate",
    "trainer.log_every_n_steps",
    "trainer.profiler",
    "report",
)
"""Options that change where and how a run works, but none of its numbers."""

_OF_THE_COMMAND = ("stage", "resume")
_SHOWN = 5


def config_text(config: DictConfig) -> str:
    """Give a composed configuration as the YAML that a run's folder keeps."""
    return OmegaConf.to_yaml(_plain(config))


def differing(first: DictConfig, second: DictConfig) -> dict[str, tuple[Any, Any]]:
    """Compare two composed configurations.

    Returns:
        dotted key: both values, where they differ; None for a key that one lacks.
    """
    return differing_settings(_plain(first), _plain(second))


def is_free(key: str) -> bool:
    """Tell whether an option may change when a run goes on."""
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def check_same(stored: DictConfig, wanted: DictConfig, folder: Path) -> None:
    """Make sure that a run goes on with the options that it was started with.

    Raises:
        ConfigError: if options differ that change the run's numbers; names them.
    """
    changed = {key: values for key, values in differing(stored, wanted).items() if not is_free(key)}
    if not changed:
        return
    told = [f"{key} was {old}, now {new}" for key, (old, new) in list(changed.items())[:_SHOWN]]
    more = len(changed) - len(told)
    raise ConfigError(
        f"the run has another configuration: {'; '.join(told)}"
        f"{f' (and {more} more)' if more else ''}.",
        where=str(folder),
        hint="Leave these options out to go on with it, or begin a new run in another folder: "
        "hydra.run.dir=FOLDER.",
    )


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return {key: value for key, value in plain.items() if key not in _OF_THE_COMMAND}
