"""Counts of hits, false alarms and misses at every score cutoff."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.metrics.functional.matching import Matches, match, reach_of
from kd3d.metrics.functional.rows import Objects, Predictions

__all__ = ["HEADING_UNIT", "LEVELS", "Counts", "count_detections", "heading_accuracy"]

LEVELS = (1, 2)
"""Difficulty levels; level 2 asks for the objects of both."""

HEADING_UNIT = 1 << 30
"""Heading accuracies are summed as whole multiples of 1 / HEADING_UNIT, in any order alike."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the detection metric is computed from. Counts of different frames add up.

    Args:
        true_positives: ``[S, K]`` int64, matched predictions per shard and cutoff, whatever the
            difficulty of their objects.
        false_positives: ``[S, K]`` int64, unmatched predictions outside no-label zones.
        misses: ``[S, 2, K]`` int64, unmatched objects of level 1, and of levels 1 and 2.
        heading: ``[S, K]`` int64, sum of the matches' heading accuracies times HEADING_UNIT.
    """

    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    misses: NDArray[np.int64]
    heading: NDArray[np.int64]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.misses + other.misses,
            self.heading + other.heading,
        )


def count_detections(
    predictions: Predictions,
    objects: Objects,
    *,
    iou_thresholds: NDArray[np.float32],
    cutoffs: NDArray[np.float32],
) -> Counts:
    """Match predictions to objects and count, for every shard and score cutoff.

    Args:
        predictions: N rows of any number of frames, shards below S.
        objects: M rows.
        iou_thresholds: ``[S]`` float32 in (0, 1], the least 3D overlap of a match.
        cutoffs: ``[K]`` float32, ascending.
    """
    matches = match(predictions, objects, iou_thresholds=iou_thresholds, cutoffs=cutoffs)
    reach = reach_of(predictions.scores, cutoffs)
    shape = (len(iou_thresholds), len(cutoffs))
    counted = ~predictions.in_no_label_zone
    present = _tally(
        shape, predictions.shards[counted], np.zeros(counted.sum(), np.int64), reach[counted]
    )
    misses = np.empty((shape[0], len(LEVELS), shape[1]), np.int64)
    for index, level in enumerate(LEVELS):
        asked = objects.difficulty <= level
        wanted = np.bincount(objects.shards[asked], minlength=shape[0])
        misses[:, index] = wanted[:, None] - _tally_matches(
            shape, matches, predictions, asked[matches.object].astype(np.int64)
        )
    accuracy = heading_accuracy(
        predictions.boxes[matches.prediction, 6], objects.boxes[matches.object, 6]
    )
    return Counts(
        true_positives=_tally_matches(shape, matches, predictions, np.ones(len(matches), np.int64)),
        false_positives=present
        - _tally_matches(shape, matches, predictions, counted[matches.prediction].astype(np.int64)),
        misses=misses,
        heading=_tally_matches(
            shape, matches, predictions, np.rint(accuracy * HEADING_UNIT).astype(np.int64)
        ),
    )


def heading_accuracy(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Rate how well headings agree: 1 if equal, 0.5 at a right angle, 0 if opposite.

    Args:
        first: ``[T]`` radians, not necessarily wrapped.
        second: ``[T]`` radians.

    Returns:
        ``[T]`` float64 in [0, 1]: 1 - angle / pi.
    """
    turn = np.abs(first.astype(np.float64) - second.astype(np.float64)) % (2 * np.pi)
    return 1 - np.minimum(turn, 2 * np.pi - turn) / np.pi


def _tally_matches(
    shape: tuple[int, int],
    matches: Matches,
    predictions: Predictions,
    amount: NDArray[np.int64],
) -> NDArray[np.int64]:
    shards = predictions.shards[matches.prediction]
    return _tally(shape, shards, matches.start, matches.stop, amount)


def _tally(
    shape: tuple[int, int],
    shards: NDArray[np.int64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    amount: NDArray[np.int64] | int = 1,
) -> NDArray[np.int64]:
    """Add each amount to the cutoffs [start, stop) of its shard; gives ``[S, K]``."""
    changes = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(changes, (shards, start), amount)
    np.subtract.at(changes, (shards, stop), amount)
    return changes.cumsum(axis=1)[:, :-1]
