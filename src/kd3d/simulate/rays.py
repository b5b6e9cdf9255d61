"""The rays of a sensor: where each pixel looks, and from where."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kd3d.simulate.intersect import slabs
from kd3d.simulate.sensors import Sensor
from kd3d.waymo import rays_of

__all__ = ["Rays", "sensor_rays", "turn_vectors"]

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: The recording car's own body in the vehicle frame (metres): low and high corner. Rays of the
#: bumper sensors that enter it see nothing; the roof sensor looks over it.
_OWN_BODY = np.array([[-1.1, -1.0, 0.25], [4.0, 1.0, 1.75]], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Rays:
    """The rays of one sensor in one frame, in the vehicle frame of the frame's pose.

    Args:
        sensor: whose rays.
        origin: ``[W, 3]`` or ``[1, 3]`` float32 metres, per column.
        direction: ``[H * W, 3]`` float32 unit vectors, row-major.
        is_open: ``[H * W]`` bool, false outside the view and where the own car blocks it.
        poses: ``[K, 4, 4]`` sensor to vehicle at the start, middle and end of the sweep (K = 3), or
            at the frame's instant (K = 1).
    """

    sensor: Sensor
    origin: Floats
    direction: Floats
    is_open: Flags
    poses: Doubles

    def origins(self, pixel: Integers) -> Floats:
        """``[N, 3]`` or ``[1, 3]`` origins of pixels (flat indices)."""
        return self.origin if len(self.origin) == 1 else self.origin[pixel % self.sensor.columns]


def sensor_rays(sensor: Sensor, motion: Doubles | None = None) -> Rays:
    """The rays of a sensor.

    Args:
        sensor: place and beams.
        motion: ``[W, 4, 4]`` vehicle at each column's instant to the vehicle of the frame's pose;
            none for sensors whose image is of one instant.
    """
    extrinsic = sensor.calibration.extrinsic
    pose = extrinsic[None] if motion is None else motion @ extrinsic
    beams = rays_of(sensor.calibration, sensor.rows, sensor.columns).astype(np.float32)
    turn = pose[:, :3, :3].astype(np.float32)
    direction = turn_vectors(turn, beams).reshape(-1, 3)
    origin = pose[:, :3, 3].astype(np.float32)
    moments = pose if motion is None else pose[[0, len(pose) // 2, -1]]
    is_open = np.ones(len(direction), dtype=np.bool_)
    if not sensor.is_top:
        low, high = slabs(direction, _OWN_BODY[0] - origin, _OWN_BODY[1] - origin)
        is_open = ~(high.min(axis=1) > np.maximum(low.max(axis=1), 0.0))
        side = np.abs(np.arctan2(beams[..., 1], beams[..., 0]).ravel())
        is_open &= side < sensor.half_view
    return Rays(sensor, origin, direction, is_open, moments)


def turn_vectors(matrices: Floats, vectors: Floats) -> Floats:
    """Matrices ``[..., 3, 3]`` times vectors ``[..., 3]``, written out.

    A BLAS may round differently with another number of threads; this gives the same bits always.
    """
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    rows = [
        matrices[..., i, 0] * x + matrices[..., i, 1] * y + matrices[..., i, 2] * z
        for i in range(3)
    ]
    return np.stack(rows, axis=-1)
