"""The folders that a command works in, looked at before it starts."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd3d.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["check_folders", "require_root"]

_OPTIONS = ("hydra.run.dir", "hydra.sweep.dir", "log_dir")


def check_folders(words: Sequence[str]) -> None:
    """Refuse a run whose folder cannot be made: Hydra itself would show a traceback.

    Args:
        words: the command line. Folders with interpolations are left to Hydra.

    Raises:
        OutputError: if a named folder, or without one the current folder, cannot be written.
    """
    given = dict(word.split("=", 1) for word in words if "=" in word)
    named = [given[option] for option in _OPTIONS if option in given and "$" not in given[option]]
    for name in named or ["."]:
        folder = Path(name)
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(
                "cannot be made or written.",
                where=name,
                hint="Name a folder that you may write to: hydra.run.dir=FOLDER.",
            )


def require_root(config: "DictConfig", *splits: str, otherwise: str = "") -> None:
    """Check that the dataset's folder is named.

    Args:
        config: with the group ``data``.
        splits: what the command reads below it, of ``train`` and ``val``.
        otherwise: what else to try, for the message.

    Raises:
        ConfigError: if it is not.
    """
    if config.data.root is None:
        below = " and ".join(str(config.data[split]) for split in splits)
        raise ConfigError(
            "the folder of the dataset is not given.",
            where="data.root",
            hint=f"Name it: data.root=/path with {below} below it{otherwise}.",
        )
