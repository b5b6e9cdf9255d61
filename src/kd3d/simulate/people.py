"""Pedestrians: alone and in groups, walking, crossing, and waiting at crossings and bus stops."""

import numpy as np

from kd3d.simulate import clutter, road_users
from kd3d.simulate.population import CLUTTER, PEDESTRIAN, VEHICLE, Population
from kd3d.simulate.street import Street

__all__ = ["fill_bus_stops", "fill_people", "fill_square_people", "put_group"]

#: A group has 1 + Poisson(this) people: then two of three are not alone.
_GROUP_MEAN = 0.6
#: Walking speed of a person alone, what each companion takes off it, and its deviation, m/s.
_WALKING, _SLOWER, _SPEED_SPREAD = 1.25, 0.06, 0.2
#: Share of the bus stops where a bus stands.
_BUS_AT_STOP = 0.25
#: Free space around each person, metres.
_ELBOW = 0.03
#: Distance from person to person in a row and from row to row (metres), most people in a row.
_ABREAST, _ROWS, _ROW_LENGTH = (0.95, 1.2), 1.3, 3
#: Shares of the groups on a pavement that stand, and of those that cross the street instead.
_STANDING, _CROSSING = 0.13, 0.07
#: Mean number of people at a corner of a crossing, per unit of the street's rate of groups; chance
#: that a group crosses there; mean number of people at a bus stop beyond the first.
_AT_CORNER, _CROSSING_AT_CORNER, _AT_STOP = 0.22, 0.1, 3.0


def fill_people(population: Population, street: Street) -> None:
    """People on both pavements, crossing the street, and at its crossing's corners."""
    rng = population.rng
    for side in (0, 1):
        for along in population.scatter(street.start, street.stop, street.kind.people):
            if street.is_open(side, along):
                continue
            if rng.random() < _CROSSING:
                _cross(population, street, along)
            else:
                _walk(population, street, side, along)
        if street.opening is not None and street.opening.sides[side]:
            for corner in (street.opening.start - 1.5, street.opening.stop + 1.5):
                _wait(population, street, side, corner)


def put_group(
    population: Population,
    street: Street,
    place: tuple[float, float],
    heading: float,
    *,
    stands: bool,
    size: int | None = None,
    room: float = 4.0,
) -> None:
    """A group: walking abreast with one speed, or standing together and facing anywhere.

    Args:
        population: what it is added to.
        street: whose coordinates are meant.
        place: of its middle, along and across the street, metres.
        heading: of the walk, radians.
        stands: it does not walk.
        size: number of people; drawn by default.
        room: width that it may take, metres.
    """
    rng = population.rng
    count = 1 + int(rng.poisson(_GROUP_MEAN)) if size is None else size
    if stands:
        _stand(population, street, place, count, room)
        return
    speed = max(_WALKING - _SLOWER * (count - 1) + _SPEED_SPREAD * rng.standard_normal(), 0.4)
    gap = float(rng.uniform(*_ABREAST))
    abreast = max(1, min(count, _ROW_LENGTH, int((room - 0.8) / gap) + 1))
    for number in range(count):
        row, column = divmod(number, abreast)
        aside = (column - (abreast - 1) / 2) * gap
        ahead = float(rng.uniform(-0.2, 0.2)) - _ROWS * row
        dx = ahead * np.cos(heading) - aside * np.sin(heading)
        dy = ahead * np.sin(heading) + aside * np.cos(heading)
        spot, shape = (float(place[0] + dx), float(place[1] + dy)), road_users.pedestrian(rng)
        population.put(street, PEDESTRIAN, shape, spot, heading, speed=float(speed), margin=_ELBOW)


def _stand(
    population: Population, street: Street, place: tuple[float, float], count: int, room: float
) -> None:
    """People who stand together, longer along the street than across it."""
    rng, spread = population.rng, 1.0 + 0.5 * count
    depth = max(min(spread, room - 0.8), 0.0)
    for _ in range(count):
        dx, dy = rng.uniform(-0.5, 0.5, 2) * (spread, depth)
        spot, facing = (place[0] + float(dx), place[1] + float(dy)), rng.uniform(-np.pi, np.pi)
        shape = road_users.bystander(rng)
        population.put(street, PEDESTRIAN, shape, spot, float(facing), margin=_ELBOW)


def _walk(population: Population, street: Street, side: int, along: float) -> None:
    """A group on the pavement, walking along it or standing."""
    rng, room = population.rng, street.sides[side].pavement
    off = float(rng.uniform(-0.5, 0.5)) * max(room - 2.2, 0.3)
    across = (-1, 1)[side] * (street.kerb(side) + room / 2 + off)
    heading = float(rng.choice([0.0, np.pi]) + 0.1 * rng.standard_normal())
    stands = bool(rng.random() < _STANDING)
    free = room - 2 * abs(off)
    put_group(population, street, (along, across), heading, stands=stands, room=free)


def _cross(population: Population, street: Street, along: float) -> None:
    """A group on its way over the street."""
    rng = population.rng
    across = float(rng.uniform(-street.kerb(0), street.kerb(1)))
    heading = float(rng.choice([-1.0, 1.0]) * np.pi / 2 + 0.1 * rng.standard_normal())
    put_group(population, street, (along, across), heading, stands=False)


def _wait(population: Population, street: Street, side: int, along: float) -> None:
    """People at a corner who wait to cross, or a group that crosses there."""
    rng = population.rng
    count = int(rng.poisson(_AT_CORNER * street.kind.people))
    if rng.random() < _CROSSING_AT_CORNER:
        _cross(population, street, along)
    if count:
        across = (-1, 1)[side] * (street.kerb(side) + float(rng.uniform(0.8, 1.1)))
        put_group(population, street, (along, across), 0.0, stands=True, size=count, room=1.8)


def fill_bus_stops(population: Population, street: Street) -> None:
    """Bus stops with a sign, a bench, people who wait, and sometimes the bus."""
    for side in (0, 1):
        for along in population.scatter(street.start, street.stop, street.kind.bus_stops):
            if street.is_open(side, along, 8.0) or not street.sides[side].lanes:
                continue
            _bus_stop(population, street, side, along)


def _bus_stop(population: Population, street: Street, side: int, along: float) -> None:
    rng, strip = population.rng, street.sides[side]
    sign, kerb = (-1, 1)[side], street.kerb(side)
    post, bench = (along, sign * (kerb + 0.4)), (along - 3.0, sign * (kerb + strip.pavement - 0.4))
    population.put(street, CLUTTER, clutter.sign(rng), post, margin=0.0)
    population.put(street, CLUTTER, clutter.bench(rng), bench, margin=0.0)
    size = 1 + int(rng.poisson(_AT_STOP))
    spot = along - 1.5, sign * (kerb + strip.pavement / 2)
    put_group(population, street, spot, 0.0, stands=True, size=size, room=strip.pavement)
    if rng.random() < _BUS_AT_STOP:
        bus = road_users.bus(rng)
        back = -bus.size[0] / 2 if strip.way == 0 else bus.size[0] / 2
        place = along + back, street.lane_middle(side, strip.lanes - 1)
        population.put(street, VEHICLE, bus, place, strip.way)


def fill_square_people(
    population: Population, street: Street, side: int, along: tuple[float, float], depth: float
) -> None:
    """People all over an open square; the arguments are those of a car park."""
    rng = population.rng
    count = rng.poisson(0.006 * (along[1] - along[0]) * depth)
    for _ in range(count):
        far = street.pavement_end(side) + float(rng.uniform(0.5, depth))
        place = float(rng.uniform(*along)), (-1, 1)[side] * far
        heading = float(rng.uniform(-np.pi, np.pi))
        put_group(population, street, place, heading, stands=rng.random() < 0.4)
