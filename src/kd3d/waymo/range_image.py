"""Where each pixel of a range image looks.

Formulas: the Waymo Open Dataset's range-image convention. Row 0 is the highest beam. Column 0 looks
backwards (azimuth just below +pi, once the sensor's own yaw is undone) and the azimuth falls from
column to column; the middle column looks along the vehicle's +x.
"""

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import InputError
from kd3d.waymo.raw import LASER_NAMES, LaserCalibration

__all__ = ["azimuths_of", "inclinations_of", "rays_of"]


def inclinations_of(laser: LaserCalibration, height: int) -> NDArray[np.float64]:
    """Return the inclination of each row.

    Args:
        laser: the sensor.
        height: rows of its range image.

    Returns:
        ``[height]`` float64 radians above the sensor's horizon, row 0 first (the highest beam).

    Raises:
        InputError: the sensor's beam table has another number of beams.
    """
    if laser.beam_inclinations is None:
        low, high = laser.beam_inclination_min, laser.beam_inclination_max
        ascending = low + (np.arange(height) + 0.5) / height * (high - low)
    else:
        ascending = np.asarray(laser.beam_inclinations, np.float64)
    if ascending.shape != (height,):
        raise InputError(
            f"the beam table has {ascending.size} entries, the range image {height} rows.",
            where=f"laser {LASER_NAMES.get(laser.name, laser.name)}",
            hint="Give one inclination per row, or none and the two bounds.",
        )
    return ascending[::-1]


def azimuths_of(laser: LaserCalibration, width: int) -> NDArray[np.float64]:
    """Return the azimuth of each column in the sensor's frame.

    Args:
        laser: the sensor; its extrinsic's yaw is undone.
        width: columns of its range image.

    Returns:
        ``[width]`` float64 radians, falling, counter-clockwise seen from above.
    """
    yaw = np.arctan2(laser.extrinsic[1, 0], laser.extrinsic[0, 0])
    azimuths: NDArray[np.float64] = (1.0 - (2.0 * np.arange(width) + 1.0) / width) * np.pi - yaw
    return azimuths


def rays_of(laser: LaserCalibration, height: int, width: int) -> NDArray[np.float64]:
    """Return the unit direction of every pixel in the sensor's frame.

    A pixel's point in the sensor's frame is its direction times its range; ``extrinsic`` brings it
    to the vehicle's frame.

    Args:
        laser: the sensor.
        height: rows of its range image.
        width: columns of its range image.

    Returns:
        ``[height, width, 3]`` float64.

    Raises:
        InputError: the sensor's beam table has another number of beams than ``height``.
    """
    inclinations, azimuths = inclinations_of(laser, height), azimuths_of(laser, width)
    rays = np.empty((height, width, 3))
    rays[..., 0] = np.cos(inclinations)[:, None] * np.cos(azimuths)
    rays[..., 1] = np.cos(inclinations)[:, None] * np.sin(azimuths)
    rays[..., 2] = np.sin(inclinations)[:, None]
    return rays
