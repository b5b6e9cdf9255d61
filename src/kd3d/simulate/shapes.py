"""Shapes of things on a street, as upright boxes and cylinders.

A shape lives in its own frame: x forward, y left, z up, origin on the ground below the middle of
its label. The parts stay `MARGIN` inside the label, so that range noise rarely leaves it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["LABEL_LIFT", "MARGIN", "Part", "Shape", "block", "column", "paint"]

#: A label starts this far above the ground (metres), so that it holds the object and not the road.
LABEL_LIFT = 0.05
#: Distance between the outermost part and the label's faces (metres).
MARGIN = 0.04

SOLID = np.inf


class Part(NamedTuple):
    """One upright box, or an upright cylinder whose radius is `half_length`.

    Args:
        x: centre, metres, in the shape's frame.
        y: as `x`.
        z: as `x`.
        half_length: half the extent along x (a cylinder's radius), metres.
        half_width: half the extent along y, metres.
        half_height: half the extent along z, metres.
        reflectivity: share of the light sent back at normal incidence; above 1 for reflectors.
        is_round: a cylinder instead of a box.
        free_path: mean way of a ray inside before it is reflected (metres): infinity marks a solid
            surface, a finite number foliage or spokes.
    """

    x: float
    y: float
    z: float
    half_length: float
    half_width: float
    half_height: float
    reflectivity: float
    is_round: bool = False
    free_path: float = SOLID


@dataclass(frozen=True, slots=True)
class Shape:
    """The label size of an object, and the parts that rays meet.

    Args:
        size: length, width, height of the label in metres; the height starts at the ground.
        parts: what reflects.
    """

    size: tuple[float, float, float]
    parts: tuple[Part, ...]


def block(
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    reflectivity: float,
    free_path: float = SOLID,
) -> Part:
    """A box between limits on each axis."""
    return Part(
        (x[0] + x[1]) / 2,
        (y[0] + y[1]) / 2,
        (z[0] + z[1]) / 2,
        (x[1] - x[0]) / 2,
        (y[1] - y[0]) / 2,
        (z[1] - z[0]) / 2,
        reflectivity,
        False,
        free_path,
    )


def column(
    x: float,
    y: float,
    z: tuple[float, float],
    radius: float,
    reflectivity: float,
    free_path: float = SOLID,
) -> Part:
    """An upright cylinder."""
    half = (z[1] - z[0]) / 2
    return Part(x, y, z[0] + half, radius, radius, half, reflectivity, True, free_path)


def paint(rng: np.random.Generator) -> float:
    """Reflectivity of car paint: dark and bright cars are both common."""
    return float(np.exp(rng.uniform(np.log(0.06), np.log(0.8))))
