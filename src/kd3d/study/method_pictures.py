"""Gains of methods as bars, one picture per pair."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd3d.study.compared import ComparedGroup, Line
from kd3d.study.summary import metric_parts
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import GUIDE, INK, RUN_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["save_gain_bars"]

_ABOVE, _BELOW, _OPEN = RUN_COLOURS[2], RUN_COLOURS[5], RUN_COLOURS[0]


def save_gain_bars(groups: Sequence[ComparedGroup], metric: str, folder: Path) -> dict[str, Path]:
    """Draw each line's paired gain with its 95 % interval, and every seed as a dot.

    Bars whose interval holds zero, or that have none, are grey.

    Args:
        groups: those without any gain get no picture.
        metric: that the gains are of.
        folder: where ``gains-TITLE.png`` go.

    Returns:
        files by the groups' titles.

    Raises:
        OutputError: if a file cannot be written.
    """
    made: dict[str, Path] = {}
    for group in groups:
        lines = [line for line in group.lines if group.gain(line, metric).count]
        if not lines:
            continue
        name = f"gains-{_file_name(group.title)}"
        taken = sum(path.stem == name for path in made.values())
        path = folder / f"{name}{f'-{taken + 1}' if taken else ''}.png"
        _save_bars(path, group, lines, metric)
        made[group.title] = path
    return made


def _save_bars(path: Path, group: ComparedGroup, lines: Sequence[Line], metric: str) -> None:
    level, kind = metric_parts(metric)
    figure = new_figure(7.2, 1.1 + 0.36 * len(lines))
    axes = figure.subplots()
    for place, line in enumerate(lines):
        _draw_bar(axes, place, group, line, metric)
    several = len({line.base for line in lines}) > 1
    labels = [f"{line.title}\nover {line.base}" if several else line.title for line in lines]
    axes.set_yticks(range(len(lines)), labels)
    axes.invert_yaxis()
    axes.axvline(0.0, color=INK, linewidth=0.8)
    over = "" if several else f" over {lines[0].base}"
    axes.set_xlabel(f"{level} m{kind}, points{over}", color=INK, fontsize=8.5)
    axes.set_title(group.title, loc="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GUIDE)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.grid(axis="x", color=GUIDE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)
    save_figure(figure, path)


def _draw_bar(axes: "Axes", place: int, group: ComparedGroup, line: Line, metric: str) -> None:
    gain = group.gain(line, metric)
    colour, reach = _OPEN, None
    if gain.low is not None and gain.high is not None and math.isfinite(gain.mean):
        reach = 100 * (gain.high - gain.mean)
        colour = _ABOVE if gain.low > 0 else _BELOW if gain.high < 0 else _OPEN
    axes.barh(place, 100 * gain.mean, height=0.62, color=colour, alpha=0.75)
    axes.errorbar(100 * gain.mean, place, xerr=reach, color=INK, capsize=3, linewidth=1)
    base = group.line(line.base or "")
    before = {} if base is None else base.values(metric)
    each = [100 * (of - before[seed]) for seed, of in line.values(metric).items() if seed in before]
    axes.plot(each, [place] * len(each), "o", color=INK, markersize=2.8, alpha=0.7)


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-.") or "all"
