"""Shapes of things on a street, as upright boxes, boxes with leaning sides, and cylinders.

A shape lives in its own frame: x forward, y left, z up, origin on the ground below the middle of
its label. The parts stay `MARGIN` inside the label, so that range noise rarely leaves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kd3d.simulate.materials import Surface

__all__ = ["LABEL_LIFT", "MARGIN", "SOLID", "Part", "Shape", "block", "column", "unlabelled"]

#: A label starts this far above the ground (metres), so that it holds the object and not the road.
LABEL_LIFT = 0.05
#: Distance between the outermost part and the label's faces (metres).
MARGIN = 0.04
#: The free path of what has a surface.
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
        surface: what it is made of.
        is_round: a cylinder instead of a box.
        free_path: mean way of a ray inside before it is reflected (metres): infinity marks a solid
            surface, a finite number foliage, bars or spokes.
        lean: how far the front, the rear and each side of a box have moved inwards at its top
            (metres); windscreens and roofs.
    """

    x: float
    y: float
    z: float
    half_length: float
    half_width: float
    half_height: float
    surface: Surface
    is_round: bool = False
    free_path: float = SOLID
    lean: tuple[float, float, float] = (0.0, 0.0, 0.0)


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
    surface: Surface,
    free_path: float = SOLID,
    lean: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Part:
    """A box between limits on each axis."""
    return Part(
        (x[0] + x[1]) / 2,
        (y[0] + y[1]) / 2,
        (z[0] + z[1]) / 2,
        (x[1] - x[0]) / 2,
        (y[1] - y[0]) / 2,
        (z[1] - z[0]) / 2,
        surface,
        False,
        free_path,
        lean,
    )


def column(
    x: float,
    y: float,
    z: tuple[float, float],
    radius: float,
    surface: Surface,
    free_path: float = SOLID,
) -> Part:
    """An upright cylinder."""
    half = (z[1] - z[0]) / 2
    return Part(x, y, z[0] + half, radius, radius, half, surface, True, free_path)


def unlabelled(parts: Sequence[Part]) -> Shape:
    """A shape without a label: its size is what its parts span."""
    length = 2 * max(abs(p.x) + p.half_length for p in parts)
    width = 2 * max(abs(p.y) + p.half_width for p in parts)
    top = max(p.z + p.half_height for p in parts)
    return Shape((length, width, top), tuple(parts))
