"""Gains of methods as bars, one picture per pair."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd3d.study.bars import Bar, draw_bars
from kd3d.study.compared import ComparedGroup, Line
from kd3d.study.summary import metric_parts
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_gains", "save_gain_bars"]


def save_gain_bars(groups: Sequence[ComparedGroup], metric: str, folder: Path) -> dict[str, Path]:
    """Draw each line's paired gain with its 95 % interval, and every seed as a dot.

    The colour says where the interval lies: above zero, below zero, or neither is shown.

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
        lines = _lines(group, metric)
        if not lines:
            continue
        name = f"gains-{_file_name(group.title)}"
        taken = sum(path.stem == name for path in made.values())
        path = folder / f"{name}{f'-{taken + 1}' if taken else ''}.png"
        figure = new_figure(7.8, 1.2 + 0.36 * len(lines))
        draw_gains(figure.subplots(), group, metric)
        save_figure(figure, path)
        made[group.title] = path
    return made


def draw_gains(axes: "Axes", group: ComparedGroup, metric: str) -> None:
    """Draw the gains of a group's lines as bars, as `save_gain_bars` does.

    Args:
        axes: where to draw.
        group: lines without any gain are left out.
        metric: that the gains are of.
    """
    level, kind = metric_parts(metric)
    lines = _lines(group, metric)
    several = len({line.base for line in lines}) > 1
    bars = [
        Bar(
            label=f"{line.title}\nover {line.base}" if several else line.title,
            found=group.gain(line, metric),
            each=list(group.differences(line, metric).values()),
        )
        for line in lines
    ]
    over = f" over {lines[0].base}" if lines and not several else ""
    draw_bars(axes, bars, f"gain{over} in {level} m{kind}, points")
    axes.set_title(group.title, loc="left", fontsize=11, color=INK)


def _lines(group: ComparedGroup, metric: str) -> list[Line]:
    return [line for line in group.lines if group.gain(line, metric).count]


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-.") or "all"
