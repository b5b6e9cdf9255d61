"""Rays against boxes, cylinders and the ground: the nearest hit, and the one behind it.

Each part is tested only against the window of pixels that can see it, so the work grows with the
pixels that objects cover and not with pixels times objects. All pairs of pixel and part go through
one vectorised slab test.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kd3d.simulate.ground import Ground
from kd3d.simulate.intersect import meet_boxes, meet_cylinders, meet_leaning
from kd3d.simulate.materials import lets_through
from kd3d.simulate.rays import Rays, turn_vectors
from kd3d.simulate.windows import Parts, candidate_pairs

__all__ = ["Hits", "cast"]

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hits:
    """What each ray meets.

    Args:
        distance: ``[N]`` metres to the nearest surface, infinity where there is none.
        cosine: ``[N]`` of the angle of incidence.
        part: ``[N]`` index of the part, -1 for the ground or nothing.
        behind: ``[N]`` metres to the nearest surface that belongs to another actor or the ground.
        behind_cosine: ``[N]``.
        behind_part: ``[N]``.
    """

    distance: Floats
    cosine: Floats
    part: Integers
    behind: Floats
    behind_cosine: Floats
    behind_part: Integers


def cast(
    rays: Rays, parts: Parts, ground: Ground, to_street: Doubles, rng: np.random.Generator
) -> Hits:
    """Follow every ray to the nearest surface and the one behind it.

    A ray that passes a pane goes on as if the pane were not there.

    Args:
        rays: the sensor's rays, N of them.
        parts: what stands around, vehicle frame.
        ground: the relief, street's frame.
        to_street: ``[4, 4]`` vehicle to street's frame.
        rng: decides how deep a ray enters foliage and which rays pass a pane.
    """
    count, reach = len(rays.direction), rays.sensor.reach
    distance = np.full(count, np.inf, dtype=np.float32)
    cosine = np.zeros(count, dtype=np.float32)
    opened = np.flatnonzero(rays.is_open)
    turn, shift = to_street[:3, :3].astype(np.float32), to_street[:3, 3].astype(np.float32)
    distance[opened], cosine[opened] = ground.cast(
        turn_vectors(turn, rays.origins(opened)) + shift,
        turn_vectors(turn, rays.direction[opened]),
        reach,
    )

    pixel, part = candidate_pairs(rays, parts)
    pixel, part, way, slant = _meet(rays, parts, pixel, part, reach, rng)
    owner = np.full(count, -1, dtype=np.int64)
    first = distance.copy()
    np.minimum.at(first, pixel, way)
    wins = way == first[pixel]
    owner[pixel[wins]] = part[wins]
    first_cosine = cosine.copy()
    first_cosine[pixel[wins]] = slant[wins]

    owned = owner >= 0
    behind = np.where(owned, distance, np.float32(np.inf))
    behind_cosine, behind_part = cosine, np.full(count, -1, dtype=np.int64)
    other = owned[pixel]
    other[other] = parts.actor[part[other]] != parts.actor[owner[pixel[other]]]
    pixel, part, way, slant = pixel[other], part[other], way[other], slant[other]
    np.minimum.at(behind, pixel, way)
    wins = way == behind[pixel]
    behind_part[pixel[wins]] = part[wins]
    behind_cosine[pixel[wins]] = slant[wins]
    return Hits(first, first_cosine, owner, behind, behind_cosine, behind_part)


def _meet(
    rays: Rays,
    parts: Parts,
    pixel: Integers,
    part: Integers,
    reach: float,
    rng: np.random.Generator,
) -> tuple[Integers, Integers, Floats, Floats]:
    """Keep the pairs that meet; add distance (m) and cosine of incidence."""
    cos, sin = np.cos(parts.heading).astype(np.float32), np.sin(parts.heading).astype(np.float32)
    centre = parts.centre.astype(np.float32)
    if len(rays.origin) == 1:
        away = (rays.origin - centre)[part]
    else:
        away = rays.origins(pixel) - centre[part]
    way = rays.direction[pixel]
    cos, sin = cos[part], sin[part]
    away[:, 0], away[:, 1] = (
        cos * away[:, 0] + sin * away[:, 1],
        cos * away[:, 1] - sin * away[:, 0],
    )
    way[:, 0], way[:, 1] = cos * way[:, 0] + sin * way[:, 1], cos * way[:, 1] - sin * way[:, 0]

    entry, leave, slant = _meet_surfaces(parts, part, away, way)

    hit = np.flatnonzero((leave > entry) & (entry > 0.0))
    pixel, part, entry, leave, slant = pixel[hit], part[hit], entry[hit], leave[hit], slant[hit]
    airy = np.flatnonzero(np.isfinite(parts.free_path[part]))
    depth = rng.standard_exponential(len(airy), dtype=np.float32)
    entry[airy] += depth * parts.free_path[part[airy]].astype(np.float32)
    panes = np.flatnonzero(parts.transmission[part] > 0.0)
    passes = lets_through(parts.transmission[part[panes]], slant[panes])
    entry[panes[rng.random(len(panes), dtype=np.float32) < passes]] = np.inf
    hit = np.flatnonzero((entry < leave) & (entry < reach))
    return pixel[hit], part[hit], entry[hit], slant[hit]


def _meet_surfaces(
    parts: Parts, part: Integers, away: Floats, way: Floats
) -> tuple[Floats, Floats, Floats]:
    """Entry, exit (m) and cosine of incidence of rays, each in the frame of its part."""
    half, lean = parts.half.astype(np.float32), parts.lean.astype(np.float32)
    entry = np.full(len(part), np.inf, dtype=np.float32)
    leave = np.full(len(part), -np.inf, dtype=np.float32)
    slant = np.zeros(len(part), dtype=np.float32)
    is_leaning = (parts.lean != 0.0).any(axis=1)
    some = np.flatnonzero(parts.is_round[part])
    entry[some], leave[some], slant[some] = meet_cylinders(away[some], way[some], half[part[some]])
    some = np.flatnonzero(is_leaning[part])
    entry[some], leave[some], slant[some] = meet_leaning(
        away[some], way[some], half[part[some]], lean[part[some]]
    )
    is_upright = ~parts.is_round & ~is_leaning
    some = np.flatnonzero(is_upright[part])
    entry[some], leave[some], slant[some] = meet_boxes(away[some], way[some], half[part[some]])
    return entry, leave, slant
