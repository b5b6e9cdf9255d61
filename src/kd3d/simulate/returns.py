"""From hits to the two range images of a sensor.

The model is a plain one: the echo's strength falls with the surface's reflectivity, the cosine of
incidence and the squared range; weak echoes get lost; a beam on an edge, or through foliage, gives
a second echo.
"""

import numpy as np
import numpy.typing as npt

from kd3d.simulate.ground import Ground
from kd3d.simulate.raycast import Hits
from kd3d.simulate.rays import Rays

__all__ = ["range_images"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Standard deviation of the measured range, metres.
_RANGE_NOISE = 0.015
#: Share of echoes lost whatever their strength.
_DROPOUT = 0.015
#: At this share of the reach, a surface of strength `_WEAK` is seen with probability 1 - 1 / e.
_WEAK, _WEAK_SHARE = 0.004, 0.8
#: Two surfaces nearer than this (metres) come back as one echo.
_SEPARATION = 0.4
#: Share of the beams on an edge, and of those through foliage, that give a second echo.
_SPLIT_EDGE, _SPLIT_FOLIAGE = 0.45, 0.5
#: Steps of the stored values (exact in binary, so that the images compress).
_RANGE_STEP, _VALUE_STEP = 1 / 1024, 1 / 4096


def range_images(
    rays: Rays,
    hits: Hits,
    reflectivity: Floats,
    free_path: npt.NDArray[np.float64],
    ground: Ground,
    to_street: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """The first and the second return of a sensor.

    Args:
        rays: the sensor's rays.
        hits: what they meet.
        reflectivity: ``[P]`` of the parts.
        free_path: ``[P]`` metres of the parts, infinity for solid ones.
        ground: gives the ground's reflectivity.
        to_street: ``[4, 4]`` vehicle to street's frame.
        rng: noise and losses.

    Returns:
        Two ``[H, W, 4]`` float32 images: range (m), intensity, elongation, -1 (outside of any
        no-label zone). Empty pixels hold -1 everywhere. A second return lies behind the first.
    """
    shape, reach = (rays.sensor.rows, rays.sensor.columns), rays.sensor.reach
    soft = np.append(np.isfinite(free_path), False)[hits.part]  # part -1 is the ground
    edge = _edges(hits.distance.reshape(shape), hits.part.reshape(shape)).ravel()

    first = np.flatnonzero(np.isfinite(hits.distance) & (hits.distance > rays.sensor.blind))
    ways, cosines = hits.distance[first], hits.cosine[first]
    covers = _reflectivity(rays, first, ways, hits.part[first], reflectivity, ground, to_street)
    seen = _is_seen(covers, cosines, ways, reach, rng)
    first, ways, cosines, covers = first[seen], ways[seen], cosines[seen], covers[seen]

    gap = hits.behind[first] - hits.distance[first]
    chance = np.maximum(_SPLIT_EDGE * edge[first], _SPLIT_FOLIAGE * soft[first])
    splits = (gap > _SEPARATION) & np.isfinite(gap) & (rng.random(len(first)) < chance)
    image = _image(shape, first, ways, covers, cosines, edge | soft, np.where(splits, 0.6, 1), rng)

    second = first[splits]
    ways, cosines, part = hits.behind[second], hits.behind_cosine[second], hits.behind_part[second]
    covers = _reflectivity(rays, second, ways, part, reflectivity, ground, to_street)
    seen = _is_seen(0.4 * covers, cosines, ways, reach, rng)
    behind = _image(
        shape,
        second[seen],
        ways[seen],
        covers[seen],
        cosines[seen],
        edge | soft,
        np.full(int(seen.sum()), 0.4),
        rng,
    )
    return image, behind


def _edges(distance: Floats, part: Integers) -> Flags:
    """Pixels on an object whose neighbour to any side sees something at least a step farther."""
    far = np.where(np.isfinite(distance), distance, np.float32(1e4))
    step = far + np.float32(_SEPARATION)
    edge = np.zeros(far.shape, dtype=np.bool_)
    edge |= np.roll(far, 1, axis=1) > step
    edge |= np.roll(far, -1, axis=1) > step
    edge[1:] |= far[:-1] > step[1:]
    return edge & (part >= 0)


def _reflectivity(
    rays: Rays,
    pixel: Integers,
    way: Floats,
    part: Integers,
    reflectivity: Floats,
    ground: Ground,
    to_street: npt.NDArray[np.float64],
) -> Floats:
    """Reflectivity of what a pixel sees at a distance: a part's, or the ground's at that place."""
    covers = np.append(reflectivity, np.float32(0.0))[part]
    low = np.flatnonzero(part < 0)
    origin, direction = rays.origins(pixel[low]), rays.direction[pixel[low]]
    across = to_street[1].astype(np.float32)
    place = ((origin + way[low, None] * direction) * across[:3]).sum(axis=1) + across[3]
    covers[low] = ground.reflectivity(place)
    return covers


def _is_seen(
    covers: Floats, cosines: Floats, ways: Floats, reach: float, rng: np.random.Generator
) -> Flags:
    """Which echoes are strong enough, and not lost."""
    strength = covers * cosines * (_WEAK_SHARE * reach / ways) ** 2 / _WEAK
    chance = (1 - _DROPOUT) * -np.expm1(-strength)
    return np.asarray(rng.random(len(ways), dtype=np.float32) < chance)


def _image(
    shape: tuple[int, int],
    pixel: Integers,
    ways: Floats,
    covers: Floats,
    cosines: Floats,
    spread: Flags,
    share: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Floats:
    """Fill the four channels of one return.

    Args:
        shape: rows and columns.
        pixel: flat indices of the echoes.
        ways: true distances, metres.
        covers: reflectivities.
        cosines: of incidence.
        spread: ``[H * W]`` pixels whose echo is drawn out (edges, foliage).
        share: part of the beam that this surface gets.
        rng: noise.
    """
    image = np.full((shape[0] * shape[1], 4), -1.0, dtype=np.float32)
    noise = _RANGE_NOISE * rng.standard_normal(len(pixel), dtype=np.float32)
    measured = np.maximum(ways + np.clip(noise, -0.06, 0.06), 0.1)
    speckle = np.exp(0.25 * rng.standard_normal(len(pixel), dtype=np.float32))
    intensity = covers * np.sqrt(cosines) * speckle * share
    drawn = rng.standard_exponential(len(pixel), dtype=np.float32)
    elongation = np.minimum(drawn * np.where(spread[pixel], 0.35, 0.04), 1.5)
    image[pixel, 0] = np.round(measured / _RANGE_STEP) * _RANGE_STEP
    image[pixel, 1] = np.round(intensity / _VALUE_STEP) * _VALUE_STEP
    image[pixel, 2] = np.round(elongation / _VALUE_STEP) * _VALUE_STEP
    return image.reshape(*shape, 4)
