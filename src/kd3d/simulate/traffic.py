"""Moving and waiting vehicles and cyclists on the lanes of a street, and vehicles that turn."""

from dataclasses import dataclass

import numpy as np

from kd3d.simulate import road_users
from kd3d.simulate.population import CYCLIST, VEHICLE, Mixture, Population, pick
from kd3d.simulate.shapes import Shape
from kd3d.simulate.street import Street

__all__ = ["Flow", "fill_cyclists", "fill_lanes", "fill_turns"]

#: Shapes in traffic and their shares: on streets, and on roads with several lanes each way.
_TRAFFIC: Mixture = (
    (road_users.car, 0.57),
    (road_users.van, 0.26),
    (road_users.pickup, 0.06),
    (road_users.truck, 0.07),
    (road_users.bus, 0.04),
)
_HEAVY_TRAFFIC: Mixture = (
    (road_users.car, 0.56),
    (road_users.van, 0.25),
    (road_users.pickup, 0.06),
    (road_users.truck, 0.07),
    (road_users.bus, 0.04),
    (road_users.tractor, 0.02),
)
_TURNING: Mixture = ((road_users.car, 0.65), (road_users.van, 0.35))
#: From the crossing to the first waiting bumper, and from bumper to bumper in a queue, metres.
_STOP_LINE, _BUMPER_GAP = 1.5, (1.2, 3.5)
#: Least distance (metres) and time (seconds) from middle to middle in a moving lane.
_LEAST_GAP, _LEAST_HEADWAY = 7.0, 0.8
#: Share of the lanes that stand although no crossing is near.
_JAM = 0.06
#: More vehicles than fit into any lane.
_MANY = 1000
#: Mean and deviation of a cyclist's speed, metres per second; share of those that stand.
_CYCLING, _RESTING = (4.4, 0.9), 0.12
#: Radius of a turn at a crossing (metres) and speed in it (metres per second).
_TURN_RADIUS, _TURN_SPEED = (6.5, 10.0), (2.5, 5.0)


@dataclass(frozen=True, slots=True)
class Flow:
    """How traffic takes a street's crossing, and the lane of the recording car.

    Args:
        passes: through traffic drives over the crossing; otherwise it waits before it.
        led: side and number of the lane whose vehicles keep the recording car's speed.
        speed: of that lane, metres per second.
    """

    passes: bool
    led: tuple[int, int] | None = None
    speed: float = 0.0


def fill_lanes(population: Population, street: Street, flow: Flow) -> None:
    """Fill every traffic lane of a street."""
    rng = population.rng
    for side in (0, 1):
        for lane in range(street.sides[side].lanes):
            speed, stands = float(rng.uniform(*street.kind.speed)), rng.random() < _JAM
            if flow.led == (side, lane):
                speed, stands = flow.speed, flow.speed < 1.0
            _Lane(population, street, side, lane, speed).fill(passes=flow.passes, stands=stands)


class _Lane:
    """One lane, in which places are counted along the traffic (metres)."""

    def __init__(
        self, population: Population, street: Street, side: int, lane: int, speed: float
    ) -> None:
        self.population, self.rng = population, population.rng
        self.street, self.speed = street, speed
        self.across, self.way = street.lane_middle(side, lane), street.sides[side].way
        self.sign = -1.0 if self.way > 0 else 1.0
        self.start, self.stop = sorted((self.sign * street.start, self.sign * street.stop))
        self.mixture = _HEAVY_TRAFFIC if street.sides[side].lanes > 1 else _TRAFFIC

    def fill(self, *, passes: bool, stands: bool) -> None:
        """Place vehicles that flow, stand in a jam, or wait before the crossing."""
        opening, queue = self.street.opening, self.street.kind.queue
        if opening is None and stands:
            self._queue(self.stop, _MANY)
        elif opening is None or (passes and not stands):
            self._moving(self.start, self.stop)
        else:
            near, far = sorted((self.sign * opening.start, self.sign * opening.stop))
            last = self._queue(near - _STOP_LINE, _MANY if stands else int(self.rng.poisson(queue)))
            self._moving(self.start, last - self.speed * self.population.duration - _LEAST_GAP)
            self._moving(far + _LEAST_GAP / 2, self.stop)

    def _queue(self, front: float, count: int) -> float:
        """Vehicles standing one behind the other from `front` back; return where they end."""
        for _ in range(count):
            shape = pick(self.rng, self.mixture)
            if front - shape.size[0] < self.start:
                break
            self._put(shape, front - shape.size[0] / 2, 0.0)
            front -= shape.size[0] + float(self.rng.uniform(*_BUMPER_GAP))
        return front

    def _moving(self, start: float, stop: float) -> None:
        """Vehicles at the lane's speed; some start before the filled stretch and arrive later."""
        if self.speed < 1.0:
            return
        if start == self.start:
            start -= self.speed * self.population.duration
        least = _LEAST_GAP + _LEAST_HEADWAY * self.speed
        for place in self.population.spread(start, stop, self.street.kind.spacing, least):
            self._put(pick(self.rng, self.mixture), place, self.speed)

    def _put(self, shape: Shape, place: float, speed: float) -> None:
        off, turn = _sway(self.population, speed)
        across = self.across + float(self.rng.uniform(-0.25, 0.25))
        self.population.put(
            self.street,
            VEHICLE,
            shape,
            (self.sign * place, across),
            self.way + off,
            speed=speed,
            sway=turn,
        )


def _sway(population: Population, speed: float) -> tuple[float, float]:
    """Heading off the lane (radians) and turn rate (rad/s) that stay in it to the end."""
    rng, way = population.rng, max(speed * population.duration, 10.0)
    turn = 0.4 * rng.uniform(-1.0, 1.0) / (way * population.duration)
    return float(0.2 * rng.standard_normal() / way), float(turn) if speed > 1.0 else 0.0


def fill_cyclists(population: Population, street: Street) -> None:
    """Cyclists on the bicycle lanes; where there is none, at the edge of the traffic lanes."""
    rng, drift = population.rng, _CYCLING[0] * population.duration
    for side in (0, 1):
        strip = street.sides[side]
        if not strip.bicycle and not strip.lanes:
            continue
        middle = street.lanes_end(side) + (strip.bicycle / 2 if strip.bicycle else -0.55)
        room = 0.35 if strip.bicycle else 0.1
        rate = street.kind.cyclists * (1.5 if strip.bicycle else 0.7)
        for along in population.scatter(street.start - drift, street.stop + drift, rate):
            speed = max(float(rng.normal(*_CYCLING)), 2.0) * float(rng.random() > _RESTING)
            off, turn = _sway(population, speed)
            across = (-1, 1)[side] * (middle + float(rng.uniform(-room, room)))
            population.put(
                street,
                CYCLIST,
                road_users.cyclist(rng),
                (along, across),
                strip.way + off,
                speed=speed,
                sway=turn,
                margin=0.15,
            )


def fill_turns(population: Population, main: Street, side: Street) -> None:
    """Vehicles on a quarter circle between two crossing streets, where their way is free.

    Segments that last longer than a turn get none: an actor keeps its turn rate to the end.
    """
    rng = population.rng
    for _ in range(rng.poisson(1.2)):
        radius, speed = float(rng.uniform(*_TURN_RADIUS)), float(rng.uniform(*_TURN_SPEED))
        left = np.pi / 2 - speed * population.duration / radius
        if left <= 0.0:
            continue
        done, to_the_left = float(rng.uniform(0.0, left)), bool(rng.random() < 0.5)
        pose = _turning_pose(rng, main, side, radius, done, to_the_left)
        if pose is None:
            continue
        rate = (1.0 if to_the_left else -1.0) * speed / radius
        population.put_free(VEHICLE, pick(rng, _TURNING), pose, speed=speed, turn_rate=rate)


def _turning_pose(
    rng: np.random.Generator,
    main: Street,
    side: Street,
    radius: float,
    done: float,
    to_the_left: bool,
) -> tuple[float, float, float] | None:
    """A pose on the arc from a lane of the main street into the side street.

    Args:
        rng: chooses the direction of travel on the main street.
        main: where the vehicle comes from.
        side: where it goes.
        radius: of the arc, metres.
        done: angle already turned, radians.
        to_the_left: turn left instead of right.

    Returns:
        x, y (metres) and heading (radians); None where no such lane or arm exists.
    """
    origin = int(rng.integers(2))
    if not main.sides[origin].lanes:
        return None
    travel = 1.0 if main.sides[origin].way == 0 else -1.0
    up = travel if to_the_left else -travel
    goal = next((s for s in (0, 1) if _leads(side, s, up)), None)
    if goal is None:
        return None
    lane = 0 if to_the_left else main.sides[origin].lanes - 1
    x_end, _, _ = side.locate(0.0, side.lane_middle(goal, 0))
    turn = 1.0 if to_the_left else -1.0
    heading = (0.0 if travel > 0 else np.pi) + turn * done
    x = x_end - travel * radius * (1.0 - np.sin(done))
    y = main.lane_middle(origin, lane) + up * radius * (1.0 - np.cos(done))
    return float(x), float(y), float(heading)


def _leads(side: Street, number: int, up: float) -> bool:
    """Whether a side's traffic leaves the crossing towards +y (`up` > 0) or -y, and has an arm."""
    has_arm = side.stop > 10.0 if up > 0 else side.start < -10.0
    onwards = np.sin(side.heading + side.sides[number].way) * up > 0
    return bool(side.sides[number].lanes and has_arm and onwards)
