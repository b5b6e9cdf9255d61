"""Vehicles: cars, vans, pickups, trucks, trailers and buses, with windows, wheels and plates."""

import numpy as np

from kd3d.simulate.materials import DARK, GLASS, REFLECTOR, RUBBER, Surface, masonry, paint
from kd3d.simulate.shapes import MARGIN, Part, Shape, block
from kd3d.simulate.sizes import draw_size

__all__ = ["bus", "car", "pickup", "trailer", "tractor", "truck", "van"]

#: Mirrors and tyres stand out of a body by this much (metres) on each side.
_MIRROR, _TYRE = 0.1, 0.02


def car(rng: np.random.Generator) -> Shape:
    """A hatchback, estate or saloon."""
    if rng.random() < 0.5:
        return _passenger(rng, "saloon", cabin=(-0.38, 0.24), belt=0.62, slope=(0.20, 0.17))
    rear = 0.04 if rng.random() < 0.4 else 0.09
    return _passenger(rng, "hatchback", cabin=(-0.49, 0.25), belt=0.62, slope=(0.20, rear))


def van(rng: np.random.Generator) -> Shape:
    """An off-road car, a people carrier or a panel van (without windows at the side)."""
    if rng.random() < 0.6:
        return _passenger(rng, "off-road car", cabin=(-0.49, 0.24), belt=0.60, slope=(0.14, 0.07))
    return _passenger(
        rng,
        "van",
        cabin=(-0.495, 0.36),
        belt=0.55,
        slope=(0.14, 0.02),
        cargo=0.62 if rng.random() < 0.6 else 0.0,
    )


def pickup(rng: np.random.Generator) -> Shape:
    """A pickup: a cab in front of an open bed."""
    shape = _passenger(rng, "pickup", cabin=(-0.12, 0.23), belt=0.58, slope=(0.09, 0.02))
    body, *others = shape.parts
    left, right = body.x - body.half_length, body.x + body.half_length
    low, high = body.z - body.half_height, body.z + body.half_height
    side, bed = body.half_width, left + 0.38 * (right - left)
    walls = [
        block((bed, right), (-side, side), (low, high), body.surface),
        block((left, bed), (-side, side), (low, low + 0.45 * (high - low)), body.surface),
        block((left, bed), (side - 0.06, side), (low, high), body.surface),
        block((left, bed), (-side, -side + 0.06), (low, high), body.surface),
        block((left, left + 0.06), (-side, side), (low, high), body.surface),
    ]
    return Shape(shape.size, (*walls, *others))


def truck(rng: np.random.Generator) -> Shape:
    """A delivery truck: cab, chassis and cargo box."""
    size = draw_size(rng, "truck")
    length, width, top = _inside(size)
    front, side, cab = length / 2, width / 2, min(0.27 * length, 2.0)
    parts = [
        block((-front, front - cab - 0.1), (-side, side), (0.85, top), _boards(rng)),
        *_cab(front, cab, (0.94 * side, side), (0.45, min(0.85 * top, 2.9)), paint(rng)),
        block((-front, front - cab), (-0.45, 0.45), (0.5, 0.85), DARK),
        *_wheels((0.5 * cab - front, front - 0.5 * cab), side, 0.45),
        *_plates(front),
    ]
    return Shape(size, tuple(parts))


def tractor(rng: np.random.Generator) -> Shape:
    """The tractor of an articulated truck: a high cab and the frame behind it."""
    size = draw_size(rng, "tractor")
    length, width, top = _inside(size)
    front, side, cab = length / 2, width / 2, 2.3
    parts = [
        *_cab(front, cab, (side - _MIRROR, side), (0.4, top), paint(rng)),
        block((-front, front - cab), (-0.5, 0.5), (0.55, 1.0), DARK),
        block((-front + 0.5, front - cab - 0.3), (-side + 0.15, side - 0.15), (1.0, 1.15), DARK),
        *_wheels((-front + 0.9, front - 1.4), side - 0.08, 0.5),
        *_plates(front),
    ]
    return Shape(size, tuple(parts))


def trailer(rng: np.random.Generator) -> Shape:
    """A box trailer: high above the road, on wheels at its rear."""
    size = draw_size(rng, "trailer")
    length, width, top = _inside(size)
    front, side = length / 2, width / 2
    parts = [
        block((-front, front), (-side, side), (1.1, top), _boards(rng)),
        block((-front + 0.4, front - 2.5), (-side + 0.2, side - 0.2), (0.8, 1.1), DARK),
        block((-0.15 * length, 0.2 * length), (-side + 0.05, side - 0.05), (0.5, 0.9), DARK, 0.3),
        *_wheels((-front + 1.4, -front + 2.7, -front + 4.0), side, 0.5),
        *_plates(front)[1:],
    ]
    return Shape(size, tuple(parts))


def bus(rng: np.random.Generator) -> Shape:
    """A city bus: bands of glass between floor and roof, seats behind them."""
    size = draw_size(rng, "bus")
    length, width, top = _inside(size)
    front, side, colour = length / 2, width / 2 - _MIRROR, paint(rng)
    belt, roof = 1.15, top - 0.35
    pillars = np.linspace(-front + 0.05, front - 0.25, 6)
    parts = [
        block((-front, front), (-side, side), (0.3, belt), colour),
        block((-front, front), (-side, side), (roof, top), colour),
        block((-front, front), (-side, side), (belt, roof), GLASS),
        block((-front + 0.4, front - 2.0), (-side + 0.2, -0.4), (belt, belt + 0.5), DARK, 0.8),
        block((-front + 0.4, front - 2.0), (0.4, side - 0.2), (belt, belt + 0.5), DARK, 0.8),
        *_posts(pillars, side, 0.09, (belt, roof), colour),
        block((front - 0.3, front - 0.05), (-width / 2, width / 2), (1.6, 2.0), DARK, 0.5),
        *_wheels((-0.27 * length, 0.27 * length), side + _TYRE, 0.48),
        *_plates(front),
    ]
    return Shape(size, tuple(parts))


def _inside(size: tuple[float, float, float]) -> tuple[float, float, float]:
    """Length, width and height that parts may take inside a label."""
    return size[0] - 2 * MARGIN, size[1] - 2 * MARGIN, size[2] - MARGIN


def _passenger(
    rng: np.random.Generator,
    kind: str,
    *,
    cabin: tuple[float, float],
    belt: float,
    slope: tuple[float, float],
    cargo: float = 0.0,
) -> Shape:
    """A car-like body. The first part is the painted one below the windows.

    Args:
        rng: source of chance.
        kind: of `kd3d.simulate.sizes.SIZES`.
        cabin: rear and front end of the windows' lower edge, as shares of the length.
        belt: height of that edge as a share of the height.
        slope: how far windscreen and rear window lean in up to the roof, as shares of the length.
        cargo: share of the cabin, from the rear, that has walls instead of windows.
    """
    size = draw_size(rng, kind)
    length, width, top = _inside(size)
    front, side, waist, roof = length / 2, width / 2 - _MIRROR, belt * top, top - 0.06
    colour, low, high = paint(rng), cabin[0] * length, cabin[1] * length
    lean = (slope[0] * length, slope[1] * length, 0.12)
    start, end = low + lean[1], high - lean[0]
    seats = [share * (end - start) + start for share in (0.25, 0.75)]
    inner = side - 0.25
    radius = 0.32 if top < 1.6 else 0.36
    parts = [
        block((-front, front), (-side, side), (0.24, waist), colour, lean=(0.1, 0.04, 0.0)),
        block((low, high), (-side, side), (waist, roof), GLASS, lean=lean),
        block((start, end), (0.14 - side, side - 0.14), (roof, top), colour),
        *[
            block((x - 0.1, x + 0.1), (-inner, inner), (waist, waist + 0.7 * (roof - waist)), DARK)
            for x in seats
        ],
        *_posts(np.array([start, (start + end) / 2]), side - 0.06, 0.06, (waist, roof), colour),
        block((high - 0.3, high - 0.1), (-width / 2, width / 2), (waist, waist + 0.16), colour),
        *_wheels((-0.3 * length, 0.31 * length), side + _TYRE, radius),
        *_plates(front),
        *_lamps(front, side, waist),
    ]
    if cargo:
        border = low + cargo * (high - low)
        x, y = (low - 0.01, border), (-side - 0.01, side + 0.01)
        parts.append(block(x, y, (waist, roof), colour, lean=(0.0, lean[1], 0.12)))
    return Shape(size, tuple(parts))


def _cab(
    front: float,
    deep: float,
    sides: tuple[float, float],
    height: tuple[float, float],
    colour: Surface,
) -> list[Part]:
    """A truck's cab: walls, and a windscreen and side windows as a band of glass.

    Args:
        front: x of its front, metres.
        deep: its length, metres.
        sides: half widths of the cab and of its mirrors, metres.
        height: of its floor and its roof, metres.
        colour: of its walls.
    """
    back, (side, mirror), (low, top) = front - deep, sides, height
    belt, roof = low + 0.52 * (top - low), low + 0.82 * (top - low)
    return [
        block((back, front), (-side, side), (low, belt), colour),
        block((back, front), (-side, side), (roof, top), colour, lean=(0.3, 0.0, 0.05)),
        block((back + 0.9, front), (-side, side), (belt, roof), GLASS),
        block((back, back + 0.9), (-side, side), (belt, roof), colour),
        block((front - 0.5, front - 0.3), (-mirror, mirror), (belt, belt + 0.3), DARK, 0.5),
    ]


def _boards(rng: np.random.Generator) -> Surface:
    """Walls of cargo boxes: painted sheets or canvas."""
    return paint(rng) if rng.random() < 0.4 else masonry(rng)


def _posts(
    places: np.ndarray[tuple[int], np.dtype[np.float64]],
    side: float,
    thick: float,
    height: tuple[float, float],
    colour: Surface,
) -> list[Part]:
    """Pillars between windows, in both sides of a body."""
    return [
        block((float(x), float(x) + thick), (y - 0.04, y), height, colour)
        for x in places
        for y in (side, 0.04 - side)
    ]


def _wheels(axles: tuple[float, ...], side: float, radius: float) -> list[Part]:
    """Wheels on axles at x; `side` is their outer face (metres)."""
    return [
        block((x - radius, x + radius), (y - 0.11, y + 0.11), (0.0, 2 * radius), RUBBER)
        for x in axles
        for y in (side - 0.11, 0.11 - side)
    ]


def _plates(front: float) -> list[Part]:
    """Number plates at the front and the rear."""
    spans = ((front, front + 0.01), (-front - 0.01, -front))
    return [block(x, (-0.25, 0.25), (0.45, 0.57), REFLECTOR) for x in spans]


def _lamps(front: float, side: float, waist: float) -> list[Part]:
    """Rear lamps with their reflectors."""
    return [
        block((-front - 0.01, -front + 0.03), y, (waist - 0.22, waist - 0.1), REFLECTOR)
        for y in ((side - 0.3, side - 0.05), (0.05 - side, 0.3 - side))
    ]
