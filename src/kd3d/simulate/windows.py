"""Which pixels can see which part: candidates for the intersection test."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kd3d.simulate.rays import Rays
from kd3d.waymo import inclinations_of

__all__ = ["Parts", "candidate_pairs"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Horizontal slack (metres) for the mounting angles of a sensor when a part's window is bounded.
_TILT_SLACK = 0.15
_CORNERS = np.array(
    [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Upright boxes and cylinders in the vehicle frame.

    Args:
        centre: ``[P, 3]`` metres.
        half: ``[P, 3]`` half sizes, metres.
        heading: ``[P]`` radians.
        is_round: ``[P]`` bool.
        free_path: ``[P]`` metres, infinity for solid parts.
        actor: ``[P]`` index of the actor.
        transmission: ``[P]`` float32 share of the rays that pass at normal incidence.
        lean: ``[P, 3]`` metres by which front, rear and sides have moved inwards at the top.
    """

    centre: Doubles
    half: Doubles
    heading: Doubles
    is_round: Flags
    free_path: Doubles
    actor: Integers
    transmission: npt.NDArray[np.float32]
    lean: Doubles


def candidate_pairs(rays: Rays, parts: Parts) -> tuple[Integers, Integers]:
    """Pairs of open pixel and part that may meet: flat pixel indices and part indices."""
    chosen, top, height, left, width = _windows(rays, parts)
    sizes = height * width
    part = np.repeat(np.arange(len(chosen)), sizes)
    inside = np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    row, column = np.divmod(inside, width[part])
    columns = rays.sensor.columns
    pixel = (top[part] + row) * columns + (left[part] + column) % columns
    seen = rays.is_open[pixel]
    return pixel[seen], chosen[part[seen]]


def _windows(rays: Rays, parts: Parts) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """The pixels that can see each part.

    Returns:
        Indices of the parts within reach; first row and number of rows; first column and number of
        columns (columns wrap around).
    """
    sensor = rays.sensor
    cos, sin = np.cos(parts.heading), np.sin(parts.heading)
    middle = rays.poses[:, :2, 3]
    away = middle[:, None] - parts.centre[None, :, :2]
    local = np.stack(
        [cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]], axis=-1
    )
    near = np.linalg.norm(np.maximum(np.abs(local) - parts.half[:, :2], 0.0), axis=-1).min(axis=0)
    chosen = np.flatnonzero(near < sensor.reach)
    cos, sin, near = cos[chosen], sin[chosen], np.maximum(near[chosen] - _TILT_SLACK, 1e-3)
    offset = parts.half[chosen, None] * _CORNERS
    corners = parts.centre[chosen, None] + np.stack(
        [
            cos[:, None] * offset[..., 0] - sin[:, None] * offset[..., 1],
            sin[:, None] * offset[..., 0] + cos[:, None] * offset[..., 1],
            offset[..., 2],
        ],
        axis=-1,
    )
    inverse = np.linalg.inv(rays.poses)
    seen = np.einsum("kij,pcj->pkci", inverse[:, :3, :3], corners) + inverse[:, None, :3, 3]
    seen = seen.reshape(len(chosen), len(inverse) * len(_CORNERS), 3)

    low, high = seen[..., 2].min(axis=1), seen[..., 2].max(axis=1)
    far = np.linalg.norm(seen[..., :2], axis=-1).max(axis=1)
    down = np.arctan2(low, np.where(low < 0, near, far))
    up = np.arctan2(high, np.where(high > 0, near, far))
    falling = inclinations_of(sensor.calibration, sensor.rows)
    top = np.maximum(np.searchsorted(-falling, -up) - 1, 0)
    bottom = np.minimum(np.searchsorted(-falling, -down, side="right") + 1, sensor.rows)

    azimuth = np.arctan2(seen[..., 1], seen[..., 0])
    reference = azimuth[:, :1]
    relative = (azimuth - reference + np.pi) % (2 * np.pi) - np.pi
    start, stop = relative.min(axis=1), relative.max(axis=1)
    around = (near < 0.5) | (stop - start > 2.5)
    extrinsic = sensor.calibration.extrinsic
    yaw = np.arctan2(extrinsic[1, 0], extrinsic[0, 0])
    per_column = 2 * np.pi / sensor.columns
    left = np.floor((np.pi - yaw - reference[:, 0] - stop) / per_column - 0.5).astype(np.int64) - 1
    right = np.ceil((np.pi - yaw - reference[:, 0] - start) / per_column - 0.5).astype(np.int64) + 1
    width = np.where(around, sensor.columns, np.minimum(right - left + 1, sensor.columns))
    return chosen, top, np.maximum(bottom - top, 0), left, width
