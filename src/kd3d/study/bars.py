"""Bars of paired differences: the mean, its interval, and every seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kd3d.study.statistics import Estimate
from kd3d.visualize.palette import GUIDE, INK, RUN_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BARS_NOTE", "Bar", "draw_bars"]

BARS_NOTE = "bar: mean; line: 95 % interval; dots: seeds"

_OPEN = "holds zero, or none"
_COLOURS = {"above zero": RUN_COLOURS[2], "below zero": RUN_COLOURS[5], _OPEN: RUN_COLOURS[0]}
"""By where the interval lies; with zero inside, or without an interval, nothing is shown."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One mean difference.

    Args:
        label: beside the bar.
        found: the mean and its interval, fractions.
        each: the differences of the seeds, fractions.
    """

    label: str
    found: Estimate
    each: Sequence[float]

    @property
    def says(self) -> str:
        """Where the interval lies: ``"above zero"``, ``"below zero"``, or neither is shown."""
        low, high = self.found.low, self.found.high
        if low is None or high is None or not math.isfinite(self.found.mean):
            return _OPEN
        return "above zero" if low > 0 else "below zero" if high < 0 else _OPEN


def draw_bars(axes: "Axes", bars: Sequence[Bar], label: str) -> None:
    """Draw bars from the top down, in points.

    The colour says where the interval lies; a legend names the colours that occur.

    Args:
        axes: where to draw.
        bars: in their order.
        label: of the horizontal axis.
    """
    from matplotlib.patches import Patch

    for place, bar in enumerate(bars):
        mean, colour = 100 * bar.found.mean, _COLOURS[bar.says]
        reach = None if bar.found.high is None else 100 * bar.found.high - mean
        axes.barh(place, mean, height=0.6, color=colour, alpha=0.75)
        axes.errorbar(mean, place, xerr=reach, color=INK, capsize=3, linewidth=1)
        points = [100 * value for value in bar.each]
        axes.plot(points, [place] * len(points), "o", color=INK, markersize=2.8, alpha=0.7)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_xlabel(f"{label}\n{BARS_NOTE}", color=INK, fontsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GUIDE)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.grid(axis="x", color=GUIDE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)
    said = [word for word in _COLOURS if any(bar.says == word for bar in bars)]
    axes.legend(
        [Patch(color=_COLOURS[word], alpha=0.75) for word in said],
        said,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        title="interval",
        title_fontsize=8.5,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
