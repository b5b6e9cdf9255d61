"""Pictures of what networks cost."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kd3d.errors import InputError
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import CLASS_COLOURS, GUIDE, INK, RUN_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["save_costs"]

_COLOURS = (*CLASS_COLOURS, RUN_COLOURS[0])


def save_costs(
    path: str | os.PathLike[str],
    networks: Mapping[str, Mapping[str, Mapping[str, float]]],
    *,
    unit: str,
    title: str = "",
) -> "Figure":
    """Save stacked bars: per network one bar for each way of counting, a piece for each part.

    Args:
        path: an image file; the suffix names the format.
        networks: name of the network to way of counting to part to amount. Parts of one name have
            one colour in all bars.
        unit: label of the amounts.
        title: text above the plot.

    Returns:
        the figure.

    Raises:
        InputError: if there is no network, or the networks are counted in different ways.
        OutputError: if the file cannot be written.
    """
    ways = _ways_of(networks)
    bars = [
        (f"{name}, {way}", pieces)
        for name, counts in networks.items()
        for way, pieces in counts.items()
    ]
    figure = new_figure(8.0, 1.0 + 0.34 * len(bars))
    axes = figure.subplots()
    places = [number + 0.5 * (number // ways) for number in range(len(bars))]
    _stack(axes, places, [pieces for _, pieces in bars])
    axes.set_yticks(places, [label for label, _ in bars])
    axes.invert_yaxis()
    axes.set_xlabel(unit, color=INK)
    _finish(axes, title)
    save_figure(figure, path)
    return figure


def _ways_of(networks: Mapping[str, Mapping[str, Mapping[str, float]]]) -> int:
    """Give the number of ways of counting, which is that of every network."""
    if not networks:
        raise InputError("there is no network to draw.", where="networks")
    ways = list(next(iter(networks.values())))
    for name, counts in networks.items():
        if list(counts) != ways:
            raise InputError(
                f"is counted as {list(counts)}, the first network as {ways}.",
                where=name,
                hint="Count every network in the same ways.",
            )
    return len(ways)


def _stack(axes: "Axes", places: list[float], bars: list[Mapping[str, float]]) -> None:
    """Draw the bars part by part, and the sum of each at its end."""
    ends = [0.0] * len(bars)
    for order, part in enumerate(dict.fromkeys(part for pieces in bars for part in pieces)):
        lengths = [pieces.get(part, 0.0) for pieces in bars]
        colour = _COLOURS[order % len(_COLOURS)]
        axes.barh(places, lengths, left=ends, height=0.8, color=colour, label=part)
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    for place, end in zip(places, ends, strict=True):
        axes.annotate(
            f"{end:,.1f}",
            (end, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
        )
    axes.set_xlim(0, 1.1 * max(ends) or 1.0)


def _finish(axes: "Axes", title: str) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GUIDE)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GUIDE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1)
    )
    if title:
        axes.set_title(title, loc="left", fontsize=11, color=INK)
