"""Draw the worked example of ``docs/metrics.md``: ``python docs/make_metric_pictures.py``."""

import math
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from kd3d.geometry import corners_bev
from kd3d.metrics import WaymoDetectionMetric
from kd3d.metrics.functional.curves import RECALL_STEP
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import CLASS_COLOURS, GROUND_TRUTH, GUIDE, INK

IMAGES = Path(__file__).parent / "images"
BLUE, VERMILION, GREEN = CLASS_COLOURS[:3]
NAMES = ("P1", "P2", "P3", "P4")


def main() -> None:
    """Draw the scene, and its curves with AP and APH."""
    predictions, objects = example()
    metric = WaymoDetectionMetric(("Vehicle",))
    metric.update([predictions], [objects])
    figure = new_figure(11.2, 4.4)
    scene, curve = figure.subplots(1, 2, width_ratios=(1.35, 1.0))
    draw_scene(scene, predictions, objects)
    draw_curve(curve, metric)
    save_figure(figure, IMAGES / "metric_example.png")


def example() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Give the predictions and objects of the example."""
    car = (4.5, 2.0, 1.6)
    objects = {
        "boxes": torch.tensor(
            [[8.0, 4.0, 1.0, *car, 0.0], [18.0, -3.0, 1.0, *car, 0.0], [28.0, 3.0, 1.0, *car, 0.0]]
        ),
        "labels": torch.zeros(3, dtype=torch.int64),
        "num_points": torch.tensor([240, 60, 4]),
    }
    predictions = {
        "boxes": torch.tensor(
            [
                [8.3, 4.0, 1.0, *car, 0.0],
                [18.0, -3.0, 1.0, *car, torch.pi],
                [10.0, -5.5, 1.0, *car, 0.4],
                [28.0, 3.2, 1.0, *car, 0.0],
            ]
        ),
        "scores": torch.tensor([0.9, 0.7, 0.6, 0.3]),
        "labels": torch.zeros(4, dtype=torch.int64),
    }
    return predictions, objects


def draw_scene(
    axes: Axes, predictions: dict[str, torch.Tensor], objects: dict[str, torch.Tensor]
) -> None:
    """Draw the boxes from above."""
    axes.set_title("One frame, from above", loc="left", fontsize=10.5, fontweight="bold", color=INK)
    for box, points in zip(objects["boxes"], objects["num_points"].tolist(), strict=True):
        draw_box(axes, box, GROUND_TRUTH, filled=True)
        level = 2 if points <= 5 else 1
        axes.text(
            float(box[0]),
            float(box[1]) + 1.75,
            f"{points} points: level {level}",
            ha="center",
            fontsize=8.5,
            color=INK,
        )
    colours = (BLUE, BLUE, VERMILION, BLUE)
    rows = zip(predictions["boxes"], predictions["scores"].tolist(), NAMES, colours, strict=True)
    for box, score, name, colour in rows:
        draw_box(axes, box, colour, filled=False)
        text = f"{name}  {score:.1f}" + (", reversed" if name == "P2" else "")
        x, y = float(box[0]), float(box[1]) - 2.35
        axes.text(x, y, text, ha="center", fontsize=9, color=colour)
    axes.set_xlim(3.5, 32.5)
    axes.set_ylim(-9, 7)
    axes.set_aspect("equal")
    axes.set_xlabel("x in metres", color=INK)
    axes.set_ylabel("y in metres", color=INK)
    axes.spines[:].set_color(GUIDE)


def draw_box(axes: Axes, box: torch.Tensor, colour: str, *, filled: bool) -> None:
    """Draw a box with a line from its centre out of its front."""
    fill = f"{colour}18" if filled else "none"
    corners = corners_bev(box[None])[0].numpy()
    axes.add_patch(Polygon(corners, facecolor=fill, edgecolor=colour, linewidth=1.5))
    forward = torch.stack((box[6].cos(), box[6].sin())) * (box[3] / 2 + 0.8)
    tip = box[:2] + forward
    axes.plot([float(box[0]), float(tip[0])], [float(box[1]), float(tip[1])], color=colour, lw=1.3)


def draw_curve(axes: Axes, metric: WaymoDetectionMetric) -> None:
    """Draw the level 2 points with and without heading, and the areas that are AP and APH."""
    curve = metric.curves()["Vehicle/L2"]
    scores = metric.compute()
    axes.set_title("Level 2", loc="left", fontsize=10.5, fontweight="bold", color=INK)
    kinds = (
        ("AP", curve.precision, BLUE),
        ("APH", curve.heading_precision, VERMILION),
    )
    for kind, precision, colour in kinds:
        best = best_points(curve.recall.tolist(), precision.tolist())
        recall, height = area_border(best)
        label = f"{kind} {float(scores[f'Vehicle/L2_{kind}']):.3f}"
        axes.fill_between(recall, height, color=f"{colour}1C", linewidth=0)
        axes.plot(recall, height, color=colour, linewidth=1.5, label=label)
        axes.plot(*zip(*best, strict=True), "o", color=colour, markersize=5.5, zorder=4)
    axes.legend(loc="lower left", frameon=False, fontsize=9.5, labelcolor=INK)
    axes.set_xlim(0, 1.08)
    axes.set_ylim(0, 1.1)
    axes.set_xlabel("recall", color=INK)
    axes.set_ylabel("precision", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GUIDE)


def best_points(recall: list[float], precision: list[float]) -> list[tuple[float, float]]:
    """Give the best precision at each recall above 0, from the highest recall down."""
    best: dict[float, float] = {}
    for r, p in zip(recall, precision, strict=True):
        best[r] = max(best.get(r, 0.0), p)
    return sorted(((r, p) for r, p in best.items() if r > 0), reverse=True)


def area_border(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Give the line whose area is AP: envelope, wide gaps filled, the last 0.05 of one a slope."""
    recalls, heights = [], []
    highest = 0.0
    for (recall, precision), (following, _) in pairwise([*points, (0.0, 0.0)]):
        highest = max(highest, precision)
        fill = max(math.ceil((recall - following - 1e-6) / RECALL_STEP) - 1, 0) * RECALL_STEP
        recalls += [recall, recall - fill]
        heights += [highest, highest]
    return [*recalls, 0.0], [*heights, highest]


if __name__ == "__main__":
    main()
