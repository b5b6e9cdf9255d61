"""The Waymo detection metric as pure functions of NumPy arrays, without torchmetrics.

`break_down` lays rows out by class and by ring of distance, `count_detections` turns predictions
and objects into counts per shard and score cutoff, which add up over frames, and
`average_precisions` turns counts into AP and APH.

Example:
    Two cars in frame 7, one of them found:

    >>> import numpy as np
    >>> cars = np.float32([[10, 0, 1, 4.5, 2, 1.6, 0], [60, 0, 1, 4.5, 2, 1.6, 0]])
    >>> predictions = Predictions(
    ...     cars[:1], scores=np.float32([0.8]), frames=np.array([7]), shards=np.array([0]),
    ...     in_no_label_zone=np.array([False]))
    >>> objects = Objects(
    ...     cars, frames=np.array([7, 7]), shards=np.array([0, 0]), difficulty=np.array([1, 1]))
    >>> names = shard_names(["Vehicle"], ["object_type", "range"])
    >>> counts = count_detections(
    ...     *break_down(predictions, objects, ["object_type", "range"], num_classes=1),
    ...     iou_thresholds=np.full(len(names), 0.7, np.float32),
    ...     cutoffs=np.linspace(0, 1, 11, dtype=np.float32))
    >>> for name, (_, level_2) in zip(names, average_precisions(counts)[0]):
    ...     print(name, round(level_2, 3))
    Vehicle 0.5
    Vehicle/0-30m 1.0
    Vehicle/30-50m 0.0
    Vehicle/50m-inf 0.0
"""

from kd3d.metrics.functional.agreement import centre_distance, heading_accuracy, size_error
from kd3d.metrics.functional.breakdowns import (
    BREAKDOWNS,
    RINGS,
    break_down,
    shard_classes,
    shard_names,
)
from kd3d.metrics.functional.counting import LEVELS, Counts, count_detections
from kd3d.metrics.functional.curves import (
    average_precision,
    average_precisions,
    precision_recall,
    recall_at_precision,
)
from kd3d.metrics.functional.matching import Matches, match
from kd3d.metrics.functional.pairs import BoxType
from kd3d.metrics.functional.rows import Objects, Predictions

__all__ = [
    "BREAKDOWNS",
    "LEVELS",
    "RINGS",
    "BoxType",
    "Counts",
    "Matches",
    "Objects",
    "Predictions",
    "average_precision",
    "average_precisions",
    "break_down",
    "centre_distance",
    "count_detections",
    "heading_accuracy",
    "match",
    "precision_recall",
    "recall_at_precision",
    "shard_classes",
    "shard_names",
    "size_error",
]
