"""What runs along a street: hedges, fences, walls, house fronts, scaffolds."""

import numpy as np

from kd3d.simulate.materials import BARK, FOLIAGE, METAL, Surface, masonry, matt
from kd3d.simulate.shapes import Part, Shape, block, column, unlabelled

__all__ = ["building", "fence", "hedge", "railing", "scaffold", "wall"]

#: Windows of houses: what is not lost meets curtains and frames.
_WINDOW = Surface(0.01, gloss=0.05, transmission=0.25)
#: Widths of a window and of the wall between two (metres).
_PANE, _PIER = 1.2, 1.3


def hedge(rng: np.random.Generator, length: float) -> Shape:
    """A clipped hedge of a length in metres, which light enters."""
    half, deep = length / 2, float(rng.uniform(0.2, 0.5))
    top, density = float(rng.uniform(0.8, 2.0)), float(rng.uniform(0.1, 0.35))
    return unlabelled([block((-half, half), (-deep, deep), (0.0, top), FOLIAGE, density)])


def fence(rng: np.random.Generator, length: float) -> Shape:
    """A fence of a length in metres: pales or wire that light partly passes, between posts."""
    half, top, wooden = length / 2, float(rng.uniform(0.9, 1.9)), rng.random() < 0.5
    surface = BARK if wooden else METAL
    gap = float(rng.uniform(0.03, 0.08) if wooden else rng.uniform(0.1, 0.25))
    pales = block((-half, half), (-0.025, 0.025), (0.05, top), surface, gap)
    return unlabelled([pales, *_uprights(half, 2.5, top, 0.05, surface)])


def railing(rng: np.random.Generator, length: float) -> Shape:
    """A railing of a length in metres: bars below a handrail."""
    half, top = length / 2, float(rng.uniform(0.9, 1.1))
    bars = block((-half, half), (-0.02, 0.02), (0.1, top), METAL, 0.15)
    handrail = block((-half, half), (-0.03, 0.03), (top, top + 0.06), METAL)
    return unlabelled([bars, handrail, *_uprights(half, 2.0, top, 0.04, METAL)])


def wall(rng: np.random.Generator, length: float) -> Shape:
    """A garden wall of a length in metres."""
    half, top = length / 2, float(rng.uniform(0.5, 2.0))
    return unlabelled([block((-half, half), (-0.12, 0.12), (0.0, top), masonry(rng))])


def scaffold(rng: np.random.Generator, length: float) -> Shape:
    """A scaffold of a length in metres, 1 m deep: tubes, planks, and now and then a net."""
    half, deep, top = length / 2, 0.5, 6.2
    parts = [
        *[
            post
            for y in (deep - 0.05, 0.05 - deep)
            for post in _uprights(half, 2.5, top, 0.03, METAL, y)
        ],
        *[block((-half, half), (-deep, deep), (z, z + 0.05), BARK) for z in (2.0, 4.0, 6.0)],
        *[
            block((-half, half), (-deep, 0.04 - deep), (z, z + 0.05), METAL)
            for z in (1.0, 3.0, 5.0)
        ],
    ]
    if rng.random() < 0.4:
        net = block((-half, half), (-deep, deep), (2.0, top), matt(0.3, 0.3), 1.2)
        parts.append(net)
    return unlabelled(parts)


def building(rng: np.random.Generator, length: float, depth: float) -> Shape:
    """A house of a length and depth (metres) with windows on its two long sides, or a low wall."""
    half, side = length / 2, depth / 2
    surface = masonry(rng)
    if rng.random() < 0.2:
        top = float(rng.uniform(1.2, 2.5))
        return unlabelled([block((-half, half), (-side, side), (0.0, top), surface)])
    top = float(rng.uniform(5.0, 12.0))
    parts = [block((-half, half), (-side, side), (0.0, top), surface)]
    if rng.random() < 0.3:
        parts += _panes(half, side, (0.5, 2.6), 2.6, 0.4)
    elif rng.random() < 0.8:
        parts += _panes(half, side, (0.9, 2.2), _PANE, _PIER)
    parts += _panes(half, side, (3.7, 5.0), _PANE, _PIER) if top > 5.5 else []
    return unlabelled(parts)


def _panes(
    half: float, side: float, height: tuple[float, float], pane: float, pier: float
) -> list[Part]:
    """Windows in a row, each a hair proud of both walls of a house.

    Args:
        half: half the length of the house, metres.
        side: half its depth.
        height: of sill and lintel.
        pane: width of a window.
        pier: width of the wall between two.
    """
    count = int((2 * half - pier) // (pane + pier))
    start = -(count * (pane + pier) - pier) / 2
    proud = side + 0.01
    return [
        block((x, x + pane), (-proud, proud), height, _WINDOW)
        for x in (start + number * (pane + pier) for number in range(count))
    ]


def _uprights(
    half: float, apart: float, top: float, radius: float, surface: Surface, y: float = 0.0
) -> list[Part]:
    """Posts from end to end of a run, about `apart` metres apart."""
    count = max(2, round(2 * half / apart) + 1)
    places = np.linspace(radius - half, half - radius, count)
    return [column(float(x), y, (0.0, top), radius, surface) for x in places]
