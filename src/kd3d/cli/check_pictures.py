"""Pictures of the frames that ``kd3d-data check`` looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kd3d.geometry import points_in_boxes
from kd3d.visualize import BoxLayer, draw_bev
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import INK, class_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kd3d.data.check import CheckReport, LookedAt

__all__ = ["save_check_pictures"]

_INCHES = 5.2


def save_check_pictures(folder: Path, split: str, report: "CheckReport", count: int) -> list[Path]:
    """Draw some frames from above; beside what is stored, what was meant, if that differs.

    Args:
        folder: where ``<split>_<number>.png`` go.
        split: what the files are called after.
        report: of a check.
        count: how many frames, evenly spread.

    Returns:
        the files.

    Raises:
        OutputError: if a file cannot be written.
    """
    looked = report.looked_at
    shown = min(count, len(looked))
    paths = []
    for number in range(shown):
        path = folder / f"{split}_{number}.png"
        save_figure(_draw(looked[number * len(looked) // shown], report.names), path)
        paths.append(path)
    return paths


def _draw(frame: "LookedAt", classes: Sequence[str]) -> "Figure":
    scan = frame.scan
    empty = int((frame.inside == 0).sum())
    stored_note = f"{len(scan.boxes)} boxes, {empty} without points"
    panels = [("as stored", stored_note, scan.points[:, :3], scan.boxes)]
    if frame.changed:
        panels.append(("as it seems to be meant", "", frame.points, frame.boxes))
    figure = new_figure(_INCHES * len(panels), _INCHES + 0.5)
    for axes, (title, note, points, boxes) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        draw_bev(
            axes,
            points,
            [BoxLayer(title, boxes, scan.labels)],
            point_cloud_range=_range_of(points),
            title=title,
            note=note,
        )
        _draw_inner_points(axes, points, boxes)
    _name_classes(figure, scan.labels, classes)
    figure.suptitle(scan.frame_id, x=0.01, ha="left", fontsize=10.5, color=INK)
    return figure


def _draw_inner_points(axes: "Axes", points: Tensor, boxes: Tensor) -> None:
    """Draw the points that boxes hold once more, dark: there the boxes must fit."""
    inside = torch.zeros(len(points), dtype=torch.bool)
    for box in torch.split(boxes, 16):
        inside |= points_in_boxes(points, box).any(dim=1)
    x, y = points[inside, 0].numpy(), points[inside, 1].numpy()
    axes.scatter(x, y, s=1.5, linewidths=0, color=INK, zorder=8, rasterized=True)


def _range_of(points: Tensor) -> list[float]:
    """Give a square around the origin that holds nearly all points."""
    reaches = points[:: max(1, len(points) // 100_000), :2].abs().amax(dim=1)
    reach = max(float(torch.quantile(reaches, 0.98)), 1e-3)
    return [-reach, -reach, -3.0, reach, reach, 5.0]


def _name_classes(figure: "Figure", labels: Tensor, classes: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    entries = [
        Patch(
            facecolor=f"{class_colour(label)}40",
            edgecolor=class_colour(label),
            label=classes[label] if label >= 0 else "no class",
        )
        for label in sorted(set(labels.tolist()))
    ]
    if entries:
        figure.legend(
            handles=entries,
            loc="outside lower right",
            ncols=min(len(entries), 6),
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
        )
