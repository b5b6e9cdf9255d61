"""Predictions against ground truth: the metric, and what went wrong in each frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.errors import InputError
from kd3d.metrics import WaymoDetectionMetric
from kd3d.metrics.functional import Counts, Objects, Predictions, count_detections
from kd3d.predictions.frame_objects import FrameObjects, check_classes
from kd3d.waymo import effective_difficulty

__all__ = ["Evaluation", "FrameErrors", "evaluate_objects"]

_AT_ONCE = 64
"""Frames per update of the metric."""


@dataclass(frozen=True, slots=True)
class FrameErrors:
    """What went wrong in a frame, over all classes.

    Args:
        frame_id: the frame.
        hits: objects that a prediction with the score or more was matched to.
        misses: objects of both levels without one.
        false_positives: such predictions without an object, outside no-label zones.
    """

    frame_id: str
    hits: int
    misses: int
    false_positives: int


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The comparison of predictions with ground truth.

    Args:
        metric: holds the counts of all frames.
        errors: per frame, in the order of the ground truth, then frames that it lacks.
        min_score: the score that `errors` counts predictions from.
        unlabelled: frames with predictions that the ground truth lacks; all of these predictions
            are false positives.
        unpredicted: frames of the ground truth without any prediction.
        without_points: objects that were dropped because no LiDAR point lies in them.
    """

    metric: WaymoDetectionMetric
    errors: tuple[FrameErrors, ...]
    min_score: float
    unlabelled: int
    unpredicted: int
    without_points: int


def evaluate_objects(
    predictions: FrameObjects,
    ground_truth: FrameObjects,
    *,
    metric: WaymoDetectionMetric,
    min_score: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare predictions with ground truth, frame by frame.

    Boxes of types that `metric.classes` lacks are ignored on both sides. A frame counts if either
    side has it.

    Args:
        predictions: with scores.
        ground_truth: labels; without ``num_points`` no object is dropped for want of points.
        metric: what to count in, a fresh one for these frames alone.
        min_score: predictions below it are no false positives and find nothing in
            `Evaluation.errors`. The metric has cutoffs of its own.
        progress: called with the number of frames done, and of all.

    Raises:
        InputError: if the predictions have no scores.
        ConfigError: if neither side knows a class of the metric.
    """
    if predictions.scores is None and len(predictions):
        raise InputError(
            "the predictions have no scores.",
            where="predictions",
            hint="Are these labels? They are the ground truth.",
        )
    check_classes(metric.classes, predictions, ground_truth)
    found = _Side(predictions, metric.classes)
    real = _Side(ground_truth, metric.classes)
    names = list(dict.fromkeys((*ground_truth.frame_ids, *predictions.frame_ids)))
    errors: list[FrameErrors] = []
    if not names:
        metric.update([], [])  # no frames are a result too, of zeros
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        preds, targets = [found.frame(name) for name in part], [real.frame(name) for name in part]
        metric.update(preds, targets, frame_ids=part)
        errors += _errors(metric, part, preds, targets, min_score)
        if progress is not None:
            progress(start + len(part), len(names))
    predicted = {predictions.frame_ids[frame] for frame in np.unique(predictions.frame)}
    labelled = set(ground_truth.frame_ids)
    points = ground_truth.num_points
    return Evaluation(
        metric=metric,
        errors=tuple(errors),
        min_score=min_score,
        unlabelled=len(predicted - labelled),
        unpredicted=len(labelled - predicted),
        without_points=0 if points is None else int(((points == 0) & (real.labels >= 0)).sum()),
    )


class _Side:
    """Predictions or ground truth as the metric takes them, frame by frame."""

    def __init__(self, objects: FrameObjects, classes: Sequence[str]) -> None:
        self.labels: NDArray[np.int64] = objects.class_ids(classes)
        self._objects = objects
        self._places = {name: place for place, name in enumerate(objects.frame_ids)}
        self._columns = {
            "boxes": torch.from_numpy(objects.boxes.astype(np.float32)),
            "labels": torch.from_numpy(self.labels),
        }
        for name in ("scores", "overlaps_nlz", "difficulty", "num_points"):
            values = getattr(objects, name)
            if values is not None:
                self._columns[name] = torch.from_numpy(values)
        self._columns.setdefault("scores", torch.zeros(len(objects)))

    def frame(self, name: str) -> dict[str, Tensor]:
        """Give the boxes of a frame; none if this side lacks it."""
        place = self._places.get(name)
        rows = slice(0) if place is None else self._objects.rows(place)
        return {column: values[rows] for column, values in self._columns.items()}


def _errors(
    metric: WaymoDetectionMetric,
    names: Sequence[str],
    preds: Sequence[dict[str, Tensor]],
    targets: Sequence[dict[str, Tensor]],
    min_score: float,
) -> list[FrameErrors]:
    """Count every frame on its own: each has its own shard for each class."""
    classes = len(metric.classes)
    found, real = _joined(preds, classes), _joined(targets, classes)
    zeros = np.zeros(len(found["labels"]), np.bool_)
    points = real.get("num_points", np.full(len(real["labels"]), -1))
    difficulty = real.get("difficulty", np.zeros(len(real["labels"]), np.int64))
    kept, known = (real["labels"] >= 0) & (points != 0), found["labels"] >= 0
    counts: Counts = count_detections(
        Predictions(
            found["boxes"][known],
            found["scores"][known],
            found["frames"][known],
            found["shards"][known],
            found.get("overlaps_nlz", zeros)[known],
        ),
        Objects(
            real["boxes"][kept],
            real["frames"][kept],
            real["shards"][kept],
            effective_difficulty(difficulty, points)[kept],
        ),
        iou_thresholds=np.tile(np.asarray(metric.iou_thresholds, np.float32), len(names)),
        cutoffs=np.array([min_score], np.float32),
        box_type=metric.box_type,
    )
    hits, false_positives, misses = (
        values.reshape(len(names), classes).sum(axis=1).tolist()
        for values in (counts.true_positives, counts.false_positives, counts.misses[:, -1])
    )
    return [
        FrameErrors(*numbers) for numbers in zip(names, hits, misses, false_positives, strict=True)
    ]


def _joined(frames: Sequence[dict[str, Tensor]], classes: int) -> dict[str, NDArray[Any]]:
    """Put the columns of frames one after the other and number frames and shards."""
    columns = {name: torch.cat([frame[name] for frame in frames]).numpy() for name in frames[0]}
    counts = [len(frame["labels"]) for frame in frames]
    columns["frames"] = np.repeat(np.arange(len(frames)), counts)
    columns["shards"] = columns["frames"] * classes + columns["labels"]
    return columns
