"""From hits to the two range images of a sensor.

The model is a plain one: the echo's strength follows from the material and the angle of incidence,
and falls with the squared range and with what the air takes; weak echoes get lost; a beam on an
edge, or through foliage, gives a second echo; rain and fog add a few echoes near the sensor.
"""

import numpy as np
import numpy.typing as npt

from kd3d.simulate.materials import echo_strength, ground_rows
from kd3d.simulate.raycast import Hits
from kd3d.simulate.rays import Rays
from kd3d.simulate.scene import Scene
from kd3d.simulate.weather import Weather

__all__ = ["range_images"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Standard deviation of the measured range, metres.
_RANGE_NOISE = 0.015
#: Share of echoes lost whatever their strength.
_DROPOUT = 0.015
#: At this share of the reach, a surface of strength `_WEAK` is seen with probability 1 - 1 / e; a
#: matt one of 10 % at normal incidence is then seen three times of four at the full reach.
_WEAK, _WEAK_SHARE = 0.05, 0.8
#: Two surfaces nearer than this (metres) come back as one echo.
_SEPARATION = 0.4
#: Share of the beams on an edge, and of those through foliage, that give a second echo.
_SPLIT_EDGE, _SPLIT_FOLIAGE = 0.45, 0.5
#: Share of the beam that the first and the second surface get where it splits.
_FRONT_SHARE, _BACK_SHARE = 0.6, 0.4
#: Intensity of a droplet's echo, and the chance that the surface behind it still gives a second.
_DROPLET, _DROPLET_PASSES = 0.02, 0.5
#: Steps of the stored values (exact in binary, so that the images compress).
_RANGE_STEP, _VALUE_STEP = 1 / 1024, 1 / 4096


def range_images(
    rays: Rays,
    hits: Hits,
    scene: Scene,
    to_street: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """The first and the second return of a sensor.

    Args:
        rays: the sensor's rays.
        hits: what they meet.
        scene: its parts, ground and weather.
        to_street: ``[4, 4]`` vehicle to street's frame.
        rng: noise and losses.

    Returns:
        Two ``[H, W, 4]`` float32 images: range (m), intensity, elongation, -1 (outside of any
        no-label zone). Empty pixels hold -1 everywhere. A second return lies behind the first.
    """
    shape, reach = (rays.sensor.rows, rays.sensor.columns), rays.sensor.reach
    soft = np.append(np.isfinite(scene.parts.free_path), False)[hits.part]  # part -1: the ground
    edge = _edges(hits.distance.reshape(shape), hits.part.reshape(shape)).ravel()
    spread = edge | soft

    first = np.flatnonzero(np.isfinite(hits.distance) & (hits.distance > rays.sensor.blind))
    ways, cosines = hits.distance[first], hits.cosine[first]
    light, losses = _light(rays, first, ways, cosines, hits.part[first], scene, to_street)
    seen = _is_seen(light, losses, ways, reach, scene.weather, rng)
    first, ways, light = first[seen], ways[seen], light[seen]

    gap = hits.behind[first] - hits.distance[first]
    chance = np.maximum(_SPLIT_EDGE * edge[first], _SPLIT_FOLIAGE * soft[first])
    splits = (gap > _SEPARATION) & np.isfinite(gap) & (rng.random(len(first)) < chance)
    shared = light * np.where(splits, np.float32(_FRONT_SHARE), np.float32(1))
    front = _image(shape, first, ways, shared, spread, rng)

    second = first[splits]
    ways, cosines, part = hits.behind[second], hits.behind_cosine[second], hits.behind_part[second]
    light, losses = _light(rays, second, ways, cosines, part, scene, to_street)
    light *= np.float32(_BACK_SHARE)
    seen = _is_seen(light, losses, ways, reach, scene.weather, rng)
    back = _image(shape, second[seen], ways[seen], light[seen], spread, rng)
    if scene.weather.backscatter > 0.0:
        _add_droplets(front, back, rays, scene.weather, rng)
    return front, back


def _edges(distance: Floats, part: Integers) -> Flags:
    """Pixels on an object whose neighbour to any side sees something at least a step farther."""
    far = np.where(np.isfinite(distance), distance, np.float32(1e4))
    step = far + np.float32(_SEPARATION)
    edge = np.zeros(far.shape, dtype=np.bool_)
    edge |= np.roll(far, 1, axis=1) > step
    edge |= np.roll(far, -1, axis=1) > step
    edge[1:] |= far[:-1] > step[1:]
    return edge & (part >= 0)


def _light(
    rays: Rays,
    pixel: Integers,
    way: Floats,
    cosine: Floats,
    part: Integers,
    scene: Scene,
    to_street: npt.NDArray[np.float64],
) -> tuple[Floats, Floats]:
    """Light that comes back from what a pixel sees, and the share of its rays that never do.

    Args:
        rays: the sensor's rays.
        pixel: ``[N]`` flat indices.
        way: ``[N]`` distances, metres.
        cosine: ``[N]`` of incidence.
        part: ``[N]`` what is hit, -1 for the ground.
        scene: its parts, ground and weather.
        to_street: ``[4, 4]`` vehicle to street's frame.
    """
    rows = np.append(scene.parts.echo, np.zeros((1, 5), dtype=np.float32), axis=0)[part]
    low = np.flatnonzero(part < 0)
    origin, direction = rays.origins(pixel[low]), rays.direction[pixel[low]]
    across = to_street[1].astype(np.float32)
    x, y, z = (origin + way[low, None] * direction).T
    place = across[0] * x + across[1] * y + across[2] * z + across[3]
    cover = scene.ground.reflectivity(place).astype(np.float32)
    rows[low] = ground_rows(cover, scene.weather.wetness)
    light = echo_strength(rows, cosine)
    if scene.weather.extinction > 0.0:
        light *= np.exp(np.float32(-2 * scene.weather.extinction) * way)
    return light, rows[:, 4]


def _is_seen(
    light: Floats,
    losses: Floats,
    ways: Floats,
    reach: float,
    weather: Weather,
    rng: np.random.Generator,
) -> Flags:
    """Which echoes are strong enough, and not lost."""
    strength = light * (_WEAK_SHARE * reach / ways) ** 2 / _WEAK
    kept = (1 - _DROPOUT) * (1 - weather.dropout) * (1 - losses)
    return np.asarray(rng.random(len(ways), dtype=np.float32) < -np.expm1(-strength) * kept)


def _image(
    shape: tuple[int, int],
    pixel: Integers,
    ways: Floats,
    light: Floats,
    spread: Flags,
    rng: np.random.Generator,
) -> Floats:
    """Fill the four channels of one return.

    Args:
        shape: rows and columns.
        pixel: flat indices of the echoes.
        ways: true distances, metres.
        light: that comes back.
        spread: ``[H * W]`` pixels whose echo is drawn out (edges, foliage).
        rng: noise.
    """
    image = np.full((shape[0] * shape[1], 4), -1.0, dtype=np.float32)
    noise = _RANGE_NOISE * rng.standard_normal(len(pixel), dtype=np.float32)
    measured = np.maximum(ways + np.clip(noise, -0.06, 0.06), 0.1)
    speckle = np.exp(0.25 * rng.standard_normal(len(pixel), dtype=np.float32))
    drawn = rng.standard_exponential(len(pixel), dtype=np.float32)
    elongation = np.minimum(drawn * np.where(spread[pixel], 0.35, 0.04), 1.5)
    image[pixel, 0] = np.round(measured / _RANGE_STEP) * _RANGE_STEP
    image[pixel, 1] = np.round(light * speckle / _VALUE_STEP) * _VALUE_STEP
    image[pixel, 2] = np.round(elongation / _VALUE_STEP) * _VALUE_STEP
    return image.reshape(*shape, 4)


def _add_droplets(
    front: Floats, back: Floats, rays: Rays, weather: Weather, rng: np.random.Generator
) -> None:
    """Write the echoes of droplets into the images of a sensor.

    What such a ray would have seen becomes its second return, or is lost.
    """
    chosen = np.flatnonzero(rays.is_open & (rng.random(len(rays.is_open)) < weather.backscatter))
    drawn = rng.standard_exponential(len(chosen), dtype=np.float32)
    way = np.round((rays.sensor.blind + weather.depth * drawn) / _RANGE_STEP) * _RANGE_STEP
    strength = np.round(_DROPLET * rng.random(len(chosen)) / _VALUE_STEP) * _VALUE_STEP
    passes = rng.random(len(chosen)) < _DROPLET_PASSES
    flat_front, flat_back = front.reshape(-1, 4), back.reshape(-1, 4)
    beyond = flat_front[chosen, 0]
    nearer = (way < rays.sensor.reach) & ((beyond <= 0) | (way < beyond - _SEPARATION))
    kept = chosen[nearer & passes & (beyond > 0)]
    flat_back[chosen[nearer]] = -1.0
    flat_back[kept] = flat_front[kept]
    flat_front[chosen[nearer]] = -1.0
    flat_front[chosen[nearer], 0] = way[nearer]
    flat_front[chosen[nearer], 1] = strength[nearer]
    flat_front[chosen[nearer], 2] = 0.0
