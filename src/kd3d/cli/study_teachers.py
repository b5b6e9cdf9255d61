"""Teachers that a study takes over from another one."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from kd3d.cli.study_runs import teacher_file
from kd3d.errors import ConfigError, DatasetError
from kd3d.files import whole_file
from kd3d.study import StudyPlan, StudyRun, StudyTeacher, read_runs, run_file, write_run
from kd3d.study.settings import differing, digest_of, file_digest, read_settings, write_settings

__all__ = ["take_over_teachers"]

_SHOWN = 5
_OR_TRAIN = "or train one here: study.teachers.{name}.file=null"


def take_over_teachers(
    plan: StudyPlan,
    results: Path,
    settings: Mapping[str, Mapping[str, Any]],
    dataset: str,
    console: Console,
) -> None:
    """Copy the teachers that the plan names files of, with their results, where they are missing.

    A file that is not there is no fault: the study trains that teacher itself.

    Args:
        plan: the study.
        results: its folder.
        settings: of every teacher, as this study would train it.
        dataset: fingerprint of the data.
        console: where it says so.

    Raises:
        ConfigError: if a file has no result beside it, or was trained in another way.
        DatasetError: if it was trained on other data.
        OutputError: if a file cannot be read or written.
    """
    for teacher in plan.teachers:
        mine = teacher_file(results, teacher.name)
        if teacher.file is None or run_file(results, teacher.name, teacher.seed).is_file():
            continue
        theirs = Path(teacher.file)
        if not theirs.is_file():
            console.print(
                f"{teacher.name}: there is no {theirs}, so it is trained here", highlight=False
            )
            continue
        found = _run_of(teacher, theirs)
        _check(teacher, found, theirs, settings[teacher.name], dataset)
        with whole_file(mine) as temporary:
            shutil.copyfile(theirs, temporary)
        write_settings(results, settings[teacher.name])
        write_run(results, replace(found, row=teacher.name))
        console.print(f"{teacher.name}: taken over from {theirs}", highlight=False)


def _run_of(teacher: StudyTeacher, file: Path) -> StudyRun:
    """Find the run that trained a file, among the results that the file is part of."""
    weights = file_digest(file)
    for run in read_runs(file.parent.parent):
        if run.row == file.stem and run.weights == weights:
            return run
    raise ConfigError(
        "no result of a study is beside this teacher, so nothing says how it was trained.",
        where=str(file),
        hint=f"Bring it back, {_OR_TRAIN.format(name=teacher.name)}.",
    )


def _check(
    teacher: StudyTeacher, run: StudyRun, file: Path, settings: Mapping[str, Any], dataset: str
) -> None:
    hint = f"Make both studies train it alike, {_OR_TRAIN.format(name=teacher.name)}."
    if run.dataset != dataset:
        raise DatasetError(
            f"was trained on other data: {run.dataset}; this study's is {dataset}.",
            where=str(file),
            hint=hint,
        )
    if run.settings != digest_of(settings):
        stored = read_settings(file.parent.parent, run.settings) or {}
        changed = list(differing(stored, settings).items())
        parts = [f"{key} was {old}, here {new}" for key, (old, new) in changed[:_SHOWN]]
        raise ConfigError(
            f"was trained in another way: {'; '.join(parts)}"
            f"{f' (and {len(changed) - _SHOWN} more)' if len(changed) > _SHOWN else ''}.",
            where=str(file),
            hint=hint,
        )
