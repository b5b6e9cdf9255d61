"""A frame from above, one panel per detector."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kd3d.errors import InputError
from kd3d.structures import Detections
from kd3d.visualize.bev import BoxLayer, draw_bev, plane_of
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import GROUND_TRUTH, INK, POINT_RAMP, class_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_bev"]

_PANEL_INCHES = 4.6


def save_bev(
    path: str | os.PathLike[str],
    points: Tensor | npt.NDArray[np.floating],
    panels: Sequence[tuple[str, Detections]],
    *,
    point_cloud_range: Sequence[float],
    ground_truth: Detections | None = None,
    classes: Sequence[str] = ("Vehicle", "Pedestrian", "Cyclist"),
    min_score: float = 0.3,
    title: str = "",
    caption: str = "",
) -> "Figure":
    """Save one frame from above, one panel per detector, side by side.

    With `ground_truth` a first panel shows it, and every other panel has its thin outline. Boxes
    whose centre lies outside the range are neither drawn nor counted.

    Args:
        path: an image file; the suffix names the format (png, pdf, svg, ...).
        points: ``[N, 3 or more]`` (x, y, z, ...), metres, vehicle frame.
        panels: (title, detections) from left to right.
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres.
        ground_truth: annotated boxes; their scores are not used.
        classes: names by class id, for the legend.
        min_score: detections below it are left out; the titles state it.
        title: text above all panels.
        caption: small text below, such as the data's attribution.

    Returns:
        the figure.

    Raises:
        InputError: if there is nothing to draw or shapes do not fit.
        OutputError: if the file cannot be written.
    """
    if not panels and ground_truth is None:
        raise InputError("there is nothing to draw.", where="panels")
    x_min, y_min, x_max, y_max = plane_of(point_cloud_range)
    if ground_truth is not None:
        ground_truth = _seen(ground_truth, point_cloud_range)
    drawn = [
        _panel(name, _seen(found, point_cloud_range, min_score), ground_truth, min_score)
        for name, found in panels
    ]
    if ground_truth is not None:
        layer = BoxLayer("ground truth", ground_truth.boxes, ground_truth.labels)
        drawn.insert(0, _Panel("ground truth", f"{len(ground_truth)} boxes", [layer]))
    columns = 2 if len(drawn) == 4 else min(len(drawn), 3)
    rows = -(-len(drawn) // columns)
    height = _PANEL_INCHES * (y_max - y_min) / (x_max - x_min) + 0.25
    margin = 0.3 + 0.1 * bool(title) + 0.2 * bool(caption)
    figure = new_figure(columns * _PANEL_INCHES, rows * height + margin)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, drawn, strict=False):
        draw_bev(
            axes,
            points,
            panel.layers,
            point_cloud_range=point_cloud_range,
            title=panel.title,
            note=panel.note,
        )
    for axes in grid[len(drawn) :]:
        axes.set_axis_off()
    _legend(figure, drawn, classes)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, color=INK)
    if caption:
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color=POINT_RAMP[-1])
    save_figure(figure, path)
    return figure


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    note: str
    layers: list[BoxLayer]


def _panel(
    name: str, found: Detections, ground_truth: Detections | None, min_score: float
) -> _Panel:
    """Put confident detections over the ground truth: what is missed or misplaced shows."""
    layers = [BoxLayer(name, found.boxes, found.labels, found.scores)]
    if ground_truth is not None:
        truth = BoxLayer("ground truth", ground_truth.boxes, ground_truth.labels, style="outline")
        layers.insert(0, truth)
    return _Panel(name, f"{len(found)} boxes with score ≥ {min_score:g}", layers)


def _seen(
    found: Detections, point_cloud_range: Sequence[float], min_score: float = -math.inf
) -> Detections:
    """Keep boxes whose centre lies in the picture, and that are sure enough."""
    x_min, y_min, x_max, y_max = plane_of(point_cloud_range)
    x, y = found.boxes[:, 0], found.boxes[:, 1]
    keep = (x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max) & (found.scores >= min_score)
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def _legend(figure: "Figure", drawn: Sequence[_Panel], classes: Sequence[str]) -> None:
    """Name the classes that occur, and the outline."""
    from matplotlib.patches import Patch

    layers = [layer for panel in drawn for layer in panel.layers]
    used = sorted({label for layer in layers for label in layer.labels.tolist()})
    entries = []
    for label in used:
        colour = class_colour(label)
        name = classes[label] if 0 <= label < len(classes) else f"class {label}"
        entries.append(Patch(facecolor=f"{colour}40", edgecolor=colour, linewidth=1.1, label=name))
    if any(layer.style == "outline" for layer in layers):
        outline = Patch(
            facecolor="none", edgecolor=GROUND_TRUTH, linewidth=0.7, label="ground truth"
        )
        entries.append(outline)
    if entries:
        figure.legend(
            handles=entries,
            loc="outside upper right",
            ncols=len(entries),
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
            handlelength=1.6,
            columnspacing=1.6,
        )
