"""What is a transform."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_rigid"]

_TOLERANCE = 1e-2  # of R R^T from the identity: stored rotations are rounded, damaged ones are off


def is_rigid(transform: NDArray[np.float64]) -> bool:
    """Say whether ``[4, 4]`` holds a rotation and a translation, all of them finite."""
    rotation = transform[:3, :3]
    with np.errstate(all="ignore"):  # infinite values and overflow are an answer here
        error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    return bool(np.isfinite(transform).all() and error < _TOLERANCE)
