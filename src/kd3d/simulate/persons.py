"""People on foot and on bicycles, grown up and not, in several poses.

A label holds the person and what is carried, but not what is pushed (Waymo Open Dataset labelling
specifications); a cyclist's holds rider and bicycle.
"""

import numpy as np

from kd3d.simulate.materials import DARK, METAL, SKIN, Surface, cloth, matt, plastic
from kd3d.simulate.shapes import MARGIN, Part, Shape, block, column
from kd3d.simulate.sizes import draw, draw_size

__all__ = ["bystander", "cyclist", "pedestrian"]

#: Shares of women and of children among people.
_WOMEN, _CHILDREN = 0.46, 0.09
#: Shoes and hair add this to a stature (metres).
_SHOES = 0.04
#: Length and width of a child's label, as a share of an adult's.
_CHILD = 0.78
#: Hair and caps are darker than skin.
_HAIR = matt(0.2, 0.5)


def pedestrian(rng: np.random.Generator) -> Shape:
    """A person in mid-stride: legs, torso, arms, head, and now and then a bag or an umbrella."""
    stature, scale = _stature(rng)
    length = scale * draw(rng, "walking", "length")
    width = scale * draw(rng, "walking", "width")
    top, half, side = stature + _SHOES, length / 2 - MARGIN, width / 2 - MARGIN
    stride, trousers, coat = half - 0.1, cloth(rng), cloth(rng)
    hip, shoulder, chest = 0.48 * top, 0.83 * top, 0.2 * scale
    arm = min(chest + 0.07, side - 0.05)
    parts = [
        column(stride, 0.1 * scale, (0.0, 0.3 * top), 0.06, trousers),
        column(0.5 * stride, 0.1 * scale, (0.2 * top, hip), 0.08 * scale, trousers),
        column(-stride, -0.1 * scale, (0.0, 0.3 * top), 0.06, trousers),
        column(-0.5 * stride, -0.1 * scale, (0.2 * top, hip), 0.08 * scale, trousers),
        block((-0.13 * scale, 0.13 * scale), (-chest, chest), (hip, shoulder), coat),
        column(-0.6 * stride, arm, (hip - 0.05, shoulder), 0.05, coat),
        column(0.6 * stride, -arm, (hip - 0.05, shoulder), 0.05, coat),
        *_head(0.03, shoulder, top),
        *_carried(rng, half, side, scale, (hip, shoulder)),
    ]
    if rng.random() < 0.04:
        parts.append(_umbrella(rng, half, side, top))
        top += 0.12
    return Shape((length, width, top + MARGIN), tuple(parts))


def bystander(rng: np.random.Generator) -> Shape:
    """A person who stands upright, bends forward, or sits on a low seat."""
    stature, scale = _stature(rng)
    length = scale * draw(rng, "standing", "length")
    width = scale * draw(rng, "standing", "width")
    top, half, side = stature + _SHOES, length / 2 - MARGIN, width / 2 - MARGIN
    pose = rng.choice(3, p=(0.76, 0.12, 0.12))
    if pose == 1:
        top, parts = _bent(rng, half, side, scale, top)
    elif pose == 2:
        top, parts = _sitting(rng, half, side, scale, top)
    else:
        parts = _upright(rng, half, side, scale, top)
    return Shape((length, width, top + MARGIN), tuple(parts))


def cyclist(rng: np.random.Generator) -> Shape:
    """A bicycle with its rider, upright or bent over the handlebar."""
    sporty = rng.random() < 0.35
    size = draw_size(rng, "sporty" if sporty else "upright")
    half, side, top = size[0] / 2 - MARGIN, size[1] / 2 - MARGIN, size[2] - MARGIN
    coat, trousers = cloth(rng), cloth(rng)
    hip, shoulder = 0.95, 0.85 * top
    chest = (-0.3, 0.24) if sporty else (-0.28, 0.04)
    lean = (0.05, 0.3, 0.02) if sporty else (0.02, 0.1, 0.02)
    neck, grip = chest[1] - 0.06, min(0.5 * half + 0.05, 0.46)
    parts = [
        *_bicycle(half, side, grip),
        block((-0.26, 0.1), (0.07, 0.2), (0.55, hip), trousers),
        block((-0.26, 0.1), (-0.2, -0.07), (0.55, hip), trousers),
        column(0.02, 0.13, (0.15, 0.55), 0.055, trousers),
        column(-0.1, -0.13, (0.3, 0.6), 0.055, trousers),
        block(chest, (-0.2, 0.2), (hip, shoulder), coat, lean=lean),
        block((chest[1] - 0.05, grip), (0.2, 0.29), (0.98, 1.15), coat, 0.15),
        block((chest[1] - 0.05, grip), (-0.29, -0.2), (0.98, 1.15), coat, 0.15),
        *_head(neck, shoulder, top),
    ]
    if rng.random() < 0.25:
        parts.append(block((-half + 0.1, -0.32), (-0.18, 0.18), (0.62, 0.92), plastic(rng)))
    return Shape(size, tuple(parts))


def _stature(rng: np.random.Generator) -> tuple[float, float]:
    """Stature (metres) of an adult or a child, and the scale of a child's other sizes."""
    kind = rng.random()
    if kind < _CHILDREN:
        return draw(rng, "child", "stature"), _CHILD
    woman = kind < _CHILDREN + _WOMEN
    return draw(rng, "woman" if woman else "man", "stature"), 1.0


def _upright(
    rng: np.random.Generator, half: float, side: float, scale: float, top: float
) -> list[Part]:
    hip, shoulder, chest, coat, trousers = 0.48 * top, 0.83 * top, 0.2 * scale, *_clothes(rng)
    arm = min(chest + 0.07, side - 0.05)
    return [
        column(0.0, 0.1 * scale, (0.0, hip), 0.085 * scale, trousers),
        column(0.03, -0.1 * scale, (0.0, hip), 0.085 * scale, trousers),
        block((-0.13 * scale, 0.13 * scale), (-chest, chest), (hip, shoulder), coat),
        column(0.03, arm, (hip - 0.05, shoulder), 0.05, coat),
        column(min(0.2, half - 0.06), -arm, (0.5 * (hip + shoulder), shoulder), 0.05, coat),
        *_head(0.0, shoulder, top),
        *_carried(rng, half, side, scale, (hip, shoulder)),
    ]


def _bent(
    rng: np.random.Generator, half: float, side: float, scale: float, top: float
) -> tuple[float, list[Part]]:
    """Legs below a back that leans forward; returns the height as well."""
    hip, chest, coat, trousers = 0.52 * top, min(0.22 * scale, side), *_clothes(rng)
    back, ahead, thigh = 0.74 * top, half - 0.1, 0.085 * scale
    leg, rear = -min(0.15, half - thigh), -min(0.3 * scale, half)
    parts = [
        column(leg, 0.1 * scale, (0.0, hip), thigh, trousers),
        column(leg, -0.1 * scale, (0.0, hip), thigh, trousers),
        block((rear, ahead - 0.1), (-chest, chest), (0.9 * hip, back), coat),
        column(ahead - 0.15, chest - 0.05, (0.45 * hip, back - 0.1), 0.05, coat),
        column(ahead, 0.0, (back - 0.18, back), 0.1, _HAIR),
    ]
    return back, parts


def _sitting(
    rng: np.random.Generator, half: float, side: float, scale: float, top: float
) -> tuple[float, list[Part]]:
    """Somebody on a low seat, knees ahead; returns the height as well."""
    seat, height, coat, trousers = 0.26 * top, 0.76 * top, *_clothes(rng)
    chest, knee = min(0.21 * scale, side), half - 0.1
    shoulder, back = height - 0.17 * top, -min(0.26, half)
    parts = [
        block((-half, 0.0), (-chest, chest), (0.0, seat), DARK, 0.25),
        block((back + 0.06, knee), (0.04, chest), (seat, seat + 0.14), trousers),
        block((back + 0.06, knee), (-chest, -0.04), (seat, seat + 0.14), trousers),
        column(knee - 0.02, 0.12 * scale, (0.0, seat), 0.06, trousers),
        column(knee - 0.02, -0.12 * scale, (0.0, seat), 0.06, trousers),
        block((back, back + 0.26), (-chest, chest), (seat + 0.1, shoulder), coat),
        *_head(back + 0.14, shoulder, height),
    ]
    return height, parts


def _clothes(rng: np.random.Generator) -> tuple[Surface, Surface]:
    """Coat and trousers."""
    return cloth(rng), cloth(rng)


def _head(x: float, shoulder: float, top: float) -> list[Part]:
    """Neck and face, below hair or a cap."""
    brow = top - 0.3 * (top - shoulder)
    return [column(x, 0.0, (shoulder, brow), 0.085, SKIN), column(x, 0.0, (brow, top), 0.1, _HAIR)]


def _carried(
    rng: np.random.Generator,
    half: float,
    side: float,
    scale: float,
    trunk: tuple[float, float],
) -> list[Part]:
    """A rucksack, a bag at the side, or nothing."""
    kind, (hip, shoulder) = rng.random(), trunk
    if kind < 0.15:
        back = 0.13 * scale
        deep, wide = min(back + 0.16, half), 0.15 * scale
        return [block((-deep, -back), (-wide, wide), (hip, shoulder - 0.05), cloth(rng))]
    if kind < 0.35:
        near = min(0.22 * scale, side - 0.1)
        low = 0.35 * hip
        return [block((-0.18, 0.18), (near, min(near + 0.14, side)), (low, 0.8 * hip), cloth(rng))]
    return []


def _umbrella(rng: np.random.Generator, half: float, side: float, top: float) -> Part:
    """An open umbrella above the head, as wide as the label."""
    surface = cloth(rng)
    return block((-half, half), (-side, side), (top, top + 0.12), surface, lean=(0.2, 0.2, 0.2))


def _bicycle(half: float, side: float, grip: float) -> list[Part]:
    """Wheels and frame, which let most rays pass, and a handlebar of the label's width."""
    wheel, tyre = 0.34, matt(0.1, 0.2)
    return [
        block((half - 2 * wheel, half), (-0.03, 0.03), (0.0, 2 * wheel), tyre, 0.12),
        block((-half, -half + 2 * wheel), (-0.03, 0.03), (0.0, 2 * wheel), tyre, 0.12),
        block((-0.45, 0.45), (-0.04, 0.04), (0.3, 0.9), METAL, 0.15),
        block((grip - 0.04, grip + 0.04), (-side, side), (0.97, 1.04), METAL),
    ]
