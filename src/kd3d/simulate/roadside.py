"""What stands between the road and the houses, and the houses: things to confuse and to hide."""

from collections.abc import Callable

import numpy as np

from kd3d.simulate import clutter
from kd3d.simulate.population import CLUTTER, Mixture, Population, pick
from kd3d.simulate.shapes import Shape
from kd3d.simulate.street import Street

__all__ = ["fill_furniture", "fill_houses", "fill_median", "fill_square"]

#: Near the kerb, where people walk and wait: much of it is as thick or as high as a person.
_AT_KERB: Mixture = (
    (clutter.pole, 0.16),
    (clutter.sign, 0.12),
    (clutter.tree, 0.22),
    (clutter.trunk, 0.14),
    (clutter.bollard, 0.14),
    (clutter.bin_shape, 0.08),
    (clutter.hydrant, 0.04),
    (clutter.post_box, 0.04),
    (clutter.bicycle_rack, 0.06),
)
#: At the far edge of the pavement.
_AT_EDGE: Mixture = (
    (clutter.bin_shape, 0.22),
    (clutter.cabinet, 0.2),
    (clutter.stand, 0.18),
    (clutter.bench, 0.14),
    (clutter.post_box, 0.08),
    (clutter.trunk, 0.18),
)
#: In front gardens and yards; some of it is nearly as large as a car.
_IN_GARDEN: Mixture = (
    (clutter.bush, 0.35),
    (clutter.tree, 0.3),
    (clutter.container, 0.15),
    (clutter.trunk, 0.1),
    (clutter.bin_shape, 0.1),
)
_ON_MEDIAN: Mixture = (
    (clutter.tree, 0.35),
    (clutter.trunk, 0.15),
    (clutter.pole, 0.2),
    (clutter.sign, 0.1),
    (clutter.bush, 0.2),
)
_ON_SQUARE: Mixture = (
    (clutter.tree, 0.3),
    (clutter.bench, 0.25),
    (clutter.stand, 0.15),
    (clutter.bollard, 0.1),
    (clutter.bin_shape, 0.1),
    (clutter.pole, 0.1),
)
#: What separates gardens from the pavement, with shares.
_BORDERS: tuple[tuple[Callable[[np.random.Generator, float], Shape], float], ...] = (
    (clutter.hedge, 0.35),
    (clutter.fence, 0.3),
    (clutter.wall, 0.2),
    (clutter.railing, 0.15),
)
#: Share of the furniture that stands near the kerb; share of the borders that are there at all.
_NEAR_KERB, _BORDERED = 0.65, 0.6
#: Least distances from pavement to house for a border and for a garden (metres); things in gardens
#: per 100 m.
_GARDEN, _PLANTS = (1.2, 3.0), 6.0


def fill_furniture(population: Population, street: Street) -> None:
    """Small things on both pavements."""
    rng = population.rng
    for side in (0, 1):
        strip = street.sides[side]
        for along in population.scatter(street.start, street.stop, street.kind.furniture):
            if street.is_open(side, along, 1.0):
                continue
            is_near = rng.random() < _NEAR_KERB
            shape = pick(rng, _AT_KERB if is_near else _AT_EDGE)
            half = min(shape.size[1] / 2 + 0.1, strip.pavement / 2)
            far = half if is_near else strip.pavement - half
            across = (-1, 1)[side] * (street.kerb(side) + far)
            heading = _turned(rng) if max(shape.size[:2]) < 1.0 else 0.0
            population.put(street, CLUTTER, shape, (along, across), heading, margin=0.0)


def fill_median(population: Population, street: Street) -> None:
    """Trees, poles and bushes between the two directions."""
    rng = population.rng
    if not street.median:
        return
    for along in population.spread(street.start, street.stop, 9.0, 3.0):
        opening = street.opening
        is_free = opening is None or not opening.start - 3.0 < along < opening.stop + 3.0
        shape = pick(rng, _ON_MEDIAN)
        if is_free and shape.size[1] < street.median - 0.2:
            population.put(street, CLUTTER, shape, (along, 0.0), margin=0.0)


def fill_houses(
    population: Population, street: Street, plots: tuple[tuple[float, float] | None, ...]
) -> None:
    """House fronts, garden borders and gardens on both sides.

    Args:
        population: what they are added to.
        street: beside which they stand.
        plots: for each side the stretch (metres) that stays free of them, or None.
    """
    rng = population.rng
    for side in (0, 1):
        along, setback = street.start, street.sides[side].setback
        while along < street.stop:
            length = float(rng.uniform(5.0, 18.0))
            if not _is_taken(street, side, along, along + length, plots[side]):
                _house(population, street, side, along, length)
                if setback > _GARDEN[0]:
                    _border(population, street, side, along, length)
                if setback > _GARDEN[1]:
                    _garden(population, street, side, along, length)
            along += length + (0.0 if rng.random() < 0.45 else float(rng.uniform(1.0, 8.0)))


def _is_taken(
    street: Street, side: int, start: float, stop: float, plot: tuple[float, float] | None
) -> bool:
    """Whether another street or an open place takes part of a stretch."""
    taken = [] if plot is None else [plot]
    if street.opening is not None and street.opening.sides[side]:
        taken.append((street.opening.start - 3.0, street.opening.stop + 3.0))
    return any(start < last and stop > first for first, last in taken)


def _house(population: Population, street: Street, side: int, along: float, length: float) -> None:
    rng = population.rng
    depth, heading = float(rng.uniform(2.0, 8.0)), 0.02 * float(rng.standard_normal())
    front = street.pavement_end(side) + street.sides[side].setback + float(rng.uniform(0.0, 1.5))
    place = along + length / 2, (-1, 1)[side] * (front + depth / 2)
    shape = clutter.building(rng, length, depth)
    is_put = population.put(street, CLUTTER, shape, place, heading, margin=0.0)
    if is_put and rng.random() < 0.04:
        frame = clutter.scaffold(rng, min(length, 10.0))
        spot = place[0], (-1, 1)[side] * (front - frame.size[1] / 2 - 0.15)
        population.put(street, CLUTTER, frame, spot, heading, margin=0.0)


def _garden(population: Population, street: Street, side: int, along: float, length: float) -> None:
    """What grows and stands between the border and the house."""
    rng, setback = population.rng, street.sides[side].setback
    for place in population.scatter(along, along + length, _PLANTS):
        across = street.pavement_end(side) + float(rng.uniform(1.1, setback - 0.1))
        spot = place, (-1, 1)[side] * across
        population.put(street, CLUTTER, pick(rng, _IN_GARDEN), spot, _turned(rng), margin=0.0)


def _border(population: Population, street: Street, side: int, along: float, length: float) -> None:
    """A border at the edge of the pavement, often with a gate."""
    rng = population.rng
    if rng.random() > _BORDERED:
        return
    chosen = rng.choice(len(_BORDERS), p=[share for _, share in _BORDERS])
    gate = float(rng.uniform(1.0, 3.5)) if rng.random() < 0.6 else 0.0
    half = (length - gate) / 2
    for start in (along, along + half + gate):
        shape = _BORDERS[chosen][0](rng, half - 0.1)
        across = (-1, 1)[side] * (street.pavement_end(side) + 0.1 + shape.size[1] / 2)
        population.put(street, CLUTTER, shape, (start + half / 2, across), margin=0.0)


def fill_square(
    population: Population, street: Street, side: int, along: tuple[float, float], depth: float
) -> None:
    """Trees, benches and stands on an open square, and a row of bollards at its edge."""
    rng, sign = population.rng, (-1, 1)[side]
    edge = street.pavement_end(side)
    for place in np.arange(along[0], along[1], float(rng.uniform(1.6, 3.0))):
        population.put(
            street, CLUTTER, clutter.bollard(rng), (float(place), sign * (edge - 0.1)), margin=0.0
        )
    for _ in range(rng.poisson(0.012 * (along[1] - along[0]) * depth)):
        spot = float(rng.uniform(*along)), sign * (edge + float(rng.uniform(1.5, depth)))
        population.put(street, CLUTTER, pick(rng, _ON_SQUARE), spot, _turned(rng), margin=0.0)


def _turned(rng: np.random.Generator) -> float:
    """Things stand along the street or square to it, not quite exactly."""
    return float(rng.choice([0.0, np.pi / 2]) + 0.1 * rng.standard_normal())
