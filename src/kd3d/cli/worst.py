"""A page of the frames where most went wrong."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from kd3d.files import write_text
from kd3d.predictions import Evaluation, FrameErrors, FrameObjects, points_of_frames
from kd3d.structures import Detections
from kd3d.visualize import save_bev

if TYPE_CHECKING:
    from kd3d.data import FrameDataset

__all__ = ["write_worst_frames"]

_FARTHEST = 80.0
"""Metres around the sensors that a picture shows at most."""


def write_worst_frames(
    folder: Path,
    evaluation: Evaluation,
    predictions: FrameObjects,
    ground_truth: FrameObjects,
    frames: "FrameDataset | None",
    *,
    count: int,
) -> Path:
    """Write ``worst_frames.md`` with pictures from above in ``worst_frames/``.

    Args:
        folder: where to write.
        evaluation: of these predictions and this ground truth.
        predictions: of all frames.
        ground_truth: of all frames.
        frames: the records, for the points; without them, boxes alone are drawn.
        count: frames with most missed objects, and frames with most false positives, to show.

    Returns:
        the page's path.

    Raises:
        OutputError: if a file cannot be written.
    """
    missed = _most(evaluation.errors, "misses", count)
    alarming = _most(evaluation.errors, "false_positives", count)
    shown = list(dict.fromkeys(error.frame_id for error in (*missed, *alarming)))
    pictures = {name: f"worst_frames/{place}.png" for place, name in enumerate(shown, start=1)}
    clouds = {} if frames is None else dict(points_of_frames(frames, shown))
    classes = evaluation.metric.classes
    for name in shown:
        save_bev(
            folder / pictures[name],
            clouds.get(name, np.zeros((0, 3), np.float32)),
            [("predictions", _boxes_of(predictions, name, classes))],
            ground_truth=_boxes_of(ground_truth, name, classes),
            point_cloud_range=_range(predictions, ground_truth, name),
            classes=classes,
            min_score=evaluation.min_score,
            title=name,
            caption="" if name in clouds else "The records' points are not at hand.",
        )
    score = f"{evaluation.min_score:g}"
    lines = [
        "# Worst frames",
        "",
        f"Predictions with score {score} or more, matched by the metric's rules;"
        " objects of both levels, all classes.",
        *_section("Most missed objects", missed, pictures),
        *_section("Most false positives", alarming, pictures),
    ]
    return write_text(folder / "worst_frames.md", "\n".join(lines) + "\n")


def _most(errors: tuple[FrameErrors, ...], kind: str, count: int) -> list[FrameErrors]:
    """Give the frames with most errors of a kind, and at least one."""
    bad = [error for error in errors if getattr(error, kind)]
    return sorted(bad, key=lambda error: -int(getattr(error, kind)))[:count]


def _section(title: str, errors: list[FrameErrors], pictures: dict[str, str]) -> list[str]:
    lines = ["", f"## {title}", ""]
    if not errors:
        return [*lines, "None."]
    lines += ["| frame | found | missed | false positives |", "|---|---:|---:|---:|"]
    lines += [
        f"| {error.frame_id} | {error.hits} | {error.misses} | {error.false_positives} |"
        for error in errors
    ]
    for error in errors:
        lines += ["", f"![{error.frame_id}]({pictures[error.frame_id]})"]
    return lines


def _rows(objects: FrameObjects, name: str) -> slice:
    return objects.rows(objects.frame_ids.index(name)) if name in objects.frame_ids else slice(0)


def _boxes_of(objects: FrameObjects, name: str, classes: tuple[str, ...]) -> Detections:
    """Give the boxes of a frame that the metric counts."""
    rows = _rows(objects, name)
    labels = objects.class_ids(classes)[rows]
    counted = labels >= 0
    if objects.num_points is not None:
        counted &= objects.num_points[rows] != 0
    scores = np.ones(len(labels), np.float32) if objects.scores is None else objects.scores[rows]
    return Detections(
        boxes=torch.from_numpy(objects.boxes[rows][counted].astype(np.float32)),
        scores=torch.from_numpy(scores[counted]),
        labels=torch.from_numpy(labels[counted]),
    )


def _range(first: FrameObjects, second: FrameObjects, name: str) -> list[float]:
    """Give a square around the sensors with all boxes of a frame, in steps of 10 m."""
    places: NDArray[np.float64] = np.concatenate(
        [objects.boxes[_rows(objects, name), :2] for objects in (first, second)]
    )
    reach = np.abs(places).max(initial=10.0) + 3.0  # metres for the boxes' own length
    side = min(float(np.ceil(reach / 10) * 10), _FARTHEST)
    return [-side, -side, -5.0, side, side, 5.0]
