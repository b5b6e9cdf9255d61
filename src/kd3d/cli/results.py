"""What a run of a detector came to."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from kd3d.errors import InputError, OutputError
from kd3d.files import write_text
from kd3d.metrics.functional import RINGS

__all__ = [
    "Role",
    "RunResult",
    "check_results",
    "classes_of",
    "differences",
    "read_results",
    "write_results",
]

Role = Literal["teacher", "plain student", "distilled student"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """One trained and evaluated detector.

    Args:
        name: the run's name; unique within a report.
        role: "teacher", "plain student" or "distilled student".
        detector: the detector's name, such as "cp_pillar_v064".
        initialisation: where its weights started, such as "random" or "prefix of the teacher".
        parameters: number of parameters.
        latency_ms: milliseconds per frame, points to boxes.
        metrics: what `kd3d.metrics.WaymoDetectionMetric` computes, fractions in [0, 1].
        steps: optimiser steps of the training; 0 if it was loaded.
        seconds: wall-clock time of the training, without interruptions.
        skipped_frames: damaged records that were left out (``on_error=skip``), first process.
        replaced_frames: training frames without a box that others stood in for, first process.
        cpu_seconds: processor time of the training, without interruptions and loader's workers.
        split: which frames `metrics` were measured on.
        macs: multiply-accumulates on the frame that `latency_ms` is of; None if not counted.
    """

    name: str
    role: Role
    detector: str
    initialisation: str
    parameters: int
    latency_ms: float
    metrics: Mapping[str, float]
    steps: int
    seconds: float
    skipped_frames: int = 0
    replaced_frames: int = 0
    cpu_seconds: float = 0.0
    split: Literal["validation", "test"] = "validation"
    macs: int | None = None


def classes_of(results: Sequence[RunResult]) -> list[str]:
    """Class names of the metrics ("Vehicle" of "Vehicle/L2_APH"), in their own order.

    Rings of distance ("Vehicle/0-30m/L2_APH", "0-30m/L2_mAPH") are no classes.
    """
    keys = (key.split("/") for result in results for key in result.metrics)
    return list(dict.fromkeys(key[0] for key in keys if len(key) == 2 and key[0] not in RINGS))


def differences(results: Sequence[RunResult]) -> dict[str, dict[str, float]]:
    """Compare each distilled student with every plain student of the same detector.

    Returns:
        ``{metric: distilled - plain}`` per pair, named after the two runs.
    """
    return {
        f"{distilled.name} - {plain.name}": {
            key: value - plain.metrics[key]
            for key, value in distilled.metrics.items()
            if key in plain.metrics
        }
        for distilled in results
        for plain in results
        if distilled.role == "distilled student"
        and plain.role == "plain student"
        and plain.detector == distilled.detector
    }


def check_results(results: Sequence[RunResult]) -> None:
    """Make sure that there are results, each with a name of its own.

    Raises:
        InputError: if there is none, or two have one name.
    """
    if not results:
        raise InputError("there is no result to report.", where="results")
    names = [result.name for result in results]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{names.count(name)} runs are called {name!r}.", where="results")


def write_results(path: str | os.PathLike[str], results: Sequence[RunResult]) -> Path:
    """Write every field of every run, and the differences, as JSON through a temporary name.

    A metric that is not a number (a class without objects) is null.

    Raises:
        InputError: if there is no result, or two have one name.
        OutputError: if the file cannot be written.
    """
    check_results(results)
    content = {
        "runs": [_plain(asdict(result)) for result in results],
        "differences": _plain(differences(results)),
    }
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_results(path: str | os.PathLike[str]) -> list[RunResult]:
    """Read the runs of a `metrics.json` that `write_results` made.

    Raises:
        OutputError: if the file is missing or not such a file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        runs = [dict(run) for run in content["runs"]]
        for run in runs:
            run["metrics"] = {
                key: math.nan if value is None else float(value)
                for key, value in run["metrics"].items()
            }
            if run["latency_ms"] is None:
                run["latency_ms"] = math.nan
        return [RunResult(**run) for run in runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"is not the metrics.json of a report ({error}).",
            where=str(path),
            hint="Remove the run's folder and run the command again.",
        ) from error


def _plain(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Turn mappings into dicts, tensor-like scalars into floats, and non-numbers into None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str | int | None):
        return value
    number = float(cast(float, value))
    return number if math.isfinite(number) else None
