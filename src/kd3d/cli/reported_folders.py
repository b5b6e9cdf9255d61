"""Folders that ``kd3d-report`` is given: studies, and runs of ``kd3d-train``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kd3d.cli.results import RunResult, read_results
from kd3d.cli.study_configs import settings_of
from kd3d.errors import OutputError
from kd3d.study.kept_plan import is_study

__all__ = ["ReportedStage", "find_folders", "read_stages"]

_DEPTH = 3
_METRICS, _RESULT, _CONFIG = "metrics.json", "result.json", "config.yaml"
_STAGE_OF = {
    "teacher": "teacher",
    "plain student": "plain",
    "initialised student": "initialised",
    "distilled student": "student",
    "student": "student",
}
"""What a run calls the network that each option of ``run`` trains."""


@dataclass(frozen=True, slots=True)
class ReportedStage:
    """One network of a run's folder.

    Args:
        folder: of the run.
        result: what it came to.
        seed: of the run.
        method: choice of the group ``kd`` for a distilled student, else ``"none"``.
        teacher: name of the network that it started from or learnt from; empty without one.
        settings: every option that its numbers depend on, but for the seed.
        root: folder or address of the data.
    """

    folder: Path
    result: RunResult
    seed: int
    method: str
    teacher: str
    settings: Mapping[str, Any]
    root: str


def find_folders(given: Path) -> list[Path]:
    """Find the studies and runs that a path means.

    Args:
        given: the results of a study or a file of it, the folder of a run, one of its result
            files, or a folder with any of them below it.

    Raises:
        OutputError: if there is none.
    """
    for folder in (given, given.parent, given.parent.parent):
        if is_study(folder):
            return [folder]
    if given.is_file() and given.name in (_METRICS, _RESULT):
        folder = given.parent if given.name == _METRICS else given.parent.parent
        if not _is_run(folder):
            raise OutputError(
                f"there is no {_CONFIG} in {folder}, so nobody knows what was run.",
                where=str(given),
                hint="Leave the file in the folder that kd3d-train wrote.",
            )
        return [folder]
    if given.is_dir():
        found = list(_descend(given, _DEPTH))
        if found:
            return found
    raise OutputError(
        "there is no result in it." if given.exists() else "there is no such folder.",
        where=str(given),
        hint="Name the results of a study (docs/results/gain_study) or folders that kd3d-train "
        "wrote into.",
    )


def read_stages(folder: Path) -> list[ReportedStage]:
    """Read the finished networks of a run's folder; an unfinished run may have none.

    Raises:
        OutputError: if a file cannot be read.
    """
    config, choices, started_in = _read_config(folder)
    root = str(config.data.root)
    if "://" not in root:
        root = str((started_in / root).resolve())
    stages = []
    for result in _results(folder):
        stage = _STAGE_OF.get(result.name, "student")
        own = config.copy()
        for name in ("teacher", "plain", "initialised", "student"):
            own.run[name] = name == stage
        distilled = result.role == "distilled student"
        taught = distilled or "of the teacher" in result.initialisation
        stages.append(
            ReportedStage(
                folder=folder,
                result=result,
                seed=int(config.teacher.seed if stage == "teacher" else config.seed),
                method=_method(config, choices) if distilled else "none",
                teacher=str(config.teacher.name) if taught else "",
                settings=settings_of(own),
                root=root,
            )
        )
    return stages


def _is_run(folder: Path) -> bool:
    return (folder / _CONFIG).is_file() or (folder / ".hydra" / _CONFIG).is_file()


def _descend(folder: Path, depth: int) -> Iterator[Path]:
    if is_study(folder) or _is_run(folder):
        yield folder
    elif depth:
        for below in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _descend(below, depth - 1)


def _method(config: DictConfig, choices: Mapping[str, str]) -> str:
    """Name the choice of the group ``kd``, or where it is not kept what is distilled."""
    return choices.get("kd") or "+".join(key for key, of in config.kd.objectives.items() if of)


def _results(folder: Path) -> list[RunResult]:
    """Read the report of a finished run, or the results of an unfinished run's finished stages."""
    if (folder / _METRICS).is_file():
        return read_results(folder / _METRICS)
    return [one for path in sorted(folder.glob(f"*/{_RESULT}")) for one in read_results(path)]


def _read_config(folder: Path) -> tuple[DictConfig, dict[str, str], Path]:
    """Read a run's configuration, what was chosen of each group, and where it was typed."""
    stored = folder / ".hydra"
    path = folder / _CONFIG if (folder / _CONFIG).is_file() else stored / _CONFIG
    try:
        config = OmegaConf.load(path)
        assert isinstance(config, DictConfig)
        config.stage = {"name": "", "folder": ""}
        config.data.seed = "${seed}"
        hydra = stored / "hydra.yaml"
        started = OmegaConf.load(hydra) if hydra.is_file() else OmegaConf.create({})
        choices = OmegaConf.select(started, "hydra.runtime.choices") or {}
        where = OmegaConf.select(started, "hydra.runtime.cwd") or "."
    except Exception as error:
        raise OutputError(
            f"cannot be read ({' '.join(str(error).split())}).",
            where=str(path),
            hint="Leave this run out of the report.",
        ) from error
    return config, {key: str(value) for key, value in choices.items()}, Path(str(where))
