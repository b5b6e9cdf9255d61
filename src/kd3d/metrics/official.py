"""The original Waymo evaluator beside ours, run in an environment of its own.

It needs TensorFlow 2.13 and cannot share an environment with a current torch: ``make official-env``
builds one in the repository, and here its Python is started as a subprocess.
"""

import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kd3d.errors import ConfigError, InputError
from kd3d.metrics.functional import (
    BREAKDOWNS,
    LEVELS,
    RINGS,
    Objects,
    Predictions,
    average_precisions,
    break_down,
    count_detections,
    shard_classes,
    shard_names,
)
from kd3d.metrics.options import checked_cutoffs, checked_thresholds
from kd3d.metrics.results import named

__all__ = [
    "OFFICIAL_CLASSES",
    "Comparison",
    "OfficialEvaluator",
    "compare_with_official",
    "find_official",
    "official_scores",
    "our_scores",
    "write_official_input",
]

OFFICIAL_CLASSES = ("Vehicle", "Pedestrian", "Sign", "Cyclist")
"""The classes of the original: its type numbers are positions in this list plus one."""

_OFFICIAL_RINGS = dict(zip(RINGS, ("[0, 30)", "[30, 50)", "[50, +inf)"), strict=True))
_CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class OfficialEvaluator:
    """Where the original evaluator is.

    Args:
        python: the interpreter of its environment.
        script: the program that runs it.
    """

    python: Path
    script: Path


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same numbers from both evaluators.

    Args:
        ours: AP and APH by name, such as ``Vehicle/L1_AP`` and ``Vehicle/30-50m/L2_APH``.
        official: those of the original by the same names.
    """

    ours: dict[str, float]
    official: dict[str, float]

    @property
    def difference(self) -> float:
        """The largest absolute difference; NaN if any number is."""
        gaps = [abs(self.ours[name] - self.official[name]) for name in self.official]
        return math.nan if any(map(math.isnan, gaps)) else max(gaps, default=0.0)


def find_official(folders: Sequence[Path] | None = None) -> OfficialEvaluator:
    """Find the environment that ``make official-env`` builds.

    Args:
        folders: where to look for ``.venv-official`` and ``official``; by default the repository
            that kd3d is installed from, then the current folder.

    Raises:
        ConfigError: if there is none.
    """
    for folder in folders or (_CHECKOUT, Path.cwd()):
        python = folder / ".venv-official" / "bin" / "python"
        script = folder / "official" / "evaluate_official.py"
        # The stamp is written last: without it the environment is half built.
        if (folder / ".venv-official" / ".installed").is_file() and script.is_file():
            return OfficialEvaluator(python, script)
    raise ConfigError(
        "The original Waymo evaluator is not installed.",
        where="official",
        hint="Run `make official-env` in a checkout of kd3d (about 1 GB), and kd3d there.",
    )


def write_official_input(path: Path, predictions: Predictions, objects: Objects) -> None:
    """Write rows as the arrays that ``official/evaluate_official.py`` reads.

    Args:
        path: an ``.npz`` file.
        predictions: N rows; shards are positions in `OFFICIAL_CLASSES`.
        objects: M rows with at least one point each; shards likewise.
    """
    np.savez(
        path,
        pred_boxes=predictions.boxes,
        pred_scores=predictions.scores,
        pred_types=(predictions.shards + 1).astype(np.uint8),
        pred_frame_ids=predictions.frames,
        pred_overlap_nlz=predictions.in_no_label_zone,
        gt_boxes=objects.boxes,
        gt_types=(objects.shards + 1).astype(np.uint8),
        gt_frame_ids=objects.frames,
        gt_difficulty=objects.difficulty.astype(np.uint8),
    )


def official_scores(
    predictions: Predictions, objects: Objects, evaluator: OfficialEvaluator | None = None
) -> dict[str, float]:
    """Let the original evaluator score rows, by object type and by range.

    Args:
        predictions: N rows; shards are positions in `OFFICIAL_CLASSES`.
        objects: M rows with at least one point each; shards likewise.
        evaluator: by default the one that `find_official` finds.

    Returns:
        AP and APH of every shard and level, named as in `Comparison`.

    Raises:
        ConfigError: if the original evaluator is not installed.
        InputError: if it fails on these rows.
    """
    evaluator = evaluator or find_official()
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "input.npz"), Path(folder, "output.json")
        write_official_input(source, predictions, objects)
        command = [evaluator.python, evaluator.script, source, result]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ConfigError(
                f"cannot be started ({error.strerror or error}).",
                where=str(evaluator.python),
                hint="Build it again: remove .venv-official, then `make official-env`.",
            ) from error
        if done.returncode != 0:
            raise _failure(done)
        return _by_our_names(json.loads(result.read_text(encoding="utf-8")))


def our_scores(predictions: Predictions, objects: Objects) -> dict[str, float]:
    """Score rows with kd3d as `official_scores` does with the original; same names."""
    count = len(OFFICIAL_CLASSES)
    thresholds = np.asarray(checked_thresholds(OFFICIAL_CLASSES, None), np.float32)
    counts = count_detections(
        *break_down(predictions, objects, BREAKDOWNS, count),
        iou_thresholds=thresholds[shard_classes(count, BREAKDOWNS)],
        cutoffs=np.asarray(checked_cutoffs(None), np.float32),
    )
    tables = dict(zip(("AP", "APH"), average_precisions(counts), strict=True))
    prefixes = [f"L{level}_" for level in LEVELS]
    return named(tables, shard_names(OFFICIAL_CLASSES, BREAKDOWNS), prefixes)


def compare_with_official(
    predictions: Predictions, objects: Objects, evaluator: OfficialEvaluator | None = None
) -> Comparison:
    """Score rows with both evaluators; arguments and errors as for `official_scores`."""
    official = official_scores(predictions, objects, evaluator)
    return Comparison(our_scores(predictions, objects), official)


def _failure(done: "subprocess.CompletedProcess[str]") -> InputError:
    """Say in one line why the evaluator stopped."""
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    if done.returncode < 0:
        hint = "Its polygon code is known to abort on boxes with edges that coincide exactly."
        return InputError(
            f"stopped by signal {-done.returncode}.", where="the original evaluator", hint=hint
        )
    return InputError(f"failed: {said[-1]}", where="the original evaluator")


def _by_our_names(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Rename the original's results; raises KeyError if one is missing."""
    scores = {}
    for name in OFFICIAL_CLASSES:
        parts = {name: f"OBJECT_TYPE_TYPE_{name.upper()}"}
        for ring, theirs in _OFFICIAL_RINGS.items():
            parts[f"{name}/{ring}"] = f"RANGE_TYPE_{name.upper()}_{theirs}"
        for shard, official in parts.items():
            for level in LEVELS:
                for kind in ("AP", "APH"):
                    value = results[f"{official}_LEVEL_{level}"][kind]
                    scores[f"{shard}/L{level}_{kind}"] = value
    return scores
