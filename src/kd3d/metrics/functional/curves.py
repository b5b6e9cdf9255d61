"""From counts to precision/recall curves to average precision."""

import numpy as np
from numpy.typing import NDArray

from kd3d.metrics.functional.counting import HEADING_UNIT, Counts

__all__ = ["average_precision", "average_precisions", "precision_recall"]

RECALL_STEP = 0.05
"""Widest stretch of recall that is interpolated; wider ones are filled with the lower precision."""

_TOLERANCE = 1e-6


def precision_recall(
    counts: Counts,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Compute one precision/recall curve per shard and level.

    Args:
        counts: of S shards and K cutoffs.

    Returns:
        Precision ``[S, 2, K]``, precision weighted by heading accuracy ``[S, 2, K]``, and recall
        ``[S, 2, K]``, float32, in the order of the cutoffs. Both precisions are 1 where recall
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
    envelope = np.maximum.accumulate(best)
    gap = levels - np.append(levels[1:], 0)
    # Down to recall 0 the precision stays what it was: there is no measured point to slope to.
    after = np.append(envelope[1:], envelope[-1:])
    filled = np.maximum(np.ceil((gap - _TOLERANCE) / RECALL_STEP) - 1, 0) * RECALL_STEP
    return float((filled * envelope + (gap - filled) * (envelope + after) / 2).sum())


def average_precisions(counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute AP and APH of every shard and level.

    Args:
        counts: of S shards.

    Returns:
        AP ``[S, 2]`` and APH ``[S, 2]`` float64; columns are levels 1 and 2. 0 where a shard has no
        objects or no predictions.
    """
    precision, weighted, recall = precision_recall(counts)
    result = np.zeros((2, *recall.shape[:2]))
    for shard, level in np.ndindex(*recall.shape[:2]):
        curve = recall[shard, level]
        result[0, shard, level] = average_precision(precision[shard, level], curve)
        result[1, shard, level] = average_precision(weighted[shard, level], curve)
    return result[0], result[1]


def _share(
    part: NDArray[np.int64] | NDArray[np.float64], whole: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Divide in float32, as the official metric does; 0 where there is nothing."""
    share = np.divide(part, np.maximum(whole, 1), dtype=np.float32, casting="same_kind")
    return np.where(whole > 0, share, np.float32(0))
