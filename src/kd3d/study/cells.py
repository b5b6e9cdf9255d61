"""Cells of tables: numbers as text, and Markdown."""

import math
from collections.abc import Sequence

from kd3d.study.statistics import Estimate

__all__ = ["MISSING", "interval", "markdown", "percent", "spread"]

MISSING = "-"


def percent(value: float | None, *, signed: bool = False) -> str:
    """Write a fraction as percent with two digits."""
    if value is None or not math.isfinite(value):
        return MISSING
    hundred = round(100 * value, 2) + 0.0  # no -0.00
    return format(hundred, "+.2f" if signed else ".2f")


def spread(found: Estimate) -> str:
    """Write a mean with its standard deviation, in percent."""
    if found.spread is None or not math.isfinite(found.spread):
        return percent(found.mean)
    return f"{percent(found.mean)} ± {percent(found.spread)}"


def interval(found: Estimate) -> str:
    """Write an interval, in percent."""
    if found.low is None or not math.isfinite(found.mean):
        return MISSING
    return f"{percent(found.low, signed=True)} to {percent(found.high, signed=True)}"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """Lay a table out; the first columns hold words, the others numbers."""
    rule = ["---"] * words + ["---:"] * (len(header) - words)
    cells = ([cell.replace("|", "\\|") for cell in line] for line in (header, rule, *lines))
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
