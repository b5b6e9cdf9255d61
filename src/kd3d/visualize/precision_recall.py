"""Precision against recall, one panel per class."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kd3d.errors import InputError
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import GUIDE, INK, RUN_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["save_precision_recall"]

_Points = tuple[Sequence[float], Sequence[float]]

_COLOURS = (RUN_COLOURS[2], RUN_COLOURS[1], RUN_COLOURS[3], RUN_COLOURS[4])
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_COLUMNS = 4


def save_precision_recall(
    path: str | os.PathLike[str],
    curves: Mapping[str, Mapping[str, _Points]],
    *,
    title: str = "",
) -> "Figure":
    """Save precision/recall curves: one panel per class, one line per level.

    Args:
        path: an image file; the suffix names the format.
        curves: per class, per line its recall and precision in [0, 1], in the order of the score
            cutoffs. Points at recall 0 are not drawn: precision means nothing there.
        title: text above the panels.

    Returns:
        the figure.

    Raises:
        InputError: if there is nothing to draw, or a curve's lengths differ.
        OutputError: if the file cannot be written.
    """
    if not curves:
        raise InputError("there is no class to draw.", where="curves")
    columns = min(len(curves), _COLUMNS)
    rows = -(-len(curves) // columns)
    figure = new_figure(0.6 + 2.8 * columns, 0.3 + 3.2 * rows + 0.3 * bool(title))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (name, lines) in zip(grid.ravel(), curves.items(), strict=False):
        _draw(axes, name, lines)
    for axes in grid.ravel()[len(curves) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("precision", color=INK)
    for axes in grid[-1]:
        axes.set_xlabel("recall", color=INK)
    grid[0, 0].legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="best")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    save_figure(figure, path)
    return figure


def _draw(axes: "Axes", name: str, lines: Mapping[str, _Points]) -> None:
    drawn = 0
    for order, (label, (recall, precision)) in enumerate(lines.items()):
        if len(recall) != len(precision):
            raise InputError(
                f"{len(recall)} recalls but {len(precision)} precisions.", where=f"{name}, {label}"
            )
        points = [(x, y) for x, y in zip(recall, precision, strict=True) if x > 0]
        drawn += len(points)
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=_COLOURS[order % len(_COLOURS)],
            linestyle=_DASHES[order % len(_DASHES)],
            linewidth=1.6,
            marker="." if len(points) == 1 else "",  # a line needs two
            label=label,
        )
    if not drawn:
        axes.text(0.5, 0.5, "nothing found", ha="center", va="center", fontsize=9, color=INK)
    axes.set_title(name, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_box_aspect(1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GUIDE)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.grid(color=GUIDE, linewidth=0.5, alpha=0.7)
