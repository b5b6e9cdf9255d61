"""Frames to records: the inverse of `kd3d.waymo.reader`."""

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import InputError
from kd3d.waymo import matrix, schema
from kd3d.waymo.raw import LASER_NAMES, TOP, RawFrame, RawLabel, RawLaser
from kd3d.waymo.rigid import is_rigid
from kd3d.waymo.tfrecord import RecordWriter

__all__ = ["encode_frame", "write_segment"]


def write_segment(path: str | os.PathLike[str], frames: Iterable[RawFrame]) -> int:
    """Write frames as one segment file, under a temporary name until it is whole.

    Args:
        path: the ``.tfrecord`` file. Missing folders are made, an old file is replaced.
        frames: the segment's frames in order of time; they may be made on the way.

    Returns:
        The number of frames written.

    Raises:
        InputError: a frame's arrays do not fit together.
        OutputError: the folder or the file cannot be written.
    """
    count = 0
    with RecordWriter(path) as writer:
        for frame in frames:
            writer.write(encode_frame(frame))
            count += 1
    return count


def encode_frame(frame: RawFrame) -> bytes:
    """Return a frame as the payload of a Waymo v1 record.

    The same frame always gives the same bytes.

    Raises:
        InputError: a frame's arrays do not fit together; the message names the sensor or label.
    """
    names = [laser.name for laser in frame.lasers]
    if len(set(names)) != len(names) or not set(names) <= set(LASER_NAMES):
        raise InputError(
            f"lasers {names} are not different numbers from 1 to 5.",
            where=f"frame {frame.timestamp_micros}",
            hint="Give each sensor once.",
        )
    message = schema.Frame(
        context=schema.Context(
            name=frame.context_name.encode(),
            laser_calibrations=[_calibration(laser) for laser in frame.lasers],
            stats=schema.Context.Stats(
                laser_object_counts=_counts(frame.laser_object_counts),
                time_of_day=frame.time_of_day.encode(),
                location=frame.location.encode(),
                weather=frame.weather.encode(),
                camera_object_counts=_counts(frame.camera_object_counts),
            ),
        ),
        timestamp_micros=frame.timestamp_micros,
        pose=_transform(frame.pose, "the frame's pose"),
        lasers=[_laser(laser) for laser in frame.lasers],
        laser_labels=[_label(label) for label in frame.labels],
        no_label_zones=_zones(frame),
    )
    return message.SerializeToString(deterministic=True)


def _transform(values: NDArray[np.float64], where: str) -> schema.Transform:
    if values.shape != (4, 4):
        raise InputError(f"has shape {values.shape}.", where=where, hint="Give a [4, 4] matrix.")
    if not is_rigid(values):
        raise InputError(
            "is no rotation and translation.", where=where, hint="Check its first three columns."
        )
    return schema.Transform(transform=np.asarray(values, np.float64).ravel().tolist())


def _calibration(laser: RawLaser) -> schema.LaserCalibration:
    beams = laser.beam_inclinations
    return schema.LaserCalibration(
        name=laser.name,
        beam_inclinations=None if beams is None else np.asarray(beams, np.float64).tolist(),
        beam_inclination_min=laser.beam_inclination_min,
        beam_inclination_max=laser.beam_inclination_max,
        extrinsic=_transform(laser.extrinsic, f"extrinsic of laser {LASER_NAMES[laser.name]}"),
    )


def _laser(laser: RawLaser) -> schema.Laser:
    _check_images(laser)
    message = schema.Laser(name=laser.name)
    targets = (message.ri_return1, message.ri_return2)
    for target, image in zip(targets, laser.returns, strict=False):
        target.range_image_compressed = matrix.deflate(image)
        # Nothing here sees a camera, but the official reader inflates this stream unconditionally.
        target.camera_projection_compressed = _no_projection(image.shape[0], image.shape[1])
    if laser.pixel_pose is not None:
        message.ri_return1.range_image_pose_compressed = matrix.deflate(laser.pixel_pose)
    return message


def _check_images(laser: RawLaser) -> None:
    where = f"laser {LASER_NAMES[laser.name]}"
    shapes = [image.shape for image in laser.returns]
    if len(shapes) > 2 or any(len(s) != 3 or s[2] != 4 or s[:2] != shapes[0][:2] for s in shapes):
        raise InputError(
            f"its returns have shapes {shapes}.",
            where=where,
            hint="Give at most two images [H, W, 4] of one size.",
        )
    beams = laser.beam_inclinations
    if shapes and beams is not None and np.shape(beams) != shapes[0][:1]:
        raise InputError(
            f"the beam table has shape {np.shape(beams)}, the range image {shapes[0]}.",
            where=where,
            hint="Give one inclination per row.",
        )
    pose = laser.pixel_pose
    needed = laser.name == TOP and any((image[..., 0] > 0).any() for image in laser.returns)
    allowed = laser.name == TOP and bool(shapes)
    fits = allowed and pose is not None and pose.shape == (*shapes[0][:2], 6)
    if not fits and (needed or pose is not None):
        raise InputError(
            f"pixel_pose is {'absent' if pose is None else pose.shape} beside {shapes}.",
            where=where,
            hint="TOP's images need a pose [H, W, 6]; the other sensors have none.",
        )


def _counts(counts: Mapping[int, int]) -> list[schema.Context.Stats.ObjectCount]:
    return [
        schema.Context.Stats.ObjectCount(type=kind, count=count) for kind, count in counts.items()
    ]


def _zones(frame: RawFrame) -> list[schema.Polygon2d]:
    ids = frame.zone_ids or [f"zone-{number}" for number in range(len(frame.no_label_zones))]
    if len(ids) != len(frame.no_label_zones):
        raise InputError(
            f"{len(ids)} names for {len(frame.no_label_zones)} no-label zones.",
            where=f"frame {frame.timestamp_micros}",
            hint="Name every zone or none.",
        )
    return [
        schema.Polygon2d(x=zone[:, 0], y=zone[:, 1], id=name.encode())
        for zone, name in zip(frame.no_label_zones, ids, strict=True)
    ]


def _label(label: RawLabel) -> schema.Label:
    where = f"label {label.id!r}"
    synced = label.camera_synced_box
    return schema.Label(
        box=_box(label.box, where),
        metadata=schema.Label.Metadata(
            speed_x=label.speed[0],
            speed_y=label.speed[1],
            speed_z=label.speed_z,
            accel_x=label.acceleration[0],
            accel_y=label.acceleration[1],
            accel_z=label.acceleration[2],
        ),
        type=label.waymo_type,
        id=label.id.encode(),
        detection_difficulty_level=label.difficulty or None,
        tracking_difficulty_level=label.tracking_difficulty or None,
        num_lidar_points_in_box=label.num_points,
        num_top_lidar_points_in_box=label.num_top_points,
        most_visible_camera_name=label.most_visible_camera.encode() or None,
        camera_synced_box=None if synced is None else _box(synced, f"{where}, camera-synced box"),
    )


def _box(box: NDArray[np.float64], where: str) -> schema.Label.Box:
    if np.shape(box) != (7,):
        raise InputError(
            f"its box has shape {np.shape(box)}.",
            where=where,
            hint="Give x, y, z, length, width, height and heading.",
        )
    x, y, z, length, width, height, heading = np.asarray(box, np.float64).tolist()
    return schema.Label.Box(
        center_x=x,
        center_y=y,
        center_z=z,
        width=width,
        length=length,
        height=height,
        heading=heading,
    )


@lru_cache(maxsize=16)
def _no_projection(height: int, width: int) -> bytes:
    return matrix.deflate_zeros((height, width, 6))
