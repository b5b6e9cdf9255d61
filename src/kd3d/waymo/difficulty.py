"""The dataset's difficulty levels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LEVEL_2_POINTS", "effective_difficulty"]

#: An object without an annotated level is of level 2 with at most this many points.
LEVEL_2_POINTS = 5


def effective_difficulty(difficulty: ArrayLike, num_points: ArrayLike) -> NDArray[np.int64]:
    """Return the level that counts in the metric.

    Args:
        difficulty: annotated levels; 0 where nobody annotated one.
        num_points: LiDAR points in each box, broadcast against ``difficulty``; negative where
            unknown, which counts as many.

    Returns:
        int64: the annotated level; else 2 with at most `LEVEL_2_POINTS` points, 1 with more. The
        rule of the official metric.
    """
    annotated = np.asarray(difficulty, np.int64)
    points = np.asarray(num_points)
    few = (points >= 0) & (points <= LEVEL_2_POINTS)
    return np.where(annotated == 0, np.where(few, 2, 1), annotated).astype(np.int64)
