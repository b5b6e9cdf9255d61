"""What a record says while its points are still range images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DIFFICULTIES",
    "LASER_NAMES",
    "TOP",
    "LaserCalibration",
    "RawFrame",
    "RawLabel",
    "RawLabels",
    "RawLaser",
]

#: The five sensors by their number in a record.
LASER_NAMES = {1: "TOP", 2: "FRONT", 3: "SIDE_LEFT", 4: "SIDE_RIGHT", 5: "REAR"}

#: The number of the roof sensor, the only one with a pose for every pixel.
TOP = 1

#: A label's difficulty: not annotated, level 1, level 2 (hard).
DIFFICULTIES = frozenset({0, 1, 2})


@dataclass(frozen=True, eq=False, kw_only=True)
class LaserCalibration:
    """Where a sensor sits and where its beams point.

    Attributes:
        name: the sensor's number, a key of `LASER_NAMES`.
        extrinsic: ``[4, 4]`` float64, sensor to vehicle, metres.
        beam_inclinations: ``[H]`` float64 radians, ascending; ``None`` for evenly spaced beams
            between the two bounds.
        beam_inclination_min: lower bound of the beams, radians.
        beam_inclination_max: upper bound of the beams, radians.
    """

    name: int
    extrinsic: NDArray[np.float64]
    beam_inclinations: NDArray[np.float64] | None = None
    beam_inclination_min: float = 0.0
    beam_inclination_max: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class RawLaser(LaserCalibration):
    """One sensor of one frame: its calibration and its range images.

    Attributes:
        returns: up to two images ``[H, W, 4]`` float32 (range in metres, raw intensity, raw
            elongation, 1 in a no-label zone and -1 outside). A pixel is a point if its range is
            above 0; empty pixels hold -1. A sensor without data has none.
        pixel_pose: TOP only: ``[H, W, 6]`` float32 (roll, pitch, yaw, x, y, z of vehicle to global
            when the pixel was measured; radians, metres), valid for both returns.
    """

    returns: tuple[NDArray[np.float32], ...] = ()
    pixel_pose: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class RawLabel:
    """One labelled object.

    What a record does not say is 0, empty or ``None``.

    Attributes:
        box: ``[7]`` float64 (x, y, z of the centre, length, width, height, heading) in the vehicle
            frame; metres, radians.
        waymo_type: 0 unknown, 1 vehicle, 2 pedestrian, 3 sign, 4 cyclist.
        id: the object's name, stable over a segment.
        num_points: points of all sensors in the box.
        num_top_points: points of TOP in the box.
        difficulty: for detection: 0 not annotated, 1, or 2 (hard).
        tracking_difficulty: the same for tracking.
        speed: (x, y) in metres per second, as the record says.
        speed_z: upwards, metres per second.
        acceleration: (x, y, z) in metres per second squared.
        most_visible_camera: the camera that sees it best, such as ``FRONT``.
        camera_synced_box: ``[7]`` float64, like ``box``, at the exposure of that camera.
    """

    box: NDArray[np.float64]
    waymo_type: int
    id: str
    num_points: int = 0
    num_top_points: int = 0
    difficulty: int = 0
    tracking_difficulty: int = 0
    speed: tuple[float, float] = (0.0, 0.0)
    speed_z: float = 0.0
    acceleration: tuple[float, float, float] = (0.0, 0.0, 0.0)
    most_visible_camera: str = ""
    camera_synced_box: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class RawLabels:
    """The labelled objects of one record, without its sensors.

    Attributes:
        context_name: the segment's name.
        timestamp_micros: start of TOP's sweep, microseconds.
        labels: the labelled objects.
    """

    context_name: str
    timestamp_micros: int
    labels: tuple[RawLabel, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class RawFrame:
    """One record: sensors with their range images, and labels.

    Attributes:
        context_name: the segment's name.
        timestamp_micros: start of TOP's sweep, microseconds.
        pose: ``[4, 4]`` float64, vehicle to global. Labels and points live in this vehicle frame.
        lasers: the calibrated sensors, in any order, each at most once.
        labels: the labelled objects.
        no_label_zones: polygons ``[K, 2]`` float64, global x and y in metres.
        zone_ids: names of the zones, one each; empty to have them numbered when written.
        location: for example ``location_sf``.
        time_of_day: ``Day``, ``Dawn/Dusk`` or ``Night``.
        weather: ``sunny`` or ``rain``.
        laser_object_counts: objects that LiDAR labels show, by type.
        camera_object_counts: objects that camera labels show, by type.
    """

    context_name: str
    timestamp_micros: int
    pose: NDArray[np.float64]
    lasers: tuple[RawLaser, ...] = ()
    labels: tuple[RawLabel, ...] = ()
    no_label_zones: tuple[NDArray[np.float64], ...] = ()
    zone_ids: tuple[str, ...] = ()
    location: str = ""
    time_of_day: str = ""
    weather: str = ""
    laser_object_counts: Mapping[int, int] = field(default_factory=dict)
    camera_object_counts: Mapping[int, int] = field(default_factory=dict)
