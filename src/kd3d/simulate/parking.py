"""Parked vehicles: along the kerb, square to it, and in car parks."""

import numpy as np

from kd3d.simulate import clutter, road_users
from kd3d.simulate.population import CLUTTER, VEHICLE, Mixture, Population, pick
from kd3d.simulate.shapes import Shape
from kd3d.simulate.street import Street

__all__ = ["fill_car_park", "fill_parking"]

_ALONG: Mixture = (
    (road_users.car, 0.62),
    (road_users.van, 0.28),
    (road_users.pickup, 0.06),
    (road_users.truck, 0.04),
)
_SQUARE: Mixture = ((road_users.car, 0.68), (road_users.van, 0.32))
#: Length of a parking place along the kerb, its width square to it, and its depth, metres.
_LENGTH, _WIDTH, _DEPTH = 6.3, 2.75, 5.2
#: Width of the way between the rows of a car park, metres.
_AISLE = 6.0
#: Share of the places along a street that something else takes, and of those parked the wrong way.
_TAKEN_BY_CLUTTER, _REVERSED_ALONG, _REVERSED_SQUARE = 0.05, 0.1, 0.45


def fill_parking(population: Population, street: Street) -> None:
    """Fill the parking strips of a street; a few places hold a container or a hedge."""
    for side in (0, 1):
        if street.sides[side].parking:
            _fill_strip(population, street, side)


def _fill_strip(population: Population, street: Street, side: int) -> None:
    rng, strip = population.rng, street.sides[side]
    is_square, taken = strip.parking > 4.0, rng.uniform(*street.kind.parked)
    across = (-1, 1)[side] * (street.kerb(side) - strip.parking / 2)
    for along in np.arange(street.start, street.stop, _WIDTH if is_square else _LENGTH):
        if rng.random() > taken or street.is_open(side, along, 5.0):
            continue
        if rng.random() < _TAKEN_BY_CLUTTER:
            _block(population, street, (float(along), across), is_square=is_square)
            continue
        heading = np.pi / 2 if is_square else strip.way
        heading += np.pi * (rng.random() < (_REVERSED_SQUARE if is_square else _REVERSED_ALONG))
        _park(population, street, (float(along), across), heading, _SQUARE if is_square else _ALONG)


def _park(
    population: Population,
    street: Street,
    place: tuple[float, float],
    heading: float,
    mixture: Mixture,
) -> None:
    """One vehicle, not quite straight and not quite in the middle of its place."""
    rng = population.rng
    place = place[0] + float(rng.uniform(-0.25, 0.25)), place[1] + float(rng.uniform(-0.1, 0.1))
    turned = heading + 0.03 * float(rng.standard_normal())
    population.put(street, VEHICLE, pick(rng, mixture), place, turned, margin=0.05)


def _block(
    population: Population, street: Street, place: tuple[float, float], *, is_square: bool
) -> None:
    """Something of a car's size on a parking place."""
    rng = population.rng
    shape: Shape = clutter.container(rng) if rng.random() < 0.5 else clutter.hedge(rng, 4.0)
    heading = (np.pi / 2 if is_square else 0.0) + 0.05 * float(rng.standard_normal())
    population.put(street, CLUTTER, shape, place, heading, margin=0.05)


def fill_car_park(
    population: Population, street: Street, side: int, along: tuple[float, float], depth: float
) -> None:
    """Rows of vehicles square to the street, behind the pavement.

    Args:
        population: what it is added to.
        street: beside which it lies.
        side: of the street.
        along: first and last metre.
        depth: metres from the pavement to its far edge.
    """
    rng, taken = population.rng, population.rng.uniform(0.3, 0.85)
    first = street.pavement_end(side) + 1.0 + _DEPTH / 2
    rows = [0.0, _DEPTH + _AISLE, 2 * _DEPTH + _AISLE, 3 * _DEPTH + 2 * _AISLE]
    for row in rows:
        if row + _DEPTH > depth:
            break
        across = (-1, 1)[side] * (first + row)
        for place in np.arange(along[0] + 2.0, along[1] - 2.0, _WIDTH):
            if rng.random() < taken:
                heading = np.pi / 2 + np.pi * (rng.random() < _REVERSED_SQUARE)
                _park(population, street, (float(place), across), heading, _SQUARE)
    if rng.random() < 0.5:
        across = (-1, 1)[side] * (first + (_DEPTH + _AISLE) / 2)
        way = float(rng.choice([0.0, np.pi]))
        place = float(rng.uniform(along[0] + 4.0, along[1] - 4.0)), across
        population.put(street, VEHICLE, road_users.car(rng), place, way, speed=1.5)
