"""A study as pictures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kd3d.study.bars import Bar, draw_bars
from kd3d.study.compared import groups_of
from kd3d.study.method_pictures import save_gain_bars
from kd3d.study.plan import Comparison
from kd3d.study.statistics import Estimate, estimate
from kd3d.study.summary import Summary, metric_parts
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import GUIDE, INK, RUN_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves", "draw_parts", "save_pictures"]

_MARKS = ("o", "s", "D", "^", "v", "P", "X", "<", ">")


def save_pictures(summary: Summary, folder: Path) -> list[tuple[Path, str]]:
    """Draw what there is: answers with intervals, learning curves, and the first answer in parts.

    Groups of questions get a picture each instead, `save_gain_bars`, whose caption is their title.

    Args:
        summary: of the study.
        folder: where ``gains.png``, ``curves.png`` and ``parts.png`` go.

    Returns:
        path and caption of each picture.

    Raises:
        OutputError: if a file cannot be written.
    """
    plan = summary.plan
    if plan.groups:
        gains = save_gain_bars(groups_of(summary), plan.metric, folder)
        return [(path, title) for title, path in gains.items()]
    made = []
    answered = summary.answered()
    if answered:
        made.append((folder / "gains.png", "Paired differences with their 95 % intervals"))
        _save_gains(made[-1][0], summary, answered)
    if any(len(summary.curve(row.name)) > 1 for row in plan.rows):
        told = "Learning curves: mean of the seeds, and its 95 % interval, cut at zero"
        made.append((folder / "curves.png", told))
        figure = new_figure(7.6, 3.8)
        draw_curves(figure.subplots(), summary)
        save_figure(figure, made[-1][0])
    if answered and answered[0] == plan.comparisons[0]:
        made.append((folder / "parts.png", f"{answered[0].title} by class and distance"))
        figure = new_figure(7.2, 3.4)
        draw_parts(figure.subplots(), summary, answered[0])
        save_figure(figure, made[-1][0])
    return made


def draw_curves(axes: "Axes", summary: Summary, names: Sequence[str] | None = None) -> None:
    """Draw learning curves: the mean of the seeds, and its 95 % interval as a band, in percent.

    No AP is below 0 or above 100, but an interval of few seeds may be: bands are cut there.

    Args:
        axes: where to draw.
        summary: of the study.
        names: of rows and teachers; all of the plan by default. Those without a curve are left out.
    """
    titles = summary.plan.titles
    for order, name in enumerate(titles if names is None else names):
        curve = summary.curve(name)
        if not curve:
            continue
        steps, found = list(curve), [estimate(values) for values in curve.values()]
        colour = RUN_COLOURS[order % len(RUN_COLOURS)]
        mark = _MARKS[order % len(_MARKS)]
        axes.plot(
            steps,
            [100 * one.mean for one in found],
            f"{mark}-",
            color=colour,
            markersize=4,
            linewidth=1.6,
            label=titles[name],
            clip_on=False,  # a mark at 0 is drawn whole
        )
        axes.fill_between(steps, *_band(found), color=colour, alpha=0.15, linewidth=0)
    level, kind = metric_parts(summary.plan.metric)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("optimiser steps", color=INK)
    axes.set_ylabel(f"{level} m{kind} on validation frames, %", color=INK)
    _finish(axes, "y")
    _legend(axes)


def draw_parts(axes: "Axes", summary: Summary, question: Comparison) -> None:
    """Draw the paired difference of a question by class and distance, with its 95 % interval.

    Args:
        axes: where to draw: one group per ring of distance, one mark per class.
        summary: of the study.
        question: of its plan.
    """
    level, kind = metric_parts(summary.plan.metric)
    rings = ["all", *summary.rings()]
    labels = ["mean", *summary.classes()]
    for order, label in enumerate(labels):
        shift = 0.7 * ((order + 0.5) / len(labels) - 0.5)
        for place, ring in enumerate(rings):
            part = "" if ring == "all" else f"{ring}/"
            mean = f"{part}{summary.plan.metric}"
            key = mean if label == "mean" else f"{label}/{part}{level}_{kind}"
            found = summary.difference(question, key)
            axes.errorbar(
                place + shift,
                100 * found.mean,
                yerr=_reach(found),
                fmt=_MARKS[order % len(_MARKS)],
                color=RUN_COLOURS[order % len(RUN_COLOURS)],
                capsize=3,
                markersize=5,
                linewidth=1.2,
                label=label if place == 0 else None,
            )
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(rings)), rings)
    axes.set_ylabel(f"paired difference in {level} {kind}, points", color=INK)
    axes.set_title(question.name, loc="left", fontsize=11, color=INK)
    _finish(axes, "y")
    _legend(axes)


def _save_gains(path: Path, summary: Summary, questions: Sequence[Comparison]) -> None:
    metric = summary.plan.metric
    level, kind = metric_parts(metric)
    bars = []
    for question in questions:
        row, base = (summary.values(name, metric) for name in (question.row, question.base))
        each = [row[seed] - base[seed] for seed in row if seed in base]
        bars.append(Bar(question.title, summary.difference(question, metric), each))
    figure = new_figure(7.8, 1.1 + 0.42 * len(bars))
    draw_bars(figure.subplots(), bars, f"paired difference in {level} m{kind}, points")
    save_figure(figure, path)


def _band(found: Sequence[Estimate]) -> tuple[list[float], list[float]]:
    """Give the ends of intervals in percent, within what a percentage can be."""
    lows = [one.mean if one.low is None else max(one.low, 0.0) for one in found]
    highs = [one.mean if one.high is None else min(one.high, 1.0) for one in found]
    return [100 * low for low in lows], [100 * high for high in highs]


def _reach(found: Estimate) -> float | None:
    """Half the interval in points; nothing to draw where there is none."""
    if found.high is None or not math.isfinite(found.mean):
        return None
    return 100 * (found.high - found.mean)


def _finish(axes: "Axes", direction: Literal["x", "y"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GUIDE)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.grid(axis=direction, color=GUIDE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)


def _legend(axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
