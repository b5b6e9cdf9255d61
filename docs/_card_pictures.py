"""The pictures of the data card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from _card_facts import SIDES, Objects, Reading
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from kd3d.metrics.functional.breakdowns import RINGS
from kd3d.visualize import BoxLayer, draw_bev
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import CLASS_COLOURS, GUIDE, INK, POINT_RAMP
from kd3d.waymo import CLASSES, TOP, Frame, RawFrame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The pictures are about 10 inches wide and shown at some 830 pixels.
_WIDTH, _DPI = 10.0, 120
_QUIET = POINT_RAMP[-1]
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
#: Colours of what is compared: simulated, real.
_PAIR = (CLASS_COLOURS[0], CLASS_COLOURS[1])
_FAR = LinearSegmentedColormap.from_list("range", ("#08306B", "#4292C6", "#C6DBEF", "#F3E0A6"))
_BRIGHT = LinearSegmentedColormap.from_list("intensity", ("#1F2933", "#8E9BA9", "#FFFFFF"))


def draw_frames(path: Path, frames: Sequence[Frame], reach: float) -> None:
    """Draw six frames from above."""
    figure = new_figure(_WIDTH, 7.3)
    for axes, frame in zip(figure.subplots(2, 3).ravel(), frames, strict=True):
        draw_from_above(axes, frame, reach, f"{(frame.num_points > 0).sum()} boxes with points")
    name_classes(figure)
    save_figure(figure, path, dpi=_DPI)


def draw_beside(path: Path, frames: Mapping[str, Frame], caption: str, reach: float) -> None:
    """Draw sweeps side by side from above, each of one sensor on the roof."""
    figure = new_figure(_WIDTH, 5.6)
    for axes, (title, frame) in zip(figure.subplots(1, len(frames)), frames.items(), strict=True):
        draw_from_above(axes, frame, reach, f"{len(frame.points):,} points", title)
    name_classes(figure, caption)
    save_figure(figure, path, dpi=_DPI)


def draw_from_above(axes: "Axes", frame: Frame, reach: float, note: str, title: str = "") -> None:
    """Draw the points and the boxes that hold some."""
    seen = (frame.num_points > 0) & (frame.labels >= 0)
    layer = BoxLayer("labels", torch.tensor(frame.boxes[seen]), torch.tensor(frame.labels[seen]))
    draw_bev(
        axes,
        frame.points,
        [layer],
        point_cloud_range=(-reach, -reach, -3.0, reach, reach, 6.0),
        title=title,
        note=note,
    )


def name_classes(figure: "Figure", caption: str = "") -> None:
    """Add the legend of the classes, and small print."""
    entries = [
        Patch(facecolor=f"{colour}40", edgecolor=colour, label=name)
        for name, colour in zip(CLASSES, CLASS_COLOURS, strict=False)
    ]
    figure.legend(
        handles=entries,
        loc="outside lower right",
        ncols=len(entries),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
    )
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.07)  # type: ignore[union-attr]
    if caption:
        figure.text(0.008, 0.012, caption, ha="left", va="bottom", fontsize=8.5, color=_QUIET)


def draw_strips(path: Path, strips: Mapping[str, RawFrame], caption: str) -> None:
    """Draw range and intensity of the roof sensor's first return, the front half of the turn."""
    figure = new_figure(_WIDTH, 0.98 * 2 * len(strips) + 0.5)
    rows = figure.subplots(2 * len(strips), 1)
    for number, (name, frame) in enumerate(strips.items()):
        (laser,) = (one for one in frame.lasers if one.name == TOP)
        image = laser.returns[0]
        quarter = image.shape[1] // 4
        ways, bright = np.moveaxis(image[:, quarter : image.shape[1] - quarter, :2], -1, 0)
        empty = ways <= 0
        draw_strip(rows[2 * number], ways, empty, _FAR, (0.0, 60.0), f"{name}: range, to 60 m")
        top = float(np.quantile(bright[~empty], 0.98))
        draw_strip(rows[2 * number + 1], bright, empty, _BRIGHT, (0.0, top), f"{name}: intensity")
    figure.text(0.008, 0.006, caption, ha="left", va="bottom", fontsize=8.5, color=_QUIET)
    figure.get_layout_engine().set(rect=(0, 0.035, 1, 0.965))  # type: ignore[union-attr]
    save_figure(figure, path, dpi=_DPI)


def draw_strip(
    axes: "Axes",
    values: NDArray[np.float32],
    empty: NDArray[np.bool_],
    colours: LinearSegmentedColormap,
    limits: tuple[float, float],
    title: str,
) -> None:
    """Draw one image; pixels without an echo stay white."""
    shown = np.ma.masked_array(values, empty)
    axes.imshow(
        shown, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest"
    )
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, pad=2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(GUIDE)


def draw_sizes(path: Path, objects: Objects) -> None:
    """Draw histograms of the sizes and the headings, one row per class."""
    figure = new_figure(_WIDTH, 5.6)
    rows = figure.subplots(len(CLASSES), 4)
    for kind, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS, strict=False)):
        some = objects.where(objects.kind == kind)
        for axes, side, values in zip(rows[kind], SIDES, some.size.T, strict=False):
            draw_histogram(axes, values, colour)
            axes.set_xlabel(f"{side}, m", fontsize=9.5, color=INK)
        axes = rows[kind][3]
        draw_histogram(axes, np.degrees(some.heading), colour, np.arange(-180, 181, 7.5))
        axes.set_xticks([-180, -90, 0, 90, 180])
        axes.set_xlabel("heading, degrees", fontsize=9.5, color=INK)
        rows[kind][0].set_ylabel(name, fontsize=10.5, fontweight="bold", color=INK)
    save_figure(figure, path, dpi=_DPI)


def draw_histogram(
    axes: "Axes",
    values: NDArray[np.floating],
    colour: str,
    edges: NDArray[np.floating] | int = 40,
) -> None:
    """Draw the shares of a value."""
    weights = np.full(len(values), 1 / max(len(values), 1))
    axes.hist(values, edges, weights=weights, color=colour, alpha=0.75)
    tidy(axes)
    axes.set_yticks([])


def draw_points(path: Path, readings: Mapping[str, Reading], objects: Objects) -> None:
    """Draw points per object by class and ring; points and boxes per frame by split."""
    figure = new_figure(_WIDTH, 5.2)
    upper, lower = figure.subfigures(2, 1)
    edges = count_edges(10_000)
    for kind, axes in enumerate(upper.subplots(1, len(CLASSES), sharey=True)):
        for ring, name in enumerate(RINGS):
            some = objects.points[(objects.kind == kind) & (objects.ring == ring)]
            outline(axes, some[some > 0], edges, CLASS_COLOURS[ring], _DASHES[ring], name)
        axes.set_xscale("log")
        axes.set_title(CLASSES[kind], loc="left", fontsize=10.5, fontweight="bold", color=INK)
        axes.set_xlabel("points per object", fontsize=9.5, color=INK)
        tidy(axes)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    left, right = lower.subplots(1, 2)
    for order, (split, reading) in enumerate(readings.items()):
        for axes, values in (
            (left, reading.points / 1000),
            (right, reading.boxes(with_points=True)),
        ):
            low, high = values.min(), values.max() + 1
            bins = np.linspace(low, high, 25)
            outline(axes, values, bins, CLASS_COLOURS[order], _DASHES[order], split)
    left.set_xlabel("thousand points per frame", fontsize=9.5, color=INK)
    right.set_xlabel("boxes with points per frame", fontsize=9.5, color=INK)
    for axes in (left, right):
        tidy(axes)
    right.legend(frameon=False, fontsize=9, labelcolor=INK)
    save_figure(figure, path, dpi=_DPI)


def draw_comparison(
    path: Path,
    made: tuple[Objects, NDArray[np.float32]],
    real: tuple[Objects, NDArray[np.float32]] | None,
    caption: str,
) -> None:
    """Draw points per object, their fall with distance, and intensity: simulated and real.

    Args:
        path: the picture.
        made: objects, and intensities of points, of simulated sweeps.
        real: the same of real ones, if there are.
        caption: small print.
    """
    figure = new_figure(_WIDTH, 3.9)
    counts, falls, bright = figure.subplots(1, 3)
    pairs = [("simulated", *made)] + ([("real", *real)] if real is not None else [])
    for order, (name, objects, intensity) in enumerate(pairs):
        seen = objects.where(objects.points > 0)
        edges = count_edges(100_000)
        outline(counts, seen.points, edges, _PAIR[order], _DASHES[order], name)
        falls.scatter(
            seen.distance,
            seen.points,
            s=5 if order == 0 else 11,
            color=_PAIR[order],
            alpha=0.35 if order == 0 else 0.9,
            linewidths=0,
            zorder=2 + order,
        )
        edges = np.linspace(0, 1, 51)
        outline(bright, np.tanh(intensity), edges, _PAIR[order], _DASHES[order], name)
    counts.set_xscale("log")
    counts.set_xlabel("points per object", fontsize=9.5, color=INK)
    falls.set_yscale("log")
    falls.set_xlabel("distance, m", fontsize=9.5, color=INK)
    falls.set_ylabel("points per object", fontsize=9.5, color=INK)
    bright.set_xlabel("intensity, tanh", fontsize=9.5, color=INK)
    for axes in (counts, falls, bright):
        tidy(axes)
    handles = [Line2D([], [], color=_PAIR[i], label=pair[0]) for i, pair in enumerate(pairs)]
    falls.legend(handles=handles, frameon=False, fontsize=9, labelcolor=INK)
    figure.text(0.008, 0.012, caption, ha="left", va="bottom", fontsize=8.5, color=_QUIET)
    figure.get_layout_engine().set(rect=(0, 0.06, 1, 0.94))  # type: ignore[union-attr]
    save_figure(figure, path, dpi=_DPI)


def count_edges(most: int) -> NDArray[np.floating]:
    """Give borders between whole numbers, about evenly spaced on a logarithmic axis."""
    steps = np.arange(2 * np.log2(most) + 1) / 2
    edges: NDArray[np.floating] = np.unique(np.round(2**steps)) - 0.5
    return edges


def outline(
    axes: "Axes",
    values: NDArray[np.floating] | NDArray[np.int64],
    edges: NDArray[np.floating],
    colour: str,
    dashes: object,
    name: str,
) -> None:
    """Draw the outline of a histogram of shares."""
    shares = np.histogram(values, edges)[0] / max(len(values), 1)
    axes.stairs(shares, edges, color=colour, linestyle=dashes, linewidth=1.5, label=name)


def tidy(axes: "Axes") -> None:
    """Keep the ground line and percentages only."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GUIDE)
    axes.tick_params(labelsize=9, colors=INK, which="both", color=GUIDE)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
