"""Do the runs of a folder belong to one study?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd3d.errors import ConfigError, DatasetError
from kd3d.study.plan import StudyPlan
from kd3d.study.results import StudyRun, run_file
from kd3d.study.settings import differing, digest_of, read_settings

__all__ = ["Wanted", "check_runs"]

_SHOWN = 5
_BEGIN_ANEW = (
    "name another folder (study.results=FOLDER), or move these files away to run them again."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the runs of a study have in common.

    Args:
        dataset: fingerprint of the data; None takes that of the first run for granted.
        settings: by row (or teacher): every option that its numbers depend on, but for the seed.
        teachers: digest of each teacher's file that is there, by name.
    """

    dataset: str | None
    settings: Mapping[str, Mapping[str, Any]]
    teachers: Mapping[str, str]


def check_runs(plan: StudyPlan, runs: Sequence[StudyRun], wanted: Wanted, folder: Path) -> None:
    """Make sure that finished runs may stand in one table.

    Args:
        plan: the study.
        runs: of the folder.
        wanted: what they are to agree with.
        folder: of the results.

    Raises:
        ConfigError: if a run is of no row of the plan, had other options (they are named) or
            another teacher.
        DatasetError: if a run had other data.
    """
    teachers = {one.name: one.name for one in plan.teachers}
    of_rows = {row.name: row.teacher for row in plan.rows}
    for run in runs:
        where = str(run_file(folder, run.row, run.seed))
        if run.row not in teachers and run.row not in of_rows:
            raise ConfigError(
                f"{run.row!r} is no row of this study.",
                where=where,
                hint=f"Its rows are {', '.join(of_rows)}; move the file away, or {_BEGIN_ANEW}",
            )
        _check_dataset(run, wanted.dataset or runs[0].dataset, where)
        _check_settings(run, wanted.settings[run.row], folder, where)
        if run.row in teachers:
            _check_weights(run, wanted.teachers.get(run.row), where)
        elif run.teacher is not None:
            _check_teacher(run, wanted.teachers.get(of_rows[run.row] or ""), where)


def _check_dataset(run: StudyRun, dataset: str, where: str) -> None:
    if run.dataset != dataset:
        raise DatasetError(
            f"was run on other data: {run.dataset}; this study's is {dataset}.",
            where=where,
            hint=f"Use the data of the finished runs, or {_BEGIN_ANEW}",
        )


def _check_settings(run: StudyRun, settings: Mapping[str, Any], folder: Path, where: str) -> None:
    if run.settings == digest_of(settings):
        return
    stored = read_settings(folder, run.settings)
    if stored is None:
        told = f"{run.settings}, which is not kept, now {digest_of(settings)}"
    else:
        changed = differing(stored, settings)
        parts = [f"{key} was {old}, now {new}" for key, (old, new) in changed.items()]
        more = len(parts) - _SHOWN
        told = "; ".join(parts[:_SHOWN]) + (f" (and {more} more)" if more > 0 else "")
    raise ConfigError(
        f"was run with another configuration: {told}.",
        where=where,
        hint=f"Leave these options out to go on with the study, or {_BEGIN_ANEW}",
    )


def _check_weights(run: StudyRun, found: str | None, where: str) -> None:
    if found != run.weights:
        state = "is missing" if found is None else f"is another one ({found})"
        raise ConfigError(
            f"the teacher's file ({run.weights}) {state}.",
            where=where,
            hint="Bring it back, or delete the results of the teacher and of the rows it taught.",
        )


def _check_teacher(run: StudyRun, teacher: str | None, where: str) -> None:
    if run.teacher != teacher:
        raise ConfigError(
            f"was taught by another teacher ({run.teacher}); this study's is "
            f"{teacher or 'not there'}.",
            where=where,
            hint="Bring the teacher's file and result back, or move the runs away that it taught.",
        )
