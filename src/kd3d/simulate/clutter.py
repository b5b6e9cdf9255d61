"""What stands beside the road and carries no label.

Much of it is as large as a person, a cyclist or a car, so that a detector has something to confuse.
"""

import numpy as np

from kd3d.simulate.barriers import building, fence, hedge, railing, scaffold, wall
from kd3d.simulate.materials import (
    BARK,
    DARK,
    FOLIAGE,
    METAL,
    REFLECTOR,
    cloth,
    masonry,
    matt,
    paint,
    plastic,
)
from kd3d.simulate.shapes import Part, Shape, block, column, unlabelled

__all__ = [
    "bench",
    "bicycle_rack",
    "bin_shape",
    "bollard",
    "building",
    "bush",
    "cabinet",
    "container",
    "fence",
    "hedge",
    "hydrant",
    "pole",
    "post_box",
    "pushchair",
    "railing",
    "scaffold",
    "shopping_trolley",
    "sign",
    "stand",
    "tree",
    "trunk",
    "wall",
]


def pole(rng: np.random.Generator) -> Shape:
    """A lamp post."""
    radius = float(rng.uniform(0.06, 0.16))
    surface = METAL if rng.random() < 0.7 else masonry(rng)
    return unlabelled([column(0, 0, (0.0, float(rng.uniform(4, 8))), radius, surface)])


def bollard(rng: np.random.Generator) -> Shape:
    """A bollard, as high as a child, now and then with a reflecting band."""
    top, radius = float(rng.uniform(0.7, 1.2)), float(rng.uniform(0.06, 0.14))
    parts = [column(0, 0, (0.0, top), radius, plastic(rng))]
    if rng.random() < 0.4:
        parts.append(column(0, 0, (top - 0.25, top - 0.15), radius + 0.005, REFLECTOR))
    return unlabelled(parts)


def hydrant(rng: np.random.Generator) -> Shape:
    """A hydrant with its two outlets."""
    top, surface = float(rng.uniform(0.7, 1.0)), plastic(rng)
    arms = block((-0.08, 0.08), (-0.2, 0.2), (0.6 * top, 0.6 * top + 0.14), surface)
    return unlabelled([column(0, 0, (0.0, top), 0.13, surface), arms])


def sign(rng: np.random.Generator) -> Shape:
    """A traffic sign on its post: a small, very bright plate, sometimes a second one below it."""
    low = float(rng.uniform(1.6, 2.2))
    parts = [
        column(0, 0, (0.0, low), 0.04, METAL),
        block((-0.02, 0.02), (-0.32, 0.32), (low, low + 0.65), REFLECTOR),
    ]
    if rng.random() < 0.3:
        parts.append(block((-0.05, -0.01), (-0.3, 0.3), (low - 0.35, low - 0.05), REFLECTOR))
    return unlabelled(parts)


def tree(rng: np.random.Generator) -> Shape:
    """A trunk about as thick as a person, below a crown that light partly passes."""
    low, radius = float(rng.uniform(1.9, 3.0)), float(rng.uniform(1.2, 2.6))
    trunk_part = column(0, 0, (0.0, low + 0.5), float(rng.uniform(0.12, 0.3)), BARK)
    crown = column(0, 0, (low, low + 2 * radius), radius, FOLIAGE, float(rng.uniform(0.8, 2.0)))
    return unlabelled([trunk_part, crown])


def trunk(rng: np.random.Generator) -> Shape:
    """A trunk whose crown is out of sight."""
    radius = float(rng.uniform(0.12, 0.35))
    return unlabelled([column(0, 0, (0.0, float(rng.uniform(2.5, 5.0))), radius, BARK)])


def bush(rng: np.random.Generator) -> Shape:
    """A bush, sometimes the size of a car."""
    density, top = float(rng.uniform(0.15, 0.5)), float(rng.uniform(0.6, 1.7))
    if rng.random() < 0.5:
        radius = float(rng.uniform(0.3, 0.9))
        return unlabelled([column(0, 0, (0.0, top), radius, FOLIAGE, density)])
    length, width = float(rng.uniform(1.0, 5.0)) / 2, float(rng.uniform(0.5, 1.6)) / 2
    lean = (0.2 * length, 0.2 * length, 0.3 * width)
    x, y = (-length, length), (-width, width)
    return unlabelled([block(x, y, (0.0, top), FOLIAGE, density, lean=lean)])


def bin_shape(rng: np.random.Generator) -> Shape:
    """A waste bin, as large as a person; wheeled ones lean outwards to a lid."""
    length, width = float(rng.uniform(0.4, 0.9)) / 2, float(rng.uniform(0.4, 0.8)) / 2
    top, surface = float(rng.uniform(0.8, 1.5)), plastic(rng)
    lid = block((-length, length), (-width, width), (top, top + 0.08), surface)
    x, y = (0.06 - length, length - 0.03), (0.04 - width, width - 0.04)
    return unlabelled([block(x, y, (0.05, top), surface), lid])


def cabinet(rng: np.random.Generator) -> Shape:
    """A switch cabinet."""
    length, deep = float(rng.uniform(0.6, 1.6)) / 2, float(rng.uniform(0.15, 0.3))
    top = float(rng.uniform(0.9, 1.6))
    return unlabelled([block((-length, length), (-deep, deep), (0.0, top), plastic(rng))])


def post_box(rng: np.random.Generator) -> Shape:
    """A post box on a foot."""
    top, surface = float(rng.uniform(1.2, 1.7)), plastic(rng)
    box = block((-0.22, 0.22), (-0.25, 0.25), (top - 0.75, top), surface)
    return unlabelled([column(0, 0, (0.0, top - 0.75), 0.06, METAL), box])


def stand(rng: np.random.Generator) -> Shape:
    """A shop's stand with goods, or a folding board, on the pavement."""
    half = float(rng.uniform(0.25, 0.7))
    if rng.random() < 0.4:
        board = block((-0.3, 0.3), (-0.35, 0.35), (0.0, 1.1), plastic(rng), lean=(0.26, 0.26, 0.0))
        return unlabelled([board])
    table = float(rng.uniform(0.6, 0.9))
    goods = float(rng.uniform(0.3, 0.8))
    parts = [
        block((-half, half), (-0.35, 0.35), (0.0, table), matt(0.2, 0.4), 0.5),
        block((-half, half), (-0.35, 0.35), (table, table + goods), cloth(rng), 0.15),
    ]
    return unlabelled(parts)


def bench(rng: np.random.Generator) -> Shape:
    """A bench with its back."""
    half = float(rng.uniform(0.7, 1.0))
    seat = block((-half, half), (-0.25, 0.2), (0.38, 0.46), BARK)
    back = block((-half, half), (0.2, 0.25), (0.38, 0.85), BARK, 0.06)
    legs = [
        block((x - 0.05, x + 0.05), (-0.2, 0.2), (0.0, 0.38), METAL)
        for x in (-half + 0.2, half - 0.2)
    ]
    return unlabelled([seat, back, *legs])


def bicycle_rack(rng: np.random.Generator) -> Shape:
    """One to four parked bicycles without riders, which carry no label."""
    count = int(rng.integers(1, 5))
    half, offset = float(rng.uniform(0.8, 0.92)), 0.25 * (count - 1)
    return unlabelled(
        [part for n in range(count) for part in _parked_bicycle(half, 0.5 * n - offset)]
    )


def pushchair(rng: np.random.Generator) -> Shape:
    """A pushchair, to be put ahead of whoever pushes it."""
    surface = cloth(rng)
    parts = [
        block((-0.15, 0.35), (-0.22, 0.22), (0.4, 0.6), surface),
        block((-0.2, 0.1), (-0.22, 0.22), (0.6, 1.0), surface, 0.2),
        block((-0.42, -0.2), (-0.24, 0.24), (0.9, 1.02), METAL, 0.1),
        block((-0.3, 0.4), (-0.26, 0.26), (0.0, 0.4), DARK, 0.5),
    ]
    return unlabelled(parts)


def shopping_trolley(rng: np.random.Generator) -> Shape:
    """A shopping trolley, to be put ahead of whoever pushes it; its basket is wire."""
    load = float(rng.uniform(0.05, 0.35))
    parts = [
        block((-0.35, 0.45), (-0.26, 0.26), (0.45, 1.0), METAL, 0.5),
        block((-0.3, 0.4), (-0.22, 0.22), (0.47, 0.47 + load), cloth(rng)),
        block((-0.45, 0.45), (-0.28, 0.28), (0.0, 0.25), DARK, 0.6),
        block((-0.47, -0.42), (-0.27, 0.27), (0.95, 1.0), plastic(rng)),
    ]
    return unlabelled(parts)


def container(rng: np.random.Generator) -> Shape:
    """A skip or a container: nearly as large as a car."""
    length, width = float(rng.uniform(1.6, 4.6)) / 2, float(rng.uniform(1.2, 2.2)) / 2
    top = float(rng.uniform(1.1, 2.4))
    return unlabelled([block((-length, length), (-width, width), (0.0, top), paint(rng))])


def _parked_bicycle(half: float, y: float) -> list[Part]:
    """Wheels, frame and handlebar of a bicycle at y (metres)."""
    wheel, tyre = 0.68, matt(0.1, 0.2)
    return [
        block((half - wheel, half), (y - 0.03, y + 0.03), (0.0, wheel), tyre, 0.12),
        block((-half, wheel - half), (y - 0.03, y + 0.03), (0.0, wheel), tyre, 0.12),
        block((-0.45, 0.45), (y - 0.04, y + 0.04), (0.3, 0.95), METAL, 0.15),
        block((0.38, 0.44), (y - 0.22, y + 0.22), (0.95, 1.02), METAL),
    ]
