"""The five sensors: where they sit, where their beams point, how far they see."""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kd3d.errors import ConfigError
from kd3d.waymo import TOP, LaserCalibration, calibrations_of

__all__ = ["SWEEP_SECONDS", "Sensor", "default_sensors", "sensors_of", "top_beams"]

FloatArray = npt.NDArray[np.float64]

#: One turn of the roof sensor, and the time between two frames.
SWEEP_SECONDS = 0.1

#: Columns of the images at full resolution, rows of sensors without a beam table, reach in metres.
_COLUMNS = {True: 2650, False: 600}
_ROWS = {True: 64, False: 200}
_REACH = {True: 75.0, False: 20.0}
#: Nearer than this (metres) nothing comes back, and the bumper sensors look at most this far
#: (radians) to each side; with both, a frame has about as many points as Waymo's.
_BLIND = {True: 2.0, False: 1.4}
_HALF_VIEW = {True: np.pi, False: np.radians(75.0)}

#: Sensors around the bumpers: x, y, z (metres), yaw, pitch, roll (degrees) in the vehicle frame.
#: Positions as on Waymo's cars, with small mounting angles.
_MOUNTS = {
    2: (4.07, 0.0, 0.69, -0.3, -1.2, 0.2),
    3: (3.24, 1.03, 0.98, 88.8, 1.3, -0.3),
    4: (3.24, -1.03, 0.98, -92.2, 1.4, 0.2),
    5: (-1.16, 0.0, 0.46, 178.4, 1.5, 0.5),
}
_TOP_MOUNT = (1.43, 0.0, 2.18, 148.0, 0.1, -0.4)


@dataclass(frozen=True, slots=True)
class Sensor:
    """One LiDAR.

    Args:
        calibration: place and beams.
        rows: rows of the range image.
        columns: columns of the range image.
        reach: greatest range in metres.
        blind: least range in metres.
        half_view: greatest angle to either side of the sensor's x axis, radians.
    """

    calibration: LaserCalibration
    rows: int
    columns: int
    reach: float
    blind: float
    half_view: float

    @property
    def is_top(self) -> bool:
        """The roof sensor turns while the car drives; the others are images of one instant."""
        return self.calibration.name == TOP


def top_beams(count: int = 64, low: float = -17.6, high: float = 2.4) -> FloatArray:
    """Inclinations of the roof sensor: dense near the horizon, four times sparser below.

    The gap between beams shrinks linearly over the lower two thirds and is constant above, as in
    Waymo's published beam tables.

    Args:
        count: number of beams.
        low: lowest beam, degrees.
        high: highest beam, degrees.

    Returns:
        ``[count]`` float64 radians, ascending.
    """
    height = np.linspace(0.0, 1.0, count - 1)
    gaps = np.maximum(1.0, 3.85 - 4.3 * height)
    steps = np.concatenate([[0.0], np.cumsum(gaps)])
    inclinations: FloatArray = np.radians(low + (high - low) * steps / steps[-1])
    return inclinations


def default_sensors(resolution: float = 1.0) -> tuple[Sensor, ...]:
    """Five sensors with Waymo's image shapes.

    Args:
        resolution: fraction of the columns that is kept; all beams are.

    Raises:
        ConfigError: the resolution is not in (0, 1].
    """
    beams = top_beams()
    calibrations = [
        LaserCalibration(
            name=TOP,
            extrinsic=_mount(*_TOP_MOUNT),
            beam_inclinations=beams,
            beam_inclination_min=float(beams[0] - (beams[1] - beams[0]) / 2),
            beam_inclination_max=float(beams[-1] + (beams[-1] - beams[-2]) / 2),
        )
    ]
    calibrations += [
        LaserCalibration(
            name=name,
            extrinsic=_mount(*mount),
            beam_inclination_min=-np.pi / 2,
            beam_inclination_max=np.pi / 6,
        )
        for name, mount in _MOUNTS.items()
    ]
    return tuple(_sensor(calibration, resolution) for calibration in calibrations)


def sensors_of(record: str | os.PathLike[str], resolution: float = 1.0) -> tuple[Sensor, ...]:
    """Sensors with the extrinsics and beam tables of a record's first frame.

    Args:
        record: a ``.tfrecord`` file.
        resolution: as in `default_sensors`.

    Raises:
        ConfigError: the resolution is not in (0, 1].
        DatasetError: the file cannot be opened.
        RecordError: the first record is damaged or describes no sensor.
    """
    calibrations = sorted(calibrations_of(record), key=lambda calibration: calibration.name)
    return tuple(_sensor(calibration, resolution) for calibration in calibrations)


def _thin_columns(columns: int, resolution: float) -> int:
    """Number of columns left at a resolution.

    Raises:
        ConfigError: the resolution is not in (0, 1], or leaves fewer than eight columns.
    """
    kept = round(columns * resolution) if 0.0 < resolution <= 1.0 else 0
    if kept < 8:
        raise ConfigError(
            f"{resolution} of {columns} columns is not a range image.",
            where="resolution",
            hint="Give a fraction in (0, 1], for example 0.25.",
        )
    return kept


def _sensor(calibration: LaserCalibration, resolution: float) -> Sensor:
    top = calibration.name == TOP
    beams = calibration.beam_inclinations
    return Sensor(
        calibration=calibration,
        rows=_ROWS[top] if beams is None else len(beams),
        columns=_thin_columns(_COLUMNS[top], resolution),
        reach=_REACH[top],
        blind=_BLIND[top],
        half_view=_HALF_VIEW[top],
    )


def _mount(x: float, y: float, z: float, yaw: float, pitch: float, roll: float) -> FloatArray:
    """Sensor to vehicle from a place (metres) and angles (degrees)."""
    (cy, sy), (cp, sp), (cr, sr) = (
        (np.cos(angle), np.sin(angle)) for angle in np.radians([yaw, pitch, roll])
    )
    turn = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    nod = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    lean = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    mounted = np.eye(4)
    mounted[:3, :3] = turn @ nod @ lean
    mounted[:3, 3] = x, y, z
    return mounted
