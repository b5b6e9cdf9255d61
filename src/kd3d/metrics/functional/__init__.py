"""The Waymo detection metric as pure functions of NumPy arrays.

`count_detections` turns predictions and objects into counts per shard and score cutoff, which add
up over frames; `average_precisions` turns counts into AP and APH.
"""

from kd3d.metrics.functional.counting import Counts, count_detections, heading_accuracy
from kd3d.metrics.functional.curves import (
    average_precision,
    average_precisions,
    precision_recall,
)
from kd3d.metrics.functional.matching import Matches, match
from kd3d.metrics.functional.rows import Objects, Predictions

__all__ = [
    "Counts",
    "Matches",
    "Objects",
    "Predictions",
    "average_precision",
    "average_precisions",
    "count_detections",
    "heading_accuracy",
    "match",
    "precision_recall",
]
