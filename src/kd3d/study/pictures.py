"""A study as pictures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kd3d.study.compared import groups_of
from kd3d.study.method_pictures import save_gain_bars
from kd3d.study.plan import Comparison
from kd3d.study.statistics import Estimate, estimate
from kd3d.study.summary import Summary, metric_parts
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import GUIDE, INK, RUN_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["save_pictures"]

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
        bars = save_gain_bars(groups_of(summary), plan.metric, folder)
        return [(path, title) for title, path in bars.items()]
    level, kind = metric_parts(plan.metric)
    unit = f"{level} m{kind}"
    made = []
    answers = [(q.title, summary.difference(q, plan.metric)) for q in plan.comparisons]
    if any(found.count for _, found in answers):
        path = folder / "gains.png"
        _save_gains(path, answers, f"paired difference in {unit}, points")
        made.append((path, "Paired differences with their 95 % intervals"))
    if any(len(summary.curve(row.name)) > 1 for row in plan.rows):
        path = folder / "curves.png"
        _save_curves(path, summary, f"{unit} on validation frames, %")
        made.append((path, "Learning curves: mean of the seeds, and their 95 % interval"))
    if plan.comparisons and answers[0][1].count:
        path = folder / "parts.png"
        _save_parts(path, summary, plan.comparisons[0])
        made.append((path, f"{plan.comparisons[0].title} by class and distance"))
    return made


def _save_gains(path: Path, answers: Sequence[tuple[str, Estimate]], label: str) -> None:
    figure = new_figure(7.2, 0.9 + 0.42 * len(answers))
    axes = figure.subplots()
    for place, (_, found) in enumerate(answers):
        colour = RUN_COLOURS[2] if place == 0 else RUN_COLOURS[0]
        axes.barh(place, 100 * found.mean, height=0.55, color=colour, alpha=0.75)
        axes.errorbar(
            100 * found.mean, place, xerr=_reach(found), color=INK, capsize=3, linewidth=1
        )
    axes.set_yticks(range(len(answers)), [title for title, _ in answers])
    axes.invert_yaxis()
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_xlabel(label, color=INK)
    _finish(axes, "x")
    save_figure(figure, path)


def _save_curves(path: Path, summary: Summary, label: str) -> None:
    figure = new_figure(7.6, 3.8)
    axes = figure.subplots()
    for order, (name, title) in enumerate(summary.plan.titles.items()):
        curve = summary.curve(name)
        if not curve:
            continue
        steps, found = list(curve), [estimate(values) for values in curve.values()]
        colour = RUN_COLOURS[order % len(RUN_COLOURS)]
        heights = [100 * one.mean for one in found]
        mark = _MARKS[order % len(_MARKS)]
        axes.plot(
            steps, heights, mark + "-", color=colour, markersize=4, linewidth=1.6, label=title
        )
        lows = [100 * (one.mean if one.low is None else one.low) for one in found]
        highs = [100 * (one.mean if one.high is None else one.high) for one in found]
        axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("optimiser steps", color=INK)
    axes.set_ylabel(label, color=INK)
    _finish(axes, "y")
    _legend(axes)
    save_figure(figure, path)


def _save_parts(path: Path, summary: Summary, question: Comparison) -> None:
    """One group per ring, one mark per class."""
    level, kind = metric_parts(summary.plan.metric)
    rings = ["all", *summary.rings()]
    labels = ["mean", *summary.classes()]
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
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
    axes.set_title(question.title, loc="left", fontsize=11, color=INK)
    _finish(axes, "y")
    _legend(axes)
    save_figure(figure, path)


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
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1)
    )
