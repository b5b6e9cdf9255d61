"""Rays against boxes and upright cylinders around the origin."""

import numpy as np
import numpy.typing as npt

__all__ = ["meet_boxes", "meet_cylinders", "slabs"]

Floats = npt.NDArray[np.float32]


def meet_boxes(away: Floats, way: Floats, half: Floats) -> tuple[Floats, Floats, Floats]:
    """Entry, exit (m) and cosine of incidence for boxes around 0."""
    low, high = slabs(way, -half - away, half - away)
    axis = low.argmax(axis=1)
    each = np.arange(len(axis))
    return low[each, axis], high.min(axis=1), np.abs(way[each, axis])


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
