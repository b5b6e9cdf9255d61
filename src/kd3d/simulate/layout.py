"""Where a scene's streets lie, and how the recording car drives through them."""

from dataclasses import replace

import numpy as np

from kd3d.simulate.density import KINDS, StreetKind, kind_of
from kd3d.simulate.ground import Ground, sample_ground
from kd3d.simulate.parking import fill_car_park, fill_parking
from kd3d.simulate.people import fill_bus_stops, fill_people, fill_square_people
from kd3d.simulate.placing import Placer
from kd3d.simulate.population import Population
from kd3d.simulate.roadside import fill_furniture, fill_houses, fill_median, fill_square
from kd3d.simulate.scene import EgoPath, Scene
from kd3d.simulate.street import Opening, Street, draw_street
from kd3d.simulate.traffic import Flow, fill_cyclists, fill_lanes, fill_turns
from kd3d.simulate.weather import sample_weather

__all__ = ["sample_scene"]

#: Share of the scenes with a crossing, of the crossings with four arms, of those that stop the
#: recording car's street.
_CROSSING, _FOUR_ARMS, _RED = 0.65, 0.55, 0.35
#: Share of the recording cars that stand although nothing stops them.
_STANDING = 0.08
#: Share of the crossings without a light where side traffic drives on while the way is free.
_YIELDING = 0.35
#: Least radius of a side street's bend, metres, and share of those that bend.
_LEAST_RADIUS, _BENT = 90.0, 0.5
#: Length and depth of a car park or square, metres.
_PLOT_LENGTH, _PLOT_DEPTH = (24.0, 45.0), (18.0, 34.0)


def sample_scene(
    rng: np.random.Generator, *, duration: float, extent: float, kind: StreetKind | None = None
) -> Scene:
    """Draw a street, in two of three scenes with a crossing, and everything on it.

    The recording car drives along x. Vehicles, pedestrians, cyclists and clutter never meet during
    the segment; how many there are depends on the kind of street (see `kd3d.simulate.density`).

    Args:
        rng: source of all chance; the same state gives the same scene.
        duration: of the segment, seconds.
        extent: every object is within this many metres of the recording car's way at some time.
        kind: of the main street; drawn by default.

    Returns:
        The scene at time 0.
    """
    kind = kind_of(rng) if kind is None else kind
    crosses, waits = rng.random() < _CROSSING, rng.random() < _RED
    speed = 0.0 if (crosses and waits) or rng.random() < _STANDING else rng.uniform(*kind.speed)
    end = float(speed) * duration
    main = draw_street(rng, kind, x=0.0, heading=0.0, span=(-extent, end + extent))
    side = _side_street(rng, main, extent, end, waits=waits) if crosses else None
    if side is not None:
        main = replace(main, opening=_opening(main, side))
        side = replace(side, opening=_mouth(main))
    lane = int(rng.integers(main.sides[0].lanes))
    ego = EgoPath(
        lane=main.lane_middle(0, lane),
        speed=float(speed),
        sway=min(0.2, 0.02 * float(speed)),
        period=float(rng.uniform(5.0, 9.0)),
        phase=float(rng.uniform(0.0, 2 * np.pi)),
    )
    population = Population(rng, Placer(ego, duration, extent), duration)
    has_red = crosses and waits
    flow = Flow(passes=not has_red, led=None if has_red else (0, lane), speed=ego.speed)
    _fill(population, main, side, flow)
    return Scene(
        ground=_ground(rng, main),
        actors=tuple(population.placer.actors),
        ego=ego,
        bearing=float(rng.uniform(-np.pi, np.pi)),
        offset=np.array([*rng.uniform(-4000.0, 4000.0, 2), rng.uniform(-50.0, 150.0)]),
        weather=sample_weather(rng),
    )


def _side_street(
    rng: np.random.Generator, main: Street, extent: float, end: float, *, waits: bool
) -> Street:
    """A street that crosses the main one, or ends at it on one side."""
    kinds = [kind for kind in KINDS if kind.name != "main road"]
    arms = [(-extent, extent), (-extent, 0.0), (0.0, extent)]
    rest = (1.0 - _FOUR_ARMS) / 2
    side = draw_street(
        rng,
        kinds[int(rng.integers(len(kinds)))],
        x=0.0,
        heading=np.pi / 2,
        span=arms[rng.choice(3, p=[_FOUR_ARMS, rest, rest])],
        curvature=float(rng.uniform(-1.0, 1.0) / _LEAST_RADIUS) if rng.random() < _BENT else 0.0,
        most_lanes=2,
    )
    half = _half_opening(side)
    if waits:  # the recording car is the first, second or third of those that wait
        place = half + 6.5 + 7.5 * int(rng.integers(3)) + float(rng.uniform(0.0, 2.0))
    else:
        place = float(rng.uniform(-0.6 * extent, end + 0.8 * extent))
    return replace(side, x=place)


def _half_opening(street: Street) -> float:
    return max(street.pavement_end(0), street.pavement_end(1)) + 0.5


def _opening(main: Street, side: Street) -> Opening:
    """Where the side street takes the main one's pavements."""
    half = _half_opening(side)
    return Opening(side.x - half, side.x + half, (side.start < 0.0, side.stop > 0.0))


def _mouth(main: Street) -> Opening:
    """Where the main street takes the side street's pavements."""
    half = _half_opening(main)
    return Opening(-half, half, (True, True))


def _fill(population: Population, main: Street, side: Street | None, flow: Flow) -> None:
    """Fill both streets, first what moves, then what stands."""
    rng = population.rng
    streets = [main] if side is None else [main, side]
    fill_bus_stops(population, main)
    for street in streets:
        fill_cyclists(population, street)
    fill_lanes(population, main, flow)
    if side is not None:
        has_four = side.start < 0.0 < side.stop
        passes = has_four and (not flow.passes or rng.random() < _YIELDING)
        fill_lanes(population, side, Flow(passes=bool(passes)))
        fill_turns(population, main, side)
    plots = _fill_plot(population, main)
    for street in streets:
        fill_parking(population, street)
        fill_people(population, street)
        fill_median(population, street)
        fill_furniture(population, street)
    for street in streets:
        fill_houses(population, street, plots if street is main else (None, None))


def _fill_plot(
    population: Population, street: Street
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """A car park or a square on one side, if chance wants one; its stretch for each side."""
    rng, side = population.rng, int(population.rng.integers(2))
    chosen = rng.choice(3, p=[*street.kind.plot, 1.0 - sum(street.kind.plot)])
    length, depth = float(rng.uniform(*_PLOT_LENGTH)), float(rng.uniform(*_PLOT_DEPTH))
    start = float(rng.uniform(street.start, max(street.stop - length, street.start)))
    stretch, opening = (start, start + length), street.opening
    if chosen == 2 or (
        opening is not None and start < opening.stop + 3.0 and stretch[1] > opening.start - 3.0
    ):
        return None, None
    if chosen == 0:
        fill_car_park(population, street, side, stretch, depth)
    else:
        fill_square_people(population, street, side, stretch, depth)
        fill_square(population, street, side, stretch, depth)
    return (stretch, None) if side == 0 else (None, stretch)


def _ground(rng: np.random.Generator, street: Street) -> Ground:
    """The relief, and the main street's asphalt, paint and pavement."""
    lines = [-street.median / 2, street.median / 2]
    for side in (0, 1):
        sign = (-1, 1)[side]
        lanes = range(1, street.sides[side].lanes + 1)
        lines += [sign * (street.median / 2 + n * street.lane) for n in lanes]
        if street.sides[side].bicycle:
            lines.append(sign * (street.lanes_end(side) + street.sides[side].bicycle))
    right, left = street.kerb(0), street.kerb(1)
    pavement = (street.sides[0].pavement + street.sides[1].pavement) / 2
    road = (right + left) / 2
    return sample_ground(rng, np.array(lines), road, road + pavement, middle=(left - right) / 2)
