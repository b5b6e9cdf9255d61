"""Rays against boxes, boxes with leaning sides and upright cylinders around the origin."""

import numpy as np
import numpy.typing as npt

__all__ = ["meet_boxes", "meet_cylinders", "meet_leaning", "slabs"]

Floats = npt.NDArray[np.float32]


def meet_boxes(away: Floats, way: Floats, half: Floats) -> tuple[Floats, Floats, Floats]:
    """Entry, exit (m) and cosine of incidence for boxes around 0."""
    low, high = slabs(way, -half - away, half - away)
    # Column by column: a reduction over an axis of three is several times slower.
    entry = np.maximum(np.maximum(low[:, 0], low[:, 1]), low[:, 2])
    leave = np.minimum(np.minimum(high[:, 0], high[:, 1]), high[:, 2])
    slope = np.abs(way)
    slant = np.where(
        entry == low[:, 0], slope[:, 0], np.where(entry == low[:, 1], slope[:, 1], slope[:, 2])
    )
    return entry, leave, slant


def meet_leaning(
    away: Floats, way: Floats, half: Floats, lean: Floats
) -> tuple[Floats, Floats, Floats]:
    """Entry, exit (m) and cosine of incidence for boxes around 0 whose sides lean inwards.

    Args:
        away: ``[N, 3]`` origins of the rays, metres.
        way: ``[N, 3]`` unit vectors.
        half: ``[N, 3]`` half sizes at the bottom, metres.
        lean: ``[N, 3]`` metres by which front, rear and sides have moved inwards at the top.
    """
    # Six half spaces n p <= d: front, rear, left, right, top, bottom; entering where n way < 0.
    slope = lean / (2 * half[:, 2:])
    count = len(away)
    normal = np.zeros((count, 6, 3), dtype=np.float32)
    normal[:, 0, 0] = normal[:, 2, 1] = normal[:, 4, 2] = 1.0
    normal[:, 1, 0] = normal[:, 3, 1] = normal[:, 5, 2] = -1.0
    normal[:, 0, 2], normal[:, 1, 2] = slope[:, 0], slope[:, 1]
    normal[:, 2, 2] = normal[:, 3, 2] = slope[:, 2]
    bound = half[:, [0, 0, 1, 1, 2, 2]]
    bound[:, :4] -= lean[:, [0, 1, 2, 2]] / 2
    closing = _rows_times(normal, way)
    safe = np.where(np.abs(closing) < 1e-9, np.float32(1e-9), closing)
    cut = (bound - _rows_times(normal, away)) / safe
    entries = np.where(safe < 0, cut, np.float32(-np.inf))
    side = entries.argmax(axis=1)
    each = np.arange(count)
    leave = np.where(safe > 0, cut, np.float32(np.inf)).min(axis=1)
    length = np.sqrt(1 + normal[each, side, 2] ** 2)
    slant = np.abs(closing[each, side]) / np.where(side < 4, length, np.float32(1))
    return entries[each, side], leave, slant


def _rows_times(normal: Floats, vector: Floats) -> Floats:
    """Six rows of each matrix times a vector, written out: the same bits with any BLAS."""
    product: Floats = normal[:, :, 0] * vector[:, :1]
    product += normal[:, :, 1] * vector[:, 1:2]
    product += normal[:, :, 2] * vector[:, 2:]
    return product


def meet_cylinders(away: Floats, way: Floats, half: Floats) -> tuple[Floats, Floats, Floats]:
    """Entry, exit (m) and cosine of incidence for upright cylinders around 0."""
    radius, flat = half[:, 0], np.maximum(way[:, 0] ** 2 + way[:, 1] ** 2, 1e-12)
    inward = -(away[:, 0] * way[:, 0] + away[:, 1] * way[:, 1])
    # The distance of the ray's line from the axis, without the cancellation of b * b - a * c.
    beside = (away[:, 0] * way[:, 1] - away[:, 1] * way[:, 0]) ** 2 / flat
    reached = beside < radius**2
    chord = np.sqrt(np.maximum(radius**2 - beside, 0.0) / flat)
    centre = inward / flat
    low, high = slabs(way[:, 2:], -half[:, 2:] - away[:, 2:], half[:, 2:] - away[:, 2:])
    entry = np.maximum(centre - chord, low[:, 0])
    leave = np.where(reached, np.minimum(centre + chord, high[:, 0]), -np.inf)
    on_side = low[:, 0] < centre - chord
    slant = np.where(on_side, chord * flat / np.maximum(radius, 1e-6), np.abs(way[:, 2]))
    return entry, leave.astype(np.float32), slant


def slabs(way: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Distances at which rays from 0 enter and leave the three slabs low..high."""
    safe = np.where(np.abs(way) < 1e-9, np.float32(1e-9), way)
    one, two = low / safe, high / safe
    return np.minimum(one, two), np.maximum(one, two)
