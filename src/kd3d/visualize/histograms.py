"""Histograms of what a dataset holds."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from kd3d.errors import InputError
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import CLASS_COLOURS, GUIDE, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["save_histograms"]

_MOST_BINS = 40
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def save_histograms(
    path: str | os.PathLike[str],
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    frames: str = "frames",
    title: str = "",
) -> "Figure":
    """Save histograms side by side: per panel one outline for each of its series.

    Args:
        path: an image file; the suffix names the format.
        panels: label of the horizontal axis to series; a series is a name and its numbers,
            ``[N]`` counts. A panel whose series are empty stays without outlines.
        frames: label of the vertical axis.
        title: text above the first panel.

    Returns:
        the figure.

    Raises:
        InputError: if there is no panel.
        OutputError: if the file cannot be written.
    """
    if not panels:
        raise InputError("there is no panel to draw.", where="panels")
    figure = new_figure(4.2 * len(panels), 3.2)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, series) in zip(row, panels.items(), strict=True):
        _draw_panel(axes, label, {name: np.asarray(values) for name, values in series.items()})
    row[0].set_ylabel(frames, color=INK)
    row[0].set_title(title, loc="left", fontsize=10, color=INK)
    save_figure(figure, path)
    return figure


def _draw_panel(axes: "Axes", label: str, series: Mapping[str, np.ndarray]) -> None:
    everything = np.concatenate([np.empty(0), *series.values()])
    if len(everything):
        edges = _edges(everything)
        for order, (name, values) in enumerate(series.items()):
            counts, _ = np.histogram(values, edges)
            colour = CLASS_COLOURS[order % len(CLASS_COLOURS)]
            dashes = _DASHES[order % len(_DASHES)]
            axes.stairs(counts, edges, color=colour, linestyle=dashes, linewidth=1.6, label=name)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", integer=True)
    axes.set_xlabel(label, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GUIDE, linewidth=0.5)
    axes.set_axisbelow(True)


def _edges(values: np.ndarray) -> np.ndarray:
    """Give bins of whole numbers, at most `_MOST_BINS`."""
    low, high = int(values.min()), int(values.max()) + 1
    width = max(1, -(-(high - low) // _MOST_BINS))
    return np.arange(low, high + width, width) - 0.5
