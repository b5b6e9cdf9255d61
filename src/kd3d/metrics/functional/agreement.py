"""How well matched boxes agree beyond their overlap: in heading, place and size."""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ERROR_UNIT",
    "HEADING_UNIT",
    "centre_distance",
    "heading_accuracy",
    "size_error",
]

HEADING_UNIT = 1 << 30
"""Heading accuracies are summed as whole multiples of 1 / HEADING_UNIT, in any order alike."""

ERROR_UNIT = 1 << 20
"""Distances (metres) and size errors are summed as whole multiples of 1 / ERROR_UNIT."""

Boxes = NDArray[np.float32]


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


def centre_distance(first: Boxes, second: Boxes, *, axes: int = 3) -> NDArray[np.float64]:
    """Measure the distance between the centres of boxes.

    Args:
        first: ``[T, 7]`` boxes, metres.
        second: ``[T, 7]``, likewise.
        axes: 3, or 2 to leave z out.

    Returns:
        ``[T]`` float64 metres.
    """
    apart = first[:, :axes].astype(np.float64) - second[:, :axes].astype(np.float64)
    distance: NDArray[np.float64] = np.sqrt((apart * apart).sum(axis=1))
    return distance


def size_error(first: Boxes, second: Boxes, *, axes: int = 3) -> NDArray[np.float64]:
    """Measure how much boxes differ in size: 1 - IoU once they are moved and turned together.

    The scale error of the nuScenes benchmark (Caesar et al., CVPR 2020).

    Args:
        first: ``[T, 7]`` boxes with positive sides, metres.
        second: ``[T, 7]``, likewise.
        axes: 3 for volumes, or 2 to leave the height out.

    Returns:
        ``[T]`` float64 in [0, 1): 0 for equal sizes.
    """
    sides = first[:, 3 : 3 + axes].astype(np.float64)
    others = second[:, 3 : 3 + axes].astype(np.float64)
    shared = np.minimum(sides, others).prod(axis=1)
    union = sides.prod(axis=1) + others.prod(axis=1) - shared
    error: NDArray[np.float64] = 1 - shared / union
    return error
