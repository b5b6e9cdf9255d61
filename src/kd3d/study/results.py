"""The small file that every finished run of a study leaves."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kd3d.errors import OutputError
from kd3d.files import write_text

__all__ = [
    "StudyRun",
    "StudySession",
    "read_runs",
    "read_sessions",
    "run_file",
    "write_run",
    "write_sessions",
]

_RUNS = "runs"
_SESSIONS = "sessions.json"


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One finished run: a row with one seed, or a teacher.

    Args:
        row: name of the row, or of the teacher.
        seed: of weights, order and augmentation.
        steps: optimiser steps.
        metrics: of the last weights on the final split, fractions in [0, 1]: per class
            (``Vehicle/L2_APH``), ring of distance (``Vehicle/0-30m/L2_APH``) and their means.
        split: what `metrics` were measured on: ``"test"`` or ``"validation"``.
        curve: (step, value of the study's metric on the validation frames) during training.
        seconds: wall-clock time of the training, with its validations.
        cpu_seconds: processor time of the same.
        machine: processor, cores and accelerator, in words.
        version: of kd3d, with the commit where there is one.
        dataset: fingerprint of the data.
        settings: digest of every option that the numbers depend on, but for the seed.
        teacher: digest of the teacher's file; None if none was used.
        weights: digest of the trained file, for teachers; None for rows.
        detector: name of the network.
        parameters: of the network.
        macs: its multiply-accumulates on one validation frame; None where they were not counted.
        latency_ms: milliseconds for that frame, points to boxes, while other runs were at work
            beside it; NaN where it was not measured.
    """

    row: str
    seed: int
    steps: int
    metrics: Mapping[str, float]
    split: str
    curve: Sequence[tuple[int, float]]
    seconds: float
    cpu_seconds: float
    machine: str
    version: str
    dataset: str
    settings: str
    teacher: str | None
    weights: str | None
    detector: str
    parameters: int
    macs: int | None = None
    latency_ms: float = math.nan


@dataclass(frozen=True, slots=True)
class StudySession:
    """One call of the study's command.

    Args:
        started: date and time.
        seconds: until its last run was finished.
        machine: processor, cores and accelerator, in words.
        processes: runs side by side.
        runs: finished by it.
    """

    started: str
    seconds: float
    machine: str
    processes: int
    runs: int


def run_file(folder: Path, row: str, seed: int) -> Path:
    """Name the file of a run."""
    return folder / _RUNS / f"{row}-seed{seed}.json"


def write_run(folder: Path, run: StudyRun) -> Path:
    """Write a run's file through a temporary name; a metric that is not a number is null.

    Raises:
        OutputError: if the file cannot be written.
    """
    text = json.dumps(_without_nan(asdict(run)), indent=1, allow_nan=False)
    return write_text(run_file(folder, run.row, run.seed), text + "\n")


def read_runs(folder: Path) -> list[StudyRun]:
    """Read all runs of a study's folder, ordered by file name.

    Raises:
        OutputError: if a file is not a run's.
    """
    return [_read_run(path) for path in sorted((folder / _RUNS).glob("*.json"))]


def write_sessions(folder: Path, sessions: Sequence[StudySession]) -> Path:
    """Write what calls the study took.

    Raises:
        OutputError: if the file cannot be written.
    """
    text = json.dumps([asdict(session) for session in sessions], indent=1)
    return write_text(folder / _SESSIONS, text + "\n")


def read_sessions(folder: Path) -> list[StudySession]:
    """Read what calls the study took so far.

    Raises:
        OutputError: if the file is not such a list.
    """
    path = folder / _SESSIONS
    if not path.is_file():
        return []
    try:
        return [StudySession(**session) for session in _load(path)]
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(
            path, error, "Delete it; only the time that the study took is lost."
        ) from error


def _read_run(path: Path) -> StudyRun:
    try:
        content = _load(path)
        content["metrics"] = {key: _number(value) for key, value in content["metrics"].items()}
        content["curve"] = tuple((int(step), _number(value)) for step, value in content["curve"])
        content["latency_ms"] = _number(content.get("latency_ms"))
        run = StudyRun(**content)
        if path.name != run_file(path.parent, run.row, run.seed).name:
            raise ValueError(f"it holds {run.row} with seed {run.seed}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error, "Delete it, and this one run is repeated.") from error
    return run


def _load(path: Path) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(path.read_text(encoding="utf-8"))


def _unreadable(path: Path, error: Exception, hint: str) -> OutputError:
    return OutputError(f"is no result of a study ({error}).", where=str(path), hint=hint)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
