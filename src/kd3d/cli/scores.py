"""Scores of an evaluation, for the console and as files."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd3d.files import write_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kd3d.predictions import Evaluation

__all__ = ["notes_of", "print_scores", "write_scores"]

_COLUMNS = ("L1_AP", "L1_APH", "L2_AP", "L2_APH")


def print_scores(
    scores: Mapping[str, float], classes: Sequence[str], console: "Console | None" = None
) -> None:
    """Print AP and APH per class, range and level, in percent."""
    from rich.console import Console
    from rich.table import Table

    from kd3d.metrics.functional import RINGS

    table = Table(title="Waymo metric, percent")
    table.add_column("class")
    table.add_column("range")
    for column in _COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for name in classes:
        _add(table, scores, (name, "all"), [f"{name}/{column}" for column in _COLUMNS])
        for ring in RINGS:
            _add(table, scores, ("", ring), [f"{name}/{ring}/{column}" for column in _COLUMNS])
        table.add_section()
    means = [column.replace("_", "_m") for column in _COLUMNS]
    _add(table, scores, ("mean", "all"), means, style="bold")
    for ring in RINGS:
        _add(table, scores, ("", ring), [f"{ring}/{mean}" for mean in means])
    (console or Console()).print(table)


def write_scores(folder: Path, scores: Mapping[str, float], evaluation: "Evaluation") -> list[Path]:
    """Write ``metrics.json``, ``metrics.csv`` and ``precision_recall.png``; give their paths.

    Raises:
        OutputError: if a file cannot be written.
    """
    from kd3d.visualize import save_precision_recall

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["metric", "value"])
    writer.writerows(scores.items())
    picture = folder / "precision_recall.png"
    curves = evaluation.metric.curves()
    lines: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name in evaluation.metric.classes:
        of_levels = {f"level {level}": curves[f"{name}/L{level}"] for level in (1, 2)}
        lines[name] = {
            label: (curve.recall.tolist(), curve.precision.tolist())
            for label, curve in of_levels.items()
        }
    save_precision_recall(picture, lines, title="Precision and recall at 101 score cutoffs")
    return [
        write_text(folder / "metrics.json", json.dumps(dict(scores), indent=2) + "\n"),
        write_text(folder / "metrics.csv", table.getvalue()),
        picture,
    ]


def notes_of(evaluation: "Evaluation", *, dataset: bool) -> list[str]:
    """Say what a reader of the numbers has to know.

    Args:
        evaluation: of all frames.
        dataset: whether the ground truth comes from records.
    """
    notes = []
    interval = " Does data.val_frame_interval fit?" if dataset else ""
    if evaluation.unlabelled:
        notes.append(
            f"{evaluation.unlabelled} frames with predictions are not in the ground truth; all"
            f" their predictions count as false positives.{interval}"
        )
    if evaluation.unpredicted:
        notes.append(
            f"{evaluation.unpredicted} of {len(evaluation.errors)} frames have no predictions; all"
            f" their objects count as missed.{interval}"
        )
    if evaluation.without_points:
        notes.append(
            f"{evaluation.without_points} objects without LiDAR points are dropped, as the metric"
            " asks."
        )
    return notes


def _add(
    table: "Table",
    scores: Mapping[str, float],
    names: tuple[str, str],
    columns: Sequence[str],
    style: str = "",
) -> None:
    table.add_row(*names, *(f"{100 * scores[column]:.2f}" for column in columns), style=style)
