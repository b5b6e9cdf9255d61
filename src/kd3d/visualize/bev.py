"""A frame from above: points and boxes on one axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kd3d.errors import InputError
from kd3d.geometry import corners_bev
from kd3d.visualize.palette import GROUND_TRUTH, GUIDE, INK, POINT_RAMP, class_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BoxLayer", "draw_bev", "plane_of"]

#: Heights (metres, vehicle frame) where the tones of the points begin and end.
_HEIGHTS = (-0.5, 3.5)


@dataclass(frozen=True, slots=True)
class BoxLayer:
    """Boxes that are drawn alike.

    Args:
        name: what the legend calls them.
        boxes: ``[M, 7 or more]`` (x, y, z, length, width, height, heading), metres and radians.
        labels: ``[M]`` int64 class ids, -1 for none; used by the style "class".
        scores: ``[M]`` in [0, 1], or None; faint boxes are uncertain boxes.
        style: "class" fills each box lightly in its class's colour and marks its front;
            "outline" draws a thin dark outline with the same mark.
    """

    name: str
    boxes: Tensor
    labels: Tensor
    scores: Tensor | None = None
    style: Literal["class", "outline"] = "class"

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] < 7:
            raise InputError(
                f"boxes must be [M, 7], not {tuple(self.boxes.shape)}.", where=self.name
            )
        for field, values in (("labels", self.labels), ("scores", self.scores)):
            if values is not None and len(values) != len(self.boxes):
                raise InputError(
                    f"{len(values)} {field} for {len(self.boxes)} boxes.", where=self.name
                )


def draw_bev(
    axes: "Axes",
    points: Tensor | npt.NDArray[np.floating],
    layers: Sequence[BoxLayer] = (),
    *,
    point_cloud_range: Sequence[float],
    title: str = "",
    note: str = "",
) -> None:
    """Draw one frame from above on a matplotlib axes: x to the right, y upwards, in metres.

    Args:
        axes: where to draw; its limits, ticks and title are set.
        points: ``[N, 3 or more]`` (x, y, z, ...), metres, vehicle frame. Points outside the range
            are left out; grey tones go from the ground (pale) to 3.5 m (dark).
        layers: boxes, drawn in this order.
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres.
        title: text above the axes, at the left.
        note: smaller text above the axes, at the right.

    Raises:
        InputError: if shapes do not fit or the range is empty.
    """
    x_min, y_min, x_max, y_max = plane_of(point_cloud_range)
    axes.set_xlim(x_min, x_max)
    axes.set_ylim(y_min, y_max)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GUIDE)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_title(note, loc="right", fontsize=8.5, color=POINT_RAMP[-1])
    _draw_points(axes, _inside(points, point_cloud_range))
    _draw_ego(axes)
    for order, layer in enumerate(layers):
        _draw_boxes(axes, layer, zorder=4 + order)
    _draw_scale(axes, x_min, y_min, x_max - x_min)


def plane_of(point_cloud_range: Sequence[float]) -> tuple[float, float, float, float]:
    """Give (x_min, y_min, x_max, y_max) of a detector's range, metres.

    Raises:
        InputError: if it has not six numbers, or is empty.
    """
    values = [float(value) for value in point_cloud_range]
    if len(values) != 6 or values[3] <= values[0] or values[4] <= values[1]:
        raise InputError(
            f"{values} is not (x_min, y_min, z_min, x_max, y_max, z_max).",
            where="point_cloud_range",
        )
    return values[0], values[1], values[3], values[4]


def _inside(
    points: Tensor | npt.NDArray[np.floating], point_cloud_range: Sequence[float]
) -> npt.NDArray[np.float32]:
    """Points ``[N, 3]`` of the range's plane, the highest last so that they lie on top."""
    if points.ndim != 2 or points.shape[1] < 3:
        raise InputError(
            f"points must be [N, 3 or more], not {tuple(points.shape)}.", where="points"
        )
    values = points.detach().cpu().numpy() if isinstance(points, Tensor) else points
    xyz = values[:, :3].astype(np.float32)
    x_min, y_min, x_max, y_max = plane_of(point_cloud_range)
    keep = (xyz[:, 0] >= x_min) & (xyz[:, 0] <= x_max) & (xyz[:, 1] >= y_min) & (xyz[:, 1] <= y_max)
    xyz = xyz[keep]
    ordered: npt.NDArray[np.float32] = xyz[np.argsort(xyz[:, 2], kind="stable")]
    return ordered


def _draw_points(axes: "Axes", xyz: npt.NDArray[np.float32]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    axes.scatter(
        xyz[:, 0],
        xyz[:, 1],
        c=xyz[:, 2],
        cmap=LinearSegmentedColormap.from_list("heights", POINT_RAMP),
        vmin=_HEIGHTS[0],
        vmax=_HEIGHTS[1],
        s=0.6,
        linewidths=0,
        zorder=1,
        rasterized=True,  # a vector file of 160,000 dots opens in no viewer
    )


def _draw_ego(axes: "Axes") -> None:
    """Mark the sensor vehicle: a small arrow at the origin, pointing forward."""
    axes.scatter(
        [0], [0], marker=">", s=34, color=INK, edgecolors="white", linewidths=0.8, zorder=3
    )


def _draw_boxes(axes: "Axes", layer: BoxLayer, zorder: float) -> None:
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.colors import to_rgba

    if not len(layer.boxes):
        return
    boxes = layer.boxes.detach().cpu().double()
    if layer.style == "outline":
        edges = [to_rgba(GROUND_TRUTH)] * len(boxes)
        faces = [to_rgba("white", 0.0)] * len(boxes)
        width = 0.7
    else:
        scores = torch.ones(len(boxes)) if layer.scores is None else layer.scores.cpu()
        strength = (0.45 + 0.55 * scores.clamp(0, 1)).tolist()
        colours = [class_colour(label) for label in layer.labels.tolist()]
        edges = [to_rgba(colour, alpha) for colour, alpha in zip(colours, strength, strict=True)]
        faces = [
            to_rgba(colour, 0.25 * alpha) for colour, alpha in zip(colours, strength, strict=True)
        ]
        width = 1.1
    outlines = PolyCollection(
        list(corners_bev(boxes[:, :7]).numpy()),
        facecolors=faces,
        edgecolors=edges,
        linewidths=width,
        joinstyle="miter",
        zorder=zorder,
    )
    axes.add_collection(outlines, autolim=False)
    ticks = LineCollection(list(_front_ticks(boxes)), colors=edges, linewidths=width, zorder=zorder)
    axes.add_collection(ticks, autolim=False)


def _front_ticks(boxes: Tensor) -> npt.NDArray[np.float64]:
    """Segments ``[M, 2, 2]`` that leave each box through the middle of its front."""
    forward = torch.stack((boxes[:, 6].cos(), boxes[:, 6].sin()), dim=1)
    front = boxes[:, :2] + forward * boxes[:, 3:4] / 2
    reach = (boxes[:, 3:4] * 0.25).clamp(0.5, 1.5)
    segments: npt.NDArray[np.float64] = torch.stack((front, front + forward * reach), dim=1).numpy()
    return segments


def _draw_scale(axes: "Axes", x_min: float, y_min: float, extent: float) -> None:
    """Draw a bar of a round length in the lower left corner."""
    from matplotlib.patheffects import withStroke

    target = extent / 6
    power = 10.0 ** np.floor(np.log10(target))
    length = float(max(step * power for step in (1, 2, 5) if step * power <= target))
    left, low = x_min + 0.035 * extent, y_min + 0.035 * extent
    axes.plot(
        [left, left + length],
        [low, low],
        linewidth=1.8,
        color=INK,
        solid_capstyle="butt",
        zorder=20,
        path_effects=[withStroke(linewidth=4, foreground="white")],
    )
    axes.text(
        left + length / 2,
        low + 0.012 * extent,
        f"{length:g} m",
        ha="center",
        va="bottom",
        fontsize=7.5,
        color=INK,
        zorder=20,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
