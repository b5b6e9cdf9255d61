"""A street: lanes with traffic, parked cars, cyclists, pavements with people, clutter, houses.

The densities are those of a busy town: within 20 m of the recording car there are about eight
vehicles, six pedestrians and three cyclists.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kd3d.simulate import clutter, road_users
from kd3d.simulate.placing import Placer
from kd3d.simulate.scene import Actor
from kd3d.simulate.shapes import Shape

__all__ = ["LANE", "Street", "StreetFiller"]

#: Widths of a lane and of a bicycle lane, metres.
LANE = 3.5
_BICYCLE_LANE = 1.6
#: The dataset's types; 0 for what is not labelled.
_VEHICLE, _PEDESTRIAN, _CYCLIST, _CLUTTER = 1, 2, 4, 0
_NAMES = {_VEHICLE: "vehicle", _PEDESTRIAN: "pedestrian", _CYCLIST: "cyclist", _CLUTTER: "clutter"}

_Kinds = tuple[tuple[Callable[[np.random.Generator], Shape], float], ...]
#: Shapes and their shares: on the road, in strips too short for trucks, at the kerb, behind it.
_TRAFFIC: _Kinds = ((road_users.car, 0.6), (road_users.van, 0.32), (road_users.truck, 0.08))
_PARKED: _Kinds = ((road_users.car, 0.65), (road_users.van, 0.35))
_SMALL: _Kinds = (
    (clutter.pole, 0.28),
    (clutter.tree, 0.24),
    (clutter.bin_shape, 0.26),
    (clutter.sign, 0.14),
    (clutter.bush, 0.08),
)
_LARGE: _Kinds = ((clutter.container, 0.4), (clutter.bush, 0.6))


@dataclass(frozen=True, slots=True)
class Street:
    """One street in the scene: its own x runs along it, y to the left; traffic keeps right.

    Args:
        x: origin in the scene, metres.
        heading: of the street in the scene, radians.
        start: first metre that is filled.
        stop: last metre that is filled.
        gap: interval of x that stays free (a crossing).
        lanes: lanes in each direction.
        parking: depth of the parking strip on the right and on the left, metres.
    """

    x: float
    heading: float
    start: float
    stop: float
    gap: tuple[float, float]
    lanes: int
    parking: tuple[float, float]

    @property
    def kerb(self) -> tuple[float, float]:
        """Distance from the middle to the kerb on the right and on the left, metres."""
        road = self.lanes * LANE + _BICYCLE_LANE
        return road + self.parking[0], road + self.parking[1]


class StreetFiller:
    """Puts actors on a street.

    Args:
        rng: draws them.
        placer: takes those whose way is free.
        duration: of the segment, seconds.
        reach: objects farther from the middle of the street than this (metres) are left out.
    """

    def __init__(
        self, rng: np.random.Generator, placer: Placer, duration: float, reach: float
    ) -> None:
        self.rng, self.placer, self.duration, self.reach = rng, placer, duration, reach

    def fill(self, street: Street, *, lead_speed: float | None = None, waits: bool = False) -> None:
        """Fill a street.

        Args:
            street: where.
            lead_speed: speed of the recording car in the first lane on the right (m/s); the other
                cars of that lane keep it.
            waits: cars stand before the crossing instead of moving.
        """
        for side in (0, 1):
            for lane in range(street.lanes):
                led = lead_speed if (side, lane) == (0, 0) else None
                self._traffic(street, side, lane, 0.0 if waits else led, waits=waits)
            self._bicycles(street, side)
            self._parked(street, side)
        for side in (0, 1):
            self._people(street, side)
            self._furniture(street, side)
            self._houses(street, side)

    def _put(
        self,
        street: Street,
        kind: int,
        shape: Shape,
        place: tuple[float, float],
        heading: float,
        *,
        speed: float = 0.0,
        turn_rate: float = 0.0,
        margin: float = 0.3,
    ) -> None:
        """Offer one actor; place (along, across) and heading are given in the street's frame."""
        along, across = place
        if street.gap[0] < along < street.gap[1] or abs(across) > self.reach:
            return
        cos, sin = np.cos(street.heading), np.sin(street.heading)
        name = f"{_NAMES[kind]}-{len(self.placer.actors):04d}"
        x, y = street.x + cos * along - sin * across, sin * along + cos * across
        turned = heading + street.heading
        self.placer.add(Actor(name, kind, shape, x, y, turned, speed, turn_rate), margin)

    def _spread(self, start: float, stop: float, mean: float, least: float) -> Iterator[float]:
        """Places along a line with random gaps (metres)."""
        place = start + self.rng.uniform(0, mean)
        while place < stop:
            yield place
            place += least + self.rng.exponential(max(mean - least, 1e-3))

    def _sway(self, speed: float) -> tuple[float, float]:
        """Heading off the lane (radians) and turn rate (rad/s) that stay in it to the end."""
        way = max(speed * self.duration, 10.0)
        turn = 0.4 * self.rng.uniform(-1.0, 1.0) / (way * self.duration)
        return float(0.2 * self.rng.standard_normal() / way), float(turn) if speed > 1.0 else 0.0

    def _traffic(
        self, street: Street, side: int, lane: int, speed: float | None, *, waits: bool
    ) -> None:
        """Cars of one lane, moving, queueing or waiting before a crossing."""
        rng, sign, way = self.rng, (-1, 1)[side], (0.0, np.pi)[side]
        if speed is None:
            speed = 0.0 if rng.random() < 0.2 else float(rng.uniform(3.0, 12.0))
        drift = speed * self.duration
        start = street.start - (drift if side == 0 else 0.0)
        stop = street.stop + (drift if side == 1 else 0.0)
        mean, least = (8.5, 6.5) if speed < 1.0 else (20.0, 9.0)
        for along in self._spread(start, stop, mean, least):
            if waits and (along > 0) == (side == 0):
                continue  # beyond the crossing the lane leads away and is empty
            across = sign * (lane + 0.5) * LANE + float(rng.uniform(-0.25, 0.25))
            shape, (off, turn) = _pick(rng, _TRAFFIC), self._sway(speed)
            self._put(
                street, _VEHICLE, shape, (along, across), way + off, speed=speed, turn_rate=turn
            )

    def _bicycles(self, street: Street, side: int) -> None:
        rng, sign, way = self.rng, (-1, 1)[side], (0.0, np.pi)[side]
        drift = 6.0 * self.duration
        for along in self._spread(street.start - drift, street.stop + drift, 26.0, 3.0):
            speed = 0.0 if rng.random() < 0.2 else float(rng.uniform(2.5, 6.0))
            across = sign * (street.lanes * LANE + 0.5 * _BICYCLE_LANE + rng.uniform(-0.3, 0.3))
            shape, (off, turn) = road_users.cyclist(rng), self._sway(speed)
            self._put(
                street, _CYCLIST, shape, (along, across), way + off, speed=speed, turn_rate=turn
            )

    def _parked(self, street: Street, side: int) -> None:
        """Parked cars: along the kerb, or square to it where the strip is deep."""
        rng, sign, depth = self.rng, (-1, 1)[side], street.parking[side]
        square, taken = depth > 4.0, rng.uniform(0.25, 0.6)
        across = sign * (street.kerb[side] - depth / 2)
        stop = street.stop if depth else street.start
        for along in np.arange(street.start, stop, 2.9 if square else 6.3):
            if rng.random() > taken:
                continue
            heading = (np.pi / 2 if square else (0.0, np.pi)[side]) + 0.04 * rng.standard_normal()
            if rng.random() < (0.5 if square else 0.1):
                heading += np.pi
            place = (float(along + rng.uniform(-0.3, 0.3)), across)
            shape = _pick(rng, _PARKED if square else _TRAFFIC)
            self._put(street, _VEHICLE, shape, place, float(heading), margin=0.1)

    def _people(self, street: Street, side: int) -> None:
        """People alone and in groups on the pavement; a few cross the street."""
        rng, sign = self.rng, (-1, 1)[side]
        for along in self._spread(street.start, street.stop, 13.0, 0.5):
            crosses, stands = rng.random() < 0.08, rng.random() < 0.25
            ahead = float(rng.choice([0.0, np.pi]) + 0.15 * rng.standard_normal())
            across = sign * (street.kerb[side] + float(rng.uniform(0.7, 3.0)))
            if crosses:
                ahead, across = ahead + np.pi / 2, rng.uniform(-street.kerb[0], street.kerb[1])
            speed = 0.0 if stands else float(rng.uniform(0.6, 1.8))
            for _ in range(rng.integers(2, 5) if rng.random() < 0.3 else 1):
                heading = float(rng.uniform(-np.pi, np.pi)) if stands else ahead
                dx, dy = rng.uniform(-1.0, 1.0, 2)
                shape, place = road_users.pedestrian(rng), (float(along + dx), float(across + dy))
                self._put(street, _PEDESTRIAN, shape, place, heading, speed=speed, margin=0.1)

    def _furniture(self, street: Street, side: int) -> None:
        """What stands between the road and the houses, and looks like people or cars."""
        rng, sign, kerb = self.rng, (-1, 1)[side], street.kerb[side]
        for along in self._spread(street.start, street.stop, 6.0, 1.0):
            shape = _pick(rng, _SMALL)
            across = sign * (kerb + float(rng.choice([0.45, 3.6])))
            self._put(street, _CLUTTER, shape, (along, across), _turned(rng), margin=0.0)
        for along in self._spread(street.start, street.stop, 16.0, 4.0):
            shape = _pick(rng, _LARGE)
            across = sign * (kerb + float(rng.uniform(4.6, 6.5)))
            self._put(street, _CLUTTER, shape, (along, across), _turned(rng), margin=0.0)

    def _houses(self, street: Street, side: int) -> None:
        rng, sign, along = self.rng, (-1, 1)[side], street.start
        while along < street.stop:
            length, depth = float(rng.uniform(5.0, 18.0)), float(rng.uniform(0.3, 6.0))
            across = sign * (street.kerb[side] + float(rng.uniform(4.5, 9.0)) + depth / 2)
            middle, heading = along + length / 2, 0.02 * float(rng.standard_normal())
            ends = (along - 1.0, along + length + 1.0)
            if ends[1] < street.gap[0] or ends[0] > street.gap[1]:
                shape = clutter.building(rng, length, depth)
                self._put(street, _CLUTTER, shape, (middle, across), heading, margin=0.0)
            along += length + (0.0 if rng.random() < 0.4 else float(rng.uniform(1.0, 8.0)))


def _turned(rng: np.random.Generator) -> float:
    """Things stand along the street or square to it, not quite exactly."""
    return float(rng.choice([0.0, np.pi / 2]) + 0.1 * rng.standard_normal())


def _pick(rng: np.random.Generator, kinds: _Kinds) -> Shape:
    """Draw a kind by its share, then a shape of that kind."""
    chosen = rng.choice(len(kinds), p=[share for _, share in kinds])
    return kinds[chosen][0](rng)
