"""Plots of results: learning curves and bars per class."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kd3d.errors import InputError
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import GUIDE, INK, RUN_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["save_bars", "save_curves"]

_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def save_curves(
    path: str | os.PathLike[str],
    runs: Mapping[str, Sequence[tuple[float, float]]],
    *,
    metric: str,
    title: str = "",
) -> "Figure":
    """Save learning curves: one line per run, a metric against optimiser steps.

    Lines differ in colour and in dashes, and each is named at its end.

    Args:
        path: an image file; the suffix names the format.
        runs: per run its (step, value) pairs, in order of steps.
        metric: label of the vertical axis.
        title: text above the plot.

    Returns:
        the figure.

    Raises:
        InputError: if there is no run, or a run has no value.
        OutputError: if the file cannot be written.
    """
    if not runs:
        raise InputError("there is no run to draw.", where="runs")
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    for order, (name, values) in enumerate(runs.items()):
        if not len(values):
            raise InputError("the run has no value.", where=name)
        steps, heights = zip(*values, strict=True)
        colour = RUN_COLOURS[order % len(RUN_COLOURS)]
        dashes = _DASHES[order % len(_DASHES)]
        axes.plot(steps, heights, color=colour, linestyle=dashes, linewidth=1.8, label=name)
        axes.plot(steps[-1:], heights[-1:], "o", color=colour, markersize=4)
    axes.set_xlabel("optimiser steps", color=INK)
    axes.set_ylabel(metric, color=INK)
    axes.margins(x=0.02)
    _finish(axes, title)
    _name_lines(axes)
    save_figure(figure, path)
    return figure


def save_bars(
    path: str | os.PathLike[str],
    results: Mapping[str, Mapping[str, float]],
    *,
    metric: str,
    title: str = "",
) -> "Figure":
    """Save grouped bars: one group per class, one bar per run, its value above it.

    Args:
        path: an image file; the suffix names the format.
        results: per run, the value of each class.
        metric: label of the vertical axis.
        title: text above the plot.

    Returns:
        the figure.

    Raises:
        InputError: if there is no run, or the runs have different classes.
        OutputError: if the file cannot be written.
    """
    if not results:
        raise InputError("there is no run to draw.", where="results")
    groups = list(next(iter(results.values())))
    for name, values in results.items():
        if set(values) != set(groups):
            raise InputError(
                f"has {sorted(values)}, the first run {sorted(groups)}.",
                where=name,
                hint="Give every run the same classes.",
            )
    figure = new_figure(1.6 + 0.55 * len(groups) * len(results) + 1.2, 3.4)
    axes = figure.subplots()
    width = 0.8 / len(results)
    largest = max((value for values in results.values() for value in values.values()), default=0.0)
    form = "%.1f" if largest > 1 else "%.3f"  # percent or fractions
    for order, (name, values) in enumerate(results.items()):
        places = [group - 0.4 + width * (order + 0.5) for group in range(len(groups))]
        bars = axes.bar(
            places,
            [values[group] for group in groups],
            width=width * 0.92,
            color=RUN_COLOURS[order % len(RUN_COLOURS)],
            label=name,
        )
        axes.bar_label(bars, fmt=form, fontsize=7.5, color=INK, padding=1.5)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(metric, color=INK)
    axes.margins(y=0.12)
    _finish(axes, title)
    axes.tick_params(axis="x", length=0)
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1)
    )
    save_figure(figure, path)
    return figure


def _finish(axes: "Axes", title: str) -> None:
    """Keep only what carries information: two spines and pale horizontal lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GUIDE)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.grid(axis="y", color=GUIDE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left", fontsize=11, color=INK)


def _name_lines(axes: "Axes") -> None:
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1)
    )
