"""From counts to precision/recall curves to average precision."""

import numpy as np
from numpy.typing import NDArray

from kd3d.metrics.functional.agreement import HEADING_UNIT
from kd3d.metrics.functional.counting import Counts

__all__ = ["average_precision", "average_precisions", "precision_recall", "recall_at_precision"]

RECALL_STEP = 0.05
"""Widest stretch of recall that is interpolated; wider ones are filled with the lower precision."""

_TOLERANCE = 1e-6


def precision_recall(
    counts: Counts,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Compute one precision/recall curve per shard and level.

    Args:
        counts: of S shards, L levels and K cutoffs.

    Returns:
        Precision ``[S, L, K]``, precision weighted by heading accuracy ``[S, L, K]``, and recall
        ``[S, L, K]``, float32, in the order of the cutoffs. Both precisions are 1 where recall
        is 0. Recall counts whole matches in either case.
    """
    hits = counts.true_positives[:, None, :]
    predicted = np.broadcast_to(hits + counts.false_positives[:, None, :], counts.misses.shape)
    heading = counts.heading[:, None, :] / HEADING_UNIT
    recall = _share(hits, hits + counts.misses)
    precision = np.where(recall == 0, np.float32(1), _share(hits, predicted))
    weighted = np.where(recall == 0, np.float32(1), _share(heading, predicted))
    return precision, weighted, recall


def average_precision(precision: NDArray[np.float32], recall: NDArray[np.float32]) -> float:
    """Compute the area under one precision/recall curve as the official Waymo metric does.

    Precision never rises with recall (the usual envelope). A gap in recall wider than 0.05 is
    filled with the precision at its higher end, all but the last piece of at most 0.05, which is a
    slope. Recall that was not reached adds nothing.

    Args:
        precision: ``[K]`` in any order.
        recall: ``[K]`` in the same order.

    Returns:
        A number in [0, 1].

    Example:
        >>> average_precision(np.float32([1.0, 0.5]), np.float32([0.5, 1.0]))
        0.7625
    """
    levels, index = np.unique(recall.astype(np.float64), return_inverse=True)
    best = np.zeros(len(levels))
    np.maximum.at(best, index, precision.astype(np.float64))
    reached = levels > 0
    levels, best = levels[reached][::-1], best[reached][::-1]  # from the highest recall down
    envelope = _envelope(best)
    gap = levels - np.append(levels[1:], 0)
    after = np.append(envelope[1:], _precision_at_no_recall(envelope))
    filled = np.maximum(np.ceil((gap - _TOLERANCE) / RECALL_STEP) - 1, 0) * RECALL_STEP
    return float((filled * envelope + (gap - filled) * (envelope + after) / 2).sum())


def average_precisions(counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute AP and APH of every shard and level.

    Args:
        counts: of S shards and L levels.

    Returns:
        AP ``[S, L]`` and APH ``[S, L]`` float64. 0 where a shard has no objects or no predictions.
    """
    precision, weighted, recall = precision_recall(counts)
    result = np.zeros((2, *recall.shape[:2]))
    for shard, level in np.ndindex(*recall.shape[:2]):
        curve = recall[shard, level]
        result[0, shard, level] = average_precision(precision[shard, level], curve)
        result[1, shard, level] = average_precision(weighted[shard, level], curve)
    return result[0], result[1]


def recall_at_precision(counts: Counts, precision: float) -> NDArray[np.float32]:
    """Find the highest recall that any cutoff reaches with at least the given precision.

    Args:
        counts: of S shards and L levels.
        precision: the precision to keep, compared in float32.

    Returns:
        ``[S, L]`` float32; 0 where no cutoff is as precise.
    """
    measured, _, recall = precision_recall(counts)
    best: NDArray[np.float32] = np.where(measured >= np.float32(precision), recall, 0).max(axis=2)
    return best


def _envelope(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best precision at this or any higher recall; recall falls along the array."""
    best: NDArray[np.float64] = np.maximum.accumulate(precision)
    return best


def _precision_at_no_recall(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Precision ``[0 or 1]`` where recall is 0: as at the lowest recall that was measured."""
    return envelope[-1:]


def _share(
    part: NDArray[np.int64] | NDArray[np.float64], whole: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Divide in float32, as the official metric does; 0 where there is nothing."""
    share = np.divide(part, np.maximum(whole, 1), dtype=np.float32, casting="same_kind")
    return np.where(whole > 0, share, np.float32(0))
