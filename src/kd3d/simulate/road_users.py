"""Vehicles, pedestrians and cyclists.

Sizes vary about what is common on the road: vehicle 4.7 x 2.1 x 1.7 m, pedestrian
0.9 x 0.85 x 1.75 m, cyclist 1.8 x 0.8 x 1.75 m.
"""

import numpy as np

from kd3d.simulate.shapes import MARGIN, Part, Shape, block, column, paint

__all__ = ["car", "cyclist", "pedestrian", "truck", "van"]


def _wheels(length: float, width: float, radius: float) -> list[Part]:
    x, y = 0.31 * length, width / 2 - 0.12
    return [
        block((sx - radius, sx + radius), (sy - 0.1, sy + 0.1), (0.0, 2 * radius), 0.06)
        for sx in (x, -x)
        for sy in (y, -y)
    ]


def _plates(length: float) -> list[Part]:
    """Number plates: retro-reflectors, far brighter than paint."""
    front = (length / 2, length / 2 + 0.01)
    rear = (-length / 2 - 0.01, -length / 2)
    return [block(x, (-0.25, 0.25), (0.45, 0.57), 8.0) for x in (front, rear)]


def _normal(rng: np.random.Generator, mean: float, spread: float) -> float:
    """A normal sample kept within two and a half deviations."""
    return mean + spread * float(np.clip(rng.standard_normal(), -2.5, 2.5))


def car(rng: np.random.Generator) -> Shape:
    """A saloon car: body, cabin, wheels, plates."""
    size = _normal(rng, 4.6, 0.28), _normal(rng, 2.05, 0.09), _normal(rng, 1.58, 0.08)
    return _passenger(rng, size, (-0.40, 0.18), 0.56)


def van(rng: np.random.Generator) -> Shape:
    """A van or off-road car: higher, with a cabin nearly as long as the body."""
    size = _normal(rng, 4.95, 0.3), _normal(rng, 2.2, 0.1), _normal(rng, 1.95, 0.15)
    return _passenger(rng, size, (-0.49, 0.26), 0.58)


def _passenger(
    rng: np.random.Generator,
    size: tuple[float, float, float],
    cabin: tuple[float, float],
    belt: float,
) -> Shape:
    """Body and cabin; `cabin` in shares of the length, `belt` (its lower edge) of the height."""
    length, width, top = size[0] - 2 * MARGIN, size[1] - 2 * MARGIN, size[2] - MARGIN
    side, colour, waist = width / 2 - 0.05, paint(rng), belt * top
    parts = [
        block((-length / 2, length / 2), (-side, side), (0.27, waist), colour),
        block(
            (cabin[0] * length, cabin[1] * length),
            (-side * 0.84, side * 0.84),
            (waist, top),
            0.6 * colour,
        ),
        block(
            (0.16 * length, 0.20 * length), (-width / 2, width / 2), (waist, waist + 0.16), colour
        ),
        *_wheels(length, width, 0.32),
        *_plates(length),
    ]
    return Shape(size, tuple(parts))


def truck(rng: np.random.Generator) -> Shape:
    """A delivery truck: cargo box and cab."""
    size = _normal(rng, 7.6, 0.8), _normal(rng, 2.55, 0.1), _normal(rng, 3.1, 0.25)
    length, width, top = size[0] - 2 * MARGIN, size[1] - 2 * MARGIN, size[2] - MARGIN
    front, colour = length / 2, paint(rng)
    parts = [
        block((-front, front - 2.1), (-width / 2, width / 2), (0.85, top), paint(rng)),
        block((front - 1.9, front), (-width * 0.46, width * 0.46), (0.5, 0.8 * top), colour),
        block((-front, front - 1.9), (-0.4, 0.4), (0.55, 0.85), 0.08),
        *_wheels(length, width, 0.45),
        *_plates(length),
    ]
    return Shape(size, tuple(parts))


def pedestrian(rng: np.random.Generator) -> Shape:
    """A person in mid-stride: legs, torso, arms, head."""
    size = float(rng.uniform(0.65, 1.1)), float(rng.uniform(0.72, 0.95)), _normal(rng, 1.73, 0.1)
    top, cloth, stride = size[2] - MARGIN, float(rng.uniform(0.1, 0.6)), (size[0] - 0.4) / 2
    shoulder, hip = 0.83 * top, 0.48 * top
    parts = (
        column(stride, 0.1, (0.0, hip), 0.085, cloth),
        column(-stride, -0.1, (0.0, hip), 0.085, cloth),
        block((-0.13, 0.13), (-0.2, 0.2), (hip, shoulder), cloth),
        column(-0.6 * stride, 0.27, (hip - 0.05, shoulder), 0.05, cloth),
        column(0.6 * stride, -0.27, (hip - 0.05, shoulder), 0.05, cloth),
        column(0.02, 0.0, (shoulder, top), 0.1, 0.35),
    )
    return Shape(size, parts)


def cyclist(rng: np.random.Generator) -> Shape:
    """A bicycle with its rider; the wheels let most rays through."""
    size = _normal(rng, 1.8, 0.08), _normal(rng, 0.78, 0.06), _normal(rng, 1.75, 0.08)
    half, top, cloth = size[0] / 2 - MARGIN, size[2] - MARGIN, float(rng.uniform(0.1, 0.6))
    wheel = 0.34
    parts = (
        block((half - 2 * wheel, half), (-0.03, 0.03), (0.0, 2 * wheel), 0.2, 0.12),
        block((-half, -half + 2 * wheel), (-0.03, 0.03), (0.0, 2 * wheel), 0.2, 0.12),
        block((-0.45, 0.45), (-0.04, 0.04), (0.35, 0.9), 0.3, 0.15),
        block((0.36, 0.44), (-0.28, 0.28), (0.95, 1.03), 0.2),
        block((-0.28, 0.06), (0.08, 0.22), (0.3, 0.95), cloth),
        block((-0.28, 0.06), (-0.22, -0.08), (0.3, 0.95), cloth),
        block((-0.27, 0.12), (-0.2, 0.2), (0.92, 0.86 * top), cloth),
        column(0.1, 0.0, (0.86 * top, top), 0.11, 0.35),
    )
    return Shape(size, parts)
