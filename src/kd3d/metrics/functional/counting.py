"""Counts of hits, false alarms and misses at every score cutoff."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from kd3d.metrics.functional.agreement import (
    ERROR_UNIT,
    HEADING_UNIT,
    centre_distance,
    heading_accuracy,
    size_error,
)
from kd3d.metrics.functional.matching import Matches, match, reach_of
from kd3d.metrics.functional.pairs import BoxType
from kd3d.metrics.functional.rows import Objects, Predictions

__all__ = ["LEVELS", "Counts", "count_detections"]

LEVELS = (1, 2)
"""Difficulty levels; level 2 asks for the objects of both."""

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Counts:
    """What the detection metric is computed from. Counts of different frames add up.

    Args:
        true_positives: ``[S, K]`` int64, matched predictions per shard and cutoff, whatever the
            difficulty of their objects.
        false_positives: ``[S, K]`` int64, unmatched predictions outside no-label zones.
        misses: ``[S, L, K]`` int64, unmatched objects that each of L levels asks for.
        heading: ``[S, K]`` int64, sum of the matches' heading accuracies times HEADING_UNIT.
        distance: ``[S, K]`` int64, sum of the distances between the centres of matched boxes in
            metres, times ERROR_UNIT.
        size: ``[S, K]`` int64, sum of the size errors of matched boxes times ERROR_UNIT.
    """

    true_positives: Column
    false_positives: Column
    misses: Column
    heading: Column
    distance: Column
    size: Column

    def __add__(self, other: "Counts") -> "Counts":
        names = [field.name for field in fields(self)]
        return Counts(*(getattr(self, name) + getattr(other, name) for name in names))


def count_detections(
    predictions: Predictions,
    objects: Objects,
    *,
    iou_thresholds: NDArray[np.float32],
    cutoffs: NDArray[np.float32],
    levels: Sequence[int] = LEVELS,
    box_type: BoxType = "3d",
) -> Counts:
    """Match predictions to objects and count, for every shard and score cutoff.

    Args:
        predictions: N rows of any number of frames, shards below S.
        objects: M rows.
        iou_thresholds: ``[S]`` float32 in (0, 1], the least overlap of a match.
        cutoffs: ``[K]`` float32, ascending.
        levels: the L difficulty levels to count misses for.
        box_type: whether overlap, distance and size are those of volumes or those in bird's-eye
            view.

    Example:
        >>> car = np.float32([[10, 0, 1, 4.5, 2, 1.6, 0]])
        >>> apart = np.float32([[10, 0, 1, 4.5, 2, 1.6, 0], [60, 0, 1, 4.5, 2, 1.6, 0]])
        >>> frame, shard, outside = np.array([7]), np.array([0]), np.array([False])
        >>> counts = count_detections(
        ...     Predictions(car, np.float32([0.6]), frame, shard, outside),
        ...     Objects(apart, frame.repeat(2), shard.repeat(2), difficulty=np.array([1, 2])),
        ...     iou_thresholds=np.float32([0.7]),
        ...     cutoffs=np.float32([0.0, 0.5, 0.9]),
        ... )
        >>> counts.true_positives.tolist(), counts.misses.tolist()
        ([[1, 1, 0]], [[[0, 0, 1], [1, 1, 2]]])
    """
    matches = match(
        predictions, objects, iou_thresholds=iou_thresholds, cutoffs=cutoffs, box_type=box_type
    )
    tally = _Tally((len(iou_thresholds), len(cutoffs)), predictions, matches)
    in_zone = predictions.in_no_label_zone
    alarms = _is_false_alarm(in_zone).astype(np.int64)
    reach = reach_of(predictions.scores, cutoffs)
    boxes, others = predictions.boxes[matches.prediction], objects.boxes[matches.object]
    axes = 3 if box_type == "3d" else 2
    misses = []
    for level in levels:
        asked = _is_asked_for(objects.difficulty, level).astype(np.int64)
        wanted = np.zeros((len(iou_thresholds), 1), np.int64)
        np.add.at(wanted[:, 0], objects.shards, asked)
        misses.append(wanted - tally.of_matches(asked[matches.object]))
    hits = _hits(objects.difficulty[matches.object], in_zone[matches.prediction])
    return Counts(
        true_positives=tally.of_matches(hits),
        false_positives=tally.of_all(reach, alarms) - tally.of_matches(alarms[matches.prediction]),
        misses=np.stack(misses, axis=1),
        heading=tally.of_matches(_fixed(heading_accuracy(boxes[:, 6], others[:, 6]), HEADING_UNIT)),
        distance=tally.of_matches(_fixed(centre_distance(boxes, others, axes=axes), ERROR_UNIT)),
        size=tally.of_matches(_fixed(size_error(boxes, others, axes=axes), ERROR_UNIT)),
    )


def _hits(difficulty: Column, in_no_label_zone: NDArray[np.bool_]) -> Column:
    """What matches count: 1, whatever the object's difficulty and the prediction's zone."""
    return np.ones(len(difficulty), np.int64)


def _is_false_alarm(in_no_label_zone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which predictions are false alarms if they find no object."""
    return ~in_no_label_zone


def _is_asked_for(difficulty: Column, level: int) -> NDArray[np.bool_]:
    """Tell which objects are misses of a level if nothing finds them: those up to it."""
    asked: NDArray[np.bool_] = difficulty <= level
    return asked


def _fixed(values: NDArray[np.float64], unit: int) -> Column:
    """Round to whole multiples of 1 / unit, whose sums do not depend on their order."""
    return np.rint(values * unit).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Tally:
    """Adds amounts up per shard and cutoff; gives ``[S, K]``."""

    shape: tuple[int, int]
    predictions: Predictions
    matches: Matches

    def of_matches(self, amount: Column) -> Column:
        """Add each match's amount to the cutoffs that it holds for."""
        shards = self.predictions.shards[self.matches.prediction]
        return self._sum(shards, self.matches.start, self.matches.stop, amount)

    def of_all(self, reach: Column, amount: Column) -> Column:
        """Add each prediction's amount to the cutoffs that it passes."""
        return self._sum(self.predictions.shards, np.zeros_like(reach), reach, amount)

    def _sum(self, shards: Column, start: Column, stop: Column, amount: Column) -> Column:
        changes = np.zeros((self.shape[0], self.shape[1] + 1), np.int64)
        np.add.at(changes, (shards, start), amount)
        np.subtract.at(changes, (shards, stop), amount)
        return changes.cumsum(axis=1)[:, :-1]
