"""What stands beside the road: poles, signs, trees, bushes, bins, houses.

Much of it is as large as a person or a car, so that a detector has something to confuse.
"""

from collections.abc import Sequence

import numpy as np

from kd3d.simulate.shapes import Part, Shape, block, column, paint

__all__ = ["bin_shape", "building", "bush", "container", "pole", "sign", "tree"]


def pole(rng: np.random.Generator) -> Shape:
    """A lamp post or a bollard."""
    if rng.random() < 0.3:
        return _free([column(0, 0, (0.0, float(rng.uniform(0.7, 1.2))), 0.1, 0.3)])
    radius = float(rng.uniform(0.06, 0.16))
    return _free([column(0, 0, (0.0, float(rng.uniform(4, 8))), radius, 0.35)])


def sign(rng: np.random.Generator) -> Shape:
    """A traffic sign on its post: a small, very bright plate."""
    low = float(rng.uniform(1.6, 2.2))
    plate = block((-0.02, 0.02), (-0.32, 0.32), (low, low + 0.65), 6.0)
    return _free([column(0, 0, (0.0, low), 0.04, 0.3), plate])


def tree(rng: np.random.Generator) -> Shape:
    """A trunk about as thick as a person, below a crown that light partly passes."""
    low, radius = float(rng.uniform(1.9, 3.0)), float(rng.uniform(1.2, 2.6))
    trunk = column(0, 0, (0.0, low + 0.5), float(rng.uniform(0.12, 0.3)), 0.25)
    crown = column(0, 0, (low, low + 2 * radius), radius, 0.4, float(rng.uniform(0.8, 2.0)))
    return _free([trunk, crown])


def bush(rng: np.random.Generator) -> Shape:
    """A hedge or a bush, sometimes the size of a car."""
    density, top = float(rng.uniform(0.15, 0.5)), float(rng.uniform(0.6, 1.7))
    if rng.random() < 0.5:
        return _free([column(0, 0, (0.0, top), float(rng.uniform(0.3, 0.9)), 0.4, density)])
    length, width = float(rng.uniform(1.0, 5.0)) / 2, float(rng.uniform(0.5, 1.6)) / 2
    return _free([block((-length, length), (-width, width), (0.0, top), 0.4, density)])


def bin_shape(rng: np.random.Generator) -> Shape:
    """A waste bin, a cabinet or a stand: as large as a person."""
    length, width = float(rng.uniform(0.4, 0.9)) / 2, float(rng.uniform(0.4, 0.8)) / 2
    top = float(rng.uniform(0.8, 1.7))
    return _free([block((-length, length), (-width, width), (0.0, top), paint(rng))])


def container(rng: np.random.Generator) -> Shape:
    """A skip or a container: nearly as large as a car."""
    length, width = float(rng.uniform(1.6, 4.6)) / 2, float(rng.uniform(1.2, 2.2)) / 2
    top = float(rng.uniform(1.1, 2.4))
    return _free([block((-length, length), (-width, width), (0.0, top), paint(rng))])


def building(rng: np.random.Generator, length: float, depth: float) -> Shape:
    """A house front or a garden wall of a given length and depth (metres)."""
    top = float(rng.uniform(5, 12)) if rng.random() < 0.7 else float(rng.uniform(1.2, 2.5))
    half = length / 2, depth / 2
    wall = block(
        (-half[0], half[0]), (-half[1], half[1]), (0.0, top), float(rng.uniform(0.15, 0.5))
    )
    return _free([wall])


def _free(parts: Sequence[Part]) -> Shape:
    """A shape without a label: its size is what its parts span."""
    length = 2 * max(abs(p.x) + p.half_length for p in parts)
    width = 2 * max(abs(p.y) + p.half_width for p in parts)
    top = max(p.z + p.half_height for p in parts)
    return Shape((length, width, top), tuple(parts))
