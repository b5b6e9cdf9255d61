"""Tables of results, for a page and for the console."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kd3d.cli.results import RunResult, check_results, classes_of, differences

__all__ = ["class_table", "main_table", "markdown_table", "print_results", "training_table"]

_LEVELS = ("L1", "L2")
_MISSING = "-"
#: Columns that hold words, not numbers.
_WORDS = frozenset({"Run", "Detector", "Role", "Initialisation", "Class"})


def print_results(
    results: Sequence[RunResult], *, title: str = "", console: Console | None = None
) -> None:
    """Print L2 mAPH, L2 APH per class and ms per frame; 80 characters are enough for it.

    Raises:
        InputError: if there is no result, or two have one name.
    """
    check_results(results)
    classes = classes_of(results)
    keys = ["L2_mAPH", *(f"{name}/L2_APH" for name in classes)]
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    table.add_column("L2 APH, percent", no_wrap=True)
    for name in ("mean", *classes, "ms/frame"):
        table.add_column(name, justify="right")
    for result in results:
        values = [_percent(result.metrics.get(key)) for key in keys]
        table.add_row(_short(result.name), *values, _number(result.latency_ms, ".1f"))
    for name, change in differences(results).items():
        values = [_percent(change.get(key), signed=True) for key in keys]
        table.add_row(_short(name), *values, "", style="bold")
    (console or Console()).print(table)


def _short(name: str) -> str:
    return name.replace(" student", "")


def main_table(results: Sequence[RunResult]) -> tuple[list[str], list[list[str]]]:
    """One row per run, then one per difference; cells are Markdown."""
    classes = classes_of(results)
    header = ["Run", "Detector", "L1 mAPH", "L2 mAPH"]
    header += [f"{name} L2 APH (AP)" for name in classes]
    header += ["Parameters", "ms/frame"]
    rows = []
    for result in results:
        row = [result.name, result.detector]
        row += [_percent(result.metrics.get(f"{level}_mAPH")) for level in _LEVELS]
        row += [_aph_and_ap(result.metrics, name, signed=False) for name in classes]
        row += [f"{result.parameters:,}", _number(result.latency_ms, ".1f")]
        rows.append(row)
    for name, change in differences(results).items():
        row = [name, ""]
        row += [_percent(change.get(f"{level}_mAPH"), signed=True) for level in _LEVELS]
        row += [_aph_and_ap(change, label, signed=True) for label in classes]
        rows.append([f"**{cell}**" if cell else "" for cell in row] + ["", ""])
    return header, rows


def training_table(results: Sequence[RunResult]) -> tuple[list[str], list[list[str]]]:
    """How each run came about."""
    header = ["Run", "Role", "Initialisation", "Steps", "Training time"]
    rows = []
    for result in results:
        steps = f"{result.steps:,}" if result.steps else "loaded"
        spent = _duration(result.seconds) if result.steps else _MISSING
        rows.append([result.name, result.role, result.initialisation, steps, spent])
    return header, rows


def class_table(results: Sequence[RunResult]) -> tuple[list[str], list[list[str]]]:
    """AP and APH of every class at both levels, then the means."""
    columns = [f"{level}_{kind}" for level in _LEVELS for kind in ("AP", "APH")]
    header = ["Class", "Run", *(column.replace("_", " ") for column in columns)]
    rows = []
    for name in classes_of(results):
        for result in results:
            values = [_percent(result.metrics.get(f"{name}/{column}")) for column in columns]
            rows.append([name, result.name, *values])
    for result in results:
        means = [_percent(result.metrics.get(column.replace("_", "_m", 1))) for column in columns]
        rows.append(["mean", result.name, *means])
    return header, rows


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: words to the left, numbers to the right."""
    rule = ["---" if name in _WORDS else "---:" for name in header]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *escaped))


def _aph_and_ap(metrics: Mapping[str, float], name: str, *, signed: bool) -> str:
    aph = _percent(metrics.get(f"{name}/L2_APH"), signed=signed)
    return f"{aph} ({_percent(metrics.get(f'{name}/L2_AP'), signed=signed)})"


def _percent(value: float | None, *, signed: bool = False) -> str:
    scaled = None if value is None else 100.0 * value
    return _number(scaled, "+.2f" if signed else ".2f")


def _number(value: float | None, form: str) -> str:
    if value is None or not math.isfinite(value):
        return _MISSING
    return format(value, form)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
