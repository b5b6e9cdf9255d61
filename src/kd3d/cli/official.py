"""The original Waymo evaluator's numbers beside ours, for ``kd3d-eval official=true``."""

from collections.abc import Mapping

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kd3d.metrics.functional import Objects, Predictions
from kd3d.metrics.official import OFFICIAL_CLASSES, Comparison, OfficialEvaluator, official_scores
from kd3d.predictions import FrameObjects
from kd3d.waymo import effective_difficulty

__all__ = ["compare_files", "print_comparison", "rows_of"]


def compare_files(
    predictions: FrameObjects,
    ground_truth: FrameObjects,
    scores: Mapping[str, float],
    evaluator: OfficialEvaluator | None = None,
) -> Comparison:
    """Let the original evaluator score the same boxes.

    Args:
        predictions: with scores.
        ground_truth: labels; without ``num_points`` no object is dropped for want of points.
        scores: ours, named as `WaymoDetectionMetric.compute` does. Those of classes that the
            original lacks, and the means, are left out of the comparison.
        evaluator: by default the one that `kd3d.metrics.official.find_official` finds.

    Raises:
        ConfigError: if the original evaluator is not installed.
        InputError: if it fails on these boxes.
    """
    theirs = official_scores(*rows_of(predictions, ground_truth), evaluator)
    shared = [name for name in scores if name in theirs]
    return Comparison({name: scores[name] for name in shared}, {n: theirs[n] for n in shared})


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print both columns, and the largest difference."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("")
    for name in ("kd3d", "official", "difference"):
        table.add_column(name, justify="right")
    for name, theirs in comparison.official.items():
        ours = comparison.ours[name]
        table.add_row(name, f"{ours:.6f}", f"{theirs:.6f}", f"{abs(ours - theirs):.1e}")
    console = console or Console()
    console.print(table)
    console.print(f"largest difference to the original evaluator: {comparison.difference:.1e}")


def rows_of(predictions: FrameObjects, ground_truth: FrameObjects) -> tuple[Predictions, Objects]:
    """Lay boxes out as both evaluators take them; shards are positions in `OFFICIAL_CLASSES`.

    Boxes of unknown type and objects without points are left out.
    """
    names = dict.fromkeys((*ground_truth.frame_ids, *predictions.frame_ids))
    number = {name: place for place, name in enumerate(names)}
    found = predictions.class_ids(OFFICIAL_CLASSES)
    real = ground_truth.class_ids(OFFICIAL_CLASSES)
    points = _known(ground_truth.num_points, len(ground_truth), -1)
    difficulty = _known(ground_truth.difficulty, len(ground_truth), 0)
    known, kept = found >= 0, (real >= 0) & (points != 0)
    return (
        Predictions(
            predictions.boxes.astype(np.float32)[known],
            _known(predictions.scores, len(predictions), 0).astype(np.float32)[known],
            _frames(predictions, number)[known],
            found[known],
            _known(predictions.overlaps_nlz, len(predictions), 0).astype(np.bool_)[known],
        ),
        Objects(
            ground_truth.boxes.astype(np.float32)[kept],
            _frames(ground_truth, number)[kept],
            real[kept],
            effective_difficulty(difficulty, points)[kept],
        ),
    )


def _frames(objects: FrameObjects, number: Mapping[str, int]) -> np.ndarray:
    """Number the frame of each row alike on both sides."""
    numbers = np.array([number[name] for name in objects.frame_ids], np.int64)
    return numbers[objects.frame]


def _known(column: np.ndarray | None, count: int, missing: int) -> np.ndarray:
    """Fill in a column that is unknown."""
    return np.full(count, missing) if column is None else column
