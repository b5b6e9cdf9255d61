"""A frame as everything after the reader sees it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """The points and labels of one frame, in the vehicle frame of `pose`.

    Points come laser by laser in ascending number, return 1 before return 2, each row by row.

    Attributes:
        points: ``[N, 5]`` float32: x, y, z in metres, intensity (raw and unbounded), elongation.
        laser: ``[N]`` uint8, 1 TOP, 2 FRONT, 3 SIDE_LEFT, 4 SIDE_RIGHT, 5 REAR.
        return_index: ``[N]`` uint8, 1 or 2.
        range: ``[N]`` float32, metres from the sensor.
        in_nlz: ``[N]`` bool, the point lies in a no-label zone.
        boxes: ``[M, 7]`` float32 (x, y, z of the centre, length, width, height, heading); metres,
            radians.
        waymo_types: ``[M]`` int64, 0 unknown, 1 vehicle, 2 pedestrian, 3 sign, 4 cyclist.
        labels: ``[M]`` int64, 0 Vehicle, 1 Pedestrian, 2 Cyclist, -1 other.
        num_points: ``[M]`` int64, LiDAR points in each box as the record says.
        num_top_points: ``[M]`` int64, those of TOP among them.
        difficulty: ``[M]`` int64 as annotated for detection; 0 where it is not (see
            `kd3d.waymo.effective_difficulty`).
        tracking_difficulty: ``[M]`` int64, the same for tracking.
        object_ids: M names, stable over a segment.
        speed: ``[M, 3]`` float32, metres per second, as the record says.
        acceleration: ``[M, 3]`` float32, metres per second squared, as the record says.
        most_visible_camera: M names of the camera that sees the object best, such as ``FRONT``;
            empty where the record names none.
        camera_synced_boxes: ``[M, 7]`` float32, the box at the exposure of that camera; not a
            number where the record has none. LiDAR has no use for them.
        no_label_zones: polygons ``[K, 2]`` float64, **global** x and y in metres.
        context_name: the segment's name.
        timestamp_micros: start of TOP's sweep, microseconds.
        pose: ``[4, 4]`` float64, vehicle to global, about the middle of the sweep.
    """

    points: NDArray[np.float32]
    laser: NDArray[np.uint8]
    return_index: NDArray[np.uint8]
    range: NDArray[np.float32]
    in_nlz: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    waymo_types: NDArray[np.int64]
    labels: NDArray[np.int64]
    num_points: NDArray[np.int64]
    num_top_points: NDArray[np.int64]
    difficulty: NDArray[np.int64]
    tracking_difficulty: NDArray[np.int64]
    object_ids: tuple[str, ...]
    speed: NDArray[np.float32]
    acceleration: NDArray[np.float32]
    most_visible_camera: tuple[str, ...]
    camera_synced_boxes: NDArray[np.float32]
    no_label_zones: tuple[NDArray[np.float64], ...]
    context_name: str
    timestamp_micros: int
    pose: NDArray[np.float64]
