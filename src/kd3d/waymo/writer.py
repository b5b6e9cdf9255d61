"""Frames to records: the inverse of `kd3d.waymo.reader`."""

import os
from collections.abc import Iterable
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
                time_of_day=frame.time_of_day.encode(),
                location=frame.location.encode(),
                weather=frame.weather.encode(),
            ),
        ),
        timestamp_micros=frame.timestamp_micros,
        pose=_transform(frame.pose, "the frame's pose"),
        lasers=[_laser(laser) for laser in frame.lasers],
        laser_labels=[_label(label) for label in frame.labels],
        no_label_zones=[
            schema.Polygon2d(x=zone[:, 0], y=zone[:, 1], id=b"zone-%d" % index)
            for index, zone in enumerate(frame.no_label_zones)
        ],
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
    if laser.name != TOP and pose is None:
        return
    if laser.name == TOP and not shapes and pose is None:
        return
    if laser.name != TOP or pose is None or not shapes or pose.shape != (*shapes[0][:2], 6):
        raise InputError(
            f"pixel_pose is {'absent' if pose is None else pose.shape} beside {shapes}.",
            where=where,
            hint="TOP's images need a pose [H, W, 6]; the other sensors have none.",
        )


def _label(label: RawLabel) -> schema.Label:
    if np.shape(label.box) != (7,):
        raise InputError(
            f"its box has shape {np.shape(label.box)}.",
            where=f"label {label.id!r}",
            hint="Give x, y, z, length, width, height and heading.",
        )
    x, y, z, length, width, height, heading = np.asarray(label.box, np.float64).tolist()
    return schema.Label(
        box=schema.Label.Box(
            center_x=x,
            center_y=y,
            center_z=z,
            width=width,
            length=length,
            height=height,
            heading=heading,
        ),
        metadata=schema.Label.Metadata(speed_x=label.speed[0], speed_y=label.speed[1]),
        type=label.waymo_type,
        id=label.id.encode(),
        detection_difficulty_level=label.difficulty or None,
        num_lidar_points_in_box=label.num_points,
        num_top_lidar_points_in_box=label.num_top_points,
    )


@lru_cache(maxsize=16)
def _no_projection(height: int, width: int) -> bytes:
    return matrix.deflate_zeros((height, width, 6))
