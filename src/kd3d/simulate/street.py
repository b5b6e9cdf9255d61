"""A street in cross-section and in plan: lanes, strips and pavements on a line or a gentle bend."""

from dataclasses import dataclass

import numpy as np

from kd3d.simulate.density import StreetKind

__all__ = ["Opening", "Side", "Street", "draw_street"]

#: Widths of a traffic lane (least, greatest), of a bicycle lane and of a median, metres.
_LANE, _BICYCLE_LANE, _MEDIAN = (3.05, 3.5), 1.8, (1.2, 4.0)
#: Depths of the parking strip: none, along the kerb, square to it, metres.
_PARKING = (0.0, 2.4, 5.2)


@dataclass(frozen=True, slots=True)
class Side:
    """What lies on one side of a street's middle, from the inside out; widths in metres.

    Args:
        lanes: traffic lanes.
        way: heading of the traffic relative to the street: 0 along it, pi against it, radians.
        bicycle: width of the bicycle lane, 0 for none.
        parking: depth of the parking strip, 0 for none.
        pavement: width of the pavement.
        setback: from the pavement to the house fronts.
    """

    lanes: int
    way: float
    bicycle: float
    parking: float
    pavement: float
    setback: float


@dataclass(frozen=True, slots=True)
class Opening:
    """A stretch of a street where another one joins it.

    Args:
        start: first metre.
        stop: last metre.
        sides: whether the right and the left pavement are interrupted.
    """

    start: float
    stop: float
    sides: tuple[bool, bool]


@dataclass(frozen=True, slots=True)
class Street:
    """One street in the scene. Its own x (`along`) follows it, its y (`across`) points left.

    Traffic keeps right. Sides are numbered: 0 is the right one, 1 the left one.

    Args:
        kind: how it is built and filled.
        x: scene position of its zero point, metres; y is 0.
        heading: of the street at the zero point, radians.
        curvature: of its middle line, 1 / metres, positive for a bend to the left.
        start: first metre that is filled.
        stop: last metre that is filled.
        lane: width of a traffic lane, metres.
        median: width of the strip between the two directions, metres.
        sides: right and left.
        opening: the crossing with the other street, if there is one.
    """

    kind: StreetKind
    x: float
    heading: float
    curvature: float
    start: float
    stop: float
    lane: float
    median: float
    sides: tuple[Side, Side]
    opening: Opening | None = None

    def locate(self, along: float, across: float) -> tuple[float, float, float]:
        """Scene position x, y (metres) and the street's heading (radians) at a place of its own."""
        half = self.curvature * along / 2
        chord, middle = along * float(np.sinc(half / np.pi)), self.heading + half
        end = self.heading + 2 * half
        return (
            self.x + chord * float(np.cos(middle)) - across * float(np.sin(end)),
            chord * float(np.sin(middle)) + across * float(np.cos(end)),
            end,
        )

    def lane_middle(self, side: int, lane: int) -> float:
        """Where a traffic lane's middle lies across the street; lane 0 is the innermost."""
        return (-1, 1)[side] * (self.median / 2 + (lane + 0.5) * self.lane)

    def lanes_end(self, side: int) -> float:
        """Distance from the middle to the outer edge of the traffic lanes, metres."""
        return self.median / 2 + self.sides[side].lanes * self.lane

    def kerb(self, side: int) -> float:
        """Distance from the middle to the kerb, metres."""
        return self.lanes_end(side) + self.sides[side].bicycle + self.sides[side].parking

    def pavement_end(self, side: int) -> float:
        """Distance from the middle to the far edge of the pavement, metres."""
        return self.kerb(side) + self.sides[side].pavement

    def is_open(self, side: int, along: float, room: float = 0.0) -> bool:
        """Whether another street joins this side within `room` metres of a place."""
        opening = self.opening
        if opening is None or not opening.sides[side]:
            return False
        return opening.start - room < along < opening.stop + room

    @property
    def half_width(self) -> float:
        """Distance from the middle to the farther kerb, metres."""
        return max(self.kerb(0), self.kerb(1))


def draw_street(
    rng: np.random.Generator,
    kind: StreetKind,
    *,
    x: float,
    heading: float,
    span: tuple[float, float],
    curvature: float = 0.0,
    most_lanes: int = 3,
) -> Street:
    """Draw a street's cross-section.

    Args:
        rng: source of all chance.
        kind: how such streets are built.
        x: scene position of the street's zero point, metres.
        heading: at the zero point, radians.
        span: first and last metre that is filled.
        curvature: of the middle line, 1 / metres.
        most_lanes: no direction gets more lanes than this.
    """
    right, left = kind.lanes[rng.choice(len(kind.lanes), p=[share for _, share in kind.lanes])][0]
    right, left = min(right, most_lanes), min(left, most_lanes)
    has_median = left >= 2 and rng.random() < kind.median
    return Street(
        kind=kind,
        x=x,
        heading=heading,
        curvature=curvature,
        start=span[0],
        stop=span[1],
        lane=float(rng.uniform(*_LANE)),
        median=float(rng.uniform(*_MEDIAN)) if has_median else 0.0,
        sides=(_side(rng, kind, right, 0.0), _side(rng, kind, left, np.pi if left else 0.0)),
    )


def _side(rng: np.random.Generator, kind: StreetKind, lanes: int, way: float) -> Side:
    return Side(
        lanes=lanes,
        way=way,
        bicycle=_BICYCLE_LANE if rng.random() < kind.bicycle_lanes else 0.0,
        parking=_PARKING[rng.choice(len(_PARKING), p=kind.parking)],
        pavement=float(rng.uniform(*kind.pavement)),
        setback=float(rng.uniform(*kind.setback)),
    )
