"""What a study's folder says of the study itself: its plan, and the runs that failed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from kd3d.errors import OutputError
from kd3d.files import write_text
from kd3d.study.plan import Comparison, StudyPlan, StudyRow, StudyTeacher
from kd3d.study.runner import Failure

__all__ = ["is_study", "read_failures", "read_kept_plan", "write_failures", "write_plan"]

_PLAN = "plan.json"
_FAILURES = "failures.json"

T = TypeVar("T")


def is_study(folder: Path) -> bool:
    """Tell whether a folder holds the results of a study: its plan, or the files of runs."""
    return (folder / _PLAN).is_file() or any((folder / "runs").glob("*-seed*.json"))


def write_plan(folder: Path, plan: StudyPlan) -> Path:
    """Keep the plan beside its results, so that a report knows what is missing.

    Raises:
        OutputError: if the file cannot be written.
    """
    return write_text(folder / _PLAN, json.dumps(asdict(plan), indent=1) + "\n")


def read_kept_plan(folder: Path) -> StudyPlan:
    """Read the plan of a study's results.

    Raises:
        OutputError: if there is none, or the file holds something else.
    """
    return _read(
        folder / _PLAN, _plan_of, "Let the study's command write it: study.report_only=true."
    )


def write_failures(folder: Path, failures: Sequence[Failure]) -> Path:
    """Keep the runs that failed in the last call.

    Raises:
        OutputError: if the file cannot be written.
    """
    text = json.dumps([asdict(one) for one in failures], indent=1)
    return write_text(folder / _FAILURES, text + "\n")


def read_failures(folder: Path) -> list[Failure]:
    """Read the runs that failed in the last call; none without the file.

    Raises:
        OutputError: if the file holds something else.
    """
    path = folder / _FAILURES
    if not path.is_file():
        return []
    return _read(path, lambda found: [Failure(**one) for one in found], "Delete it.")


def _plan_of(found: Any) -> StudyPlan:  # noqa: ANN401 - any JSON
    found["teachers"] = tuple(
        StudyTeacher(**{**one, "overrides": tuple(one["overrides"])}) for one in found["teachers"]
    )
    found["rows"] = tuple(
        StudyRow(**{**one, "overrides": tuple(one["overrides"]), "seeds": tuple(one["seeds"])})
        for one in found["rows"]
    )
    found["comparisons"] = tuple(Comparison(**one) for one in found["comparisons"])
    return StudyPlan(**found)


def _read(path: Path, make: Callable[[Any], T], hint: str) -> T:
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"is not what a study writes ({error}).", where=str(path), hint=hint
        ) from error
