"""``kd3d-train resume=``: find an interrupted run, and how it was started."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from kd3d.cli.run_lock import is_running
from kd3d.cli.stored_config import FREE, check_same
from kd3d.errors import ConfigError, OutputError
from kd3d.files import write_text

__all__ = [
    "InterruptedRun",
    "compose_train",
    "find_run",
    "load_run",
    "store_run",
    "wants_resume",
]

_WORD = "resume="
_STORED = Path(".hydra", "config.yaml")


@dataclass(frozen=True, slots=True, eq=False)
class InterruptedRun:
    """A run to go on with.

    Args:
        folder: its folder, absolute.
        config: what it was started with; options that change no number may be new.
        command: the command line that started it.
        started_in: the folder in which that was typed: what relative paths are relative to.
        words: the overrides that started it, and those that are new.
    """

    folder: Path
    config: DictConfig
    command: str
    started_in: Path
    words: tuple[str, ...]


def wants_resume(words: Sequence[str]) -> bool:
    """Tell whether a command line asks for an interrupted run.

    Raises:
        ConfigError: if it asks for a sweep too.
    """
    if not any(word.startswith(_WORD) for word in words):
        return False
    if {"-m", "--multirun"} & set(words):
        raise ConfigError(
            "a sweep goes on by itself.",
            where="resume",
            hint="Type its command again without resume=: finished jobs are skipped, and "
            "interrupted ones go on.",
        )
    return not any(word.startswith("-") for word in words)


def find_run(words: Sequence[str]) -> Path:
    """Find the folder that ``resume=FOLDER|last`` means.

    Raises:
        OutputError: if it is not the folder of a run, or no run is unfinished.
        ConfigError: if the command line is wrong.
    """
    named = [word.removeprefix(_WORD) for word in words if word.startswith(_WORD)]
    if len(named) > 1:
        raise ConfigError(f"two runs are named: {' and '.join(named)}.", where="resume")
    if named[0] == "last":
        others = [word for word in words if not word.startswith((_WORD, "hydra."))]
        return _newest(Path(compose_train(others).log_dir))
    folder = Path(named[0]).expanduser()
    if not (folder / _STORED).is_file():
        raise OutputError(
            f"is not the folder of a run: there is no {_STORED}."
            if folder.is_dir()
            else "there is no such folder.",
            where=str(folder),
            hint="Name the folder that kd3d-train wrote into, or say resume=last.",
        )
    return folder.resolve()


def load_run(folder: Path, words: Sequence[str]) -> InterruptedRun:
    """Read how a run was started, and check what the command line adds to that.

    Args:
        folder: a run's folder.
        words: the command line that resumes it.

    Raises:
        ConfigError: if the command line contradicts the run.
        OutputError: if the run's files cannot be read.
    """
    stored = folder / _STORED
    try:
        config = OmegaConf.load(stored)
        words_stored = OmegaConf.load(stored.with_name("overrides.yaml"))
        overrides = cast(list[str], OmegaConf.to_container(words_stored))  # ${...} stays as it is
        started = OmegaConf.load(stored.with_name("hydra.yaml"))
        started_in = Path(str(OmegaConf.select(started, "hydra.runtime.cwd")))
        assert isinstance(config, DictConfig)
    except Exception as error:
        raise OutputError(
            f"its configuration cannot be read ({' '.join(str(error).split())}).",
            where=str(stored.parent),
            hint="Type the command that started the run again, with "
            f"hydra.run.dir={folder}: it goes on too.",
        ) from error
    added = [word for word in words if not word.startswith(_WORD) and word not in overrides]
    if any(word.startswith("hydra.") for word in added):
        raise ConfigError(
            "a run goes on in its own folder.",
            where="resume",
            hint="Leave hydra.* options out.",
        )
    if added:
        _adopt(config, compose_train(overrides), compose_train([*overrides, *added]), folder)
    command = " ".join(["kd3d-train", *overrides])
    return InterruptedRun(folder, config, command, started_in, (*overrides, *added))


def store_run(folder: Path, config: DictConfig, words: Sequence[str]) -> None:
    """Make the folder of a run that ``resume=`` can start, as Hydra leaves it when a run begins.

    Args:
        folder: the run's folder.
        config: its composed configuration.
        words: the overrides that lead to it.

    Raises:
        OutputError: if the folder cannot be written.
    """
    stored = (folder / _STORED).parent
    place = {"hydra": {"runtime": {"cwd": os.getcwd()}}}  # noqa: PTH109 - a link stays
    write_text(stored / "hydra.yaml", OmegaConf.to_yaml(OmegaConf.create(place)))
    write_text(stored / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(words))))
    write_text(folder / _STORED, OmegaConf.to_yaml(config))


def _adopt(config: DictConfig, before: DictConfig, after: DictConfig, folder: Path) -> None:
    """Take over what the command line changes, if it changes no number of the run."""
    check_same(before, after, folder)
    for key in FREE:
        old, new = OmegaConf.select(before, key), OmegaConf.select(after, key)
        if old != new:
            OmegaConf.update(config, key, new, merge=False, force_add=True)


def compose_train(words: Sequence[str], *, where: str = "resume") -> DictConfig:
    """Compose the configuration of a command line of ``kd3d-train``.

    Args:
        words: its overrides.
        where: what an error names as the place.

    Raises:
        ConfigError: if an override does not fit.
    """
    try:
        if GlobalHydra.instance().is_initialized():  # inside a command that Hydra started
            return compose("train", overrides=list(words))
        with initialize_config_module("kd3d.conf", version_base="1.3"):
            return compose("train", overrides=list(words))
    except HydraException as error:
        raise ConfigError(f"{error}", where=where) from error


def _newest(log_dir: Path) -> Path:
    """Find the run below a folder that was started last and is neither finished nor running."""
    found = {path.parents[1] for path in log_dir.rglob(str(_STORED))}
    runs = [run for run in found if found.isdisjoint(run.parents)]  # a study's own go on with it
    runs.sort(key=_started)
    waiting = [run for run in runs if not (run / "metrics.json").is_file() and not is_running(run)]
    if waiting:
        return waiting[-1].resolve()
    if not runs:
        raise OutputError(
            "there is no run.", where=str(log_dir), hint="Name its folder: resume=FOLDER."
        )
    report = runs[-1] / "report.md"
    state = f"is finished: {report}" if report.is_file() else f"is at work in {runs[-1]}"
    raise OutputError(
        f"no run waits to go on; the last one {state}.",
        where=str(log_dir),
        hint="Name the folder of another: resume=FOLDER.",
    )


def _started(run: Path) -> int:
    return max(
        path.stat().st_mtime_ns for path in (run / _STORED, run / "config.yaml") if path.is_file()
    )
