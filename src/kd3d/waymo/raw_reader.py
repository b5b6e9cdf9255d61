"""Payloads to frames with range images; the structure of a record is checked here."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from kd3d.errors import RecordError
from kd3d.waymo import matrix, schema
from kd3d.waymo.raw import LASER_NAMES, TOP, RawFrame, RawLabel, RawLabels, RawLaser
from kd3d.waymo.rigid import is_rigid

__all__ = ["decode_raw_frame", "decode_raw_labels"]

_Named = TypeVar("_Named", schema.LaserCalibration, schema.Laser)


def decode_raw_frame(payload: bytes, where: str) -> RawFrame:
    """Return what a record says, its range images inflated but not yet points.

    Args:
        payload: the serialized frame.
        where: the record's name for messages.

    Raises:
        RecordError: the payload is no Waymo frame, or its parts do not fit together.
    """
    try:
        message = schema.Frame.FromString(payload)
        lasers = _lasers(message, where)
        stats = message.context.stats
        return RawFrame(
            context_name=message.context.name.decode(),
            timestamp_micros=message.timestamp_micros,
            pose=_frame_pose(message.pose, lasers, where),
            lasers=lasers,
            labels=tuple(_label(label) for label in message.laser_labels),
            no_label_zones=tuple(_polygon(zone, where) for zone in message.no_label_zones),
            location=stats.location.decode(),
            time_of_day=stats.time_of_day.decode(),
            weather=stats.weather.decode(),
        )
    except (DecodeError, UnicodeDecodeError) as error:
        raise _refuse(f"no Waymo v1 frame ({error}).", where) from error


def decode_raw_labels(payload: bytes, where: str) -> RawLabels:
    """Return a record's labels, without inflating its range images.

    Args:
        payload: the serialized frame.
        where: the record's name for messages.

    Raises:
        RecordError: the payload is no Waymo frame.
    """
    try:
        message = schema.Frame.FromString(payload)
        return RawLabels(
            context_name=message.context.name.decode(),
            timestamp_micros=message.timestamp_micros,
            labels=tuple(_label(label) for label in message.laser_labels),
        )
    except (DecodeError, UnicodeDecodeError) as error:
        raise _refuse(f"no Waymo v1 frame ({error}).", where) from error


def _lasers(message: schema.Frame, where: str) -> tuple[RawLaser, ...]:
    calibrations = _by_name(message.context.laser_calibrations, "calibration", where)
    # Real records list sensors without any data, and without a name.
    filled = [laser for laser in message.lasers if _streams_of(laser)]
    images = _by_name(filled, "range images", where)
    for name in images.keys() - calibrations.keys():
        raise _refuse("range images but no calibration.", f"{where}, laser {LASER_NAMES[name]}")
    return tuple(
        _laser(calibration, images.get(name), f"{where}, laser {LASER_NAMES[name]}")
        for name, calibration in sorted(calibrations.items())
    )


def _by_name(entries: Iterable[_Named], what: str, where: str) -> dict[int, _Named]:
    named: dict[int, _Named] = {}
    for entry in entries:
        if entry.name not in LASER_NAMES:
            raise _refuse(f"{what} of laser {entry.name}, which is none of 1 to 5.", where)
        if entry.name in named:
            raise _refuse(f"{what} twice.", f"{where}, laser {LASER_NAMES[entry.name]}")
        named[entry.name] = entry
    return named


def _laser(
    calibration: schema.LaserCalibration, images: schema.Laser | None, where: str
) -> RawLaser:
    beams = np.array(calibration.beam_inclinations, np.float64)
    returns = () if images is None else _returns(images, where)
    pixel_pose = None if images is None else _pixel_pose(images, returns, where)
    for image in returns:
        if len(beams) not in (0, image.shape[0]):
            raise _refuse(f"{image.shape[0]} rows but {len(beams)} beam inclinations.", where)
    return RawLaser(
        name=calibration.name,
        extrinsic=_transform(calibration.extrinsic, f"{where}, extrinsic"),
        beam_inclinations=beams if len(beams) else None,
        beam_inclination_min=calibration.beam_inclination_min,
        beam_inclination_max=calibration.beam_inclination_max,
        returns=returns,
        pixel_pose=pixel_pose,
    )


def _streams_of(laser: schema.Laser) -> tuple[bytes, ...]:
    """Return the streams of the two returns, without absent ones at the end."""
    first = laser.ri_return1.range_image_compressed
    second = laser.ri_return2.range_image_compressed
    return (first, second) if second else (first,) if first else ()


def _returns(laser: schema.Laser, where: str) -> tuple[NDArray[np.float32], ...]:
    names = [f"{where}, return {number}" for number in (1, 2)]
    images = [
        matrix.inflate(stream, 4, name) if stream else None
        for stream, name in zip(_streams_of(laser), names, strict=False)
    ]
    if images[0] is None:
        assert images[1] is not None  # _streams_of ends with a stream
        images[0] = np.full_like(images[1], -1.0)
    found = tuple(image for image in images if image is not None)
    for image, name in zip(found, names, strict=False):
        if image.shape != found[0].shape:
            raise _refuse(f"shape {image.shape} beside {found[0].shape} of return 1.", name)
        if np.isnan(image[..., 0]).any():
            pixel = tuple(np.argwhere(np.isnan(image[..., 0]))[0].tolist())
            raise _refuse(f"the range of pixel {pixel} is not a number.", name)
    return found


def _pixel_pose(
    laser: schema.Laser, returns: tuple[NDArray[np.float32], ...], where: str
) -> NDArray[np.float32] | None:
    if laser.name != TOP:
        return None
    stream = laser.ri_return1.range_image_pose_compressed
    if not stream:
        if any((image[..., 0] > 0).any() for image in returns):
            raise _refuse("points but no pose per pixel (it is a part of return 1).", where)
        return None
    poses = matrix.inflate(stream, 6, f"{where}, pose per pixel")
    if poses.shape[:2] != returns[0].shape[:2]:
        raise _refuse(f"poses {poses.shape} beside an image {returns[0].shape}.", where)
    return poses


def _frame_pose(
    message: schema.Transform, lasers: tuple[RawLaser, ...], where: str
) -> NDArray[np.float64]:
    if message.transform:
        return _transform(message, f"{where}, pose")
    if any(laser.pixel_pose is not None for laser in lasers):
        raise _refuse("no pose, which the points of TOP need.", where)
    return np.eye(4)


def _transform(message: schema.Transform, where: str) -> NDArray[np.float64]:
    values = np.array(message.transform, np.float64)
    if values.size != 16:
        raise _refuse(f"{values.size} values where a 4 x 4 matrix has 16.", where)
    transform = values.reshape(4, 4)
    if not is_rigid(transform):
        raise _refuse("not a rotation and a translation.", where)
    return transform


def _label(message: schema.Label) -> RawLabel:
    box = message.box
    return RawLabel(
        box=np.array(
            [
                box.center_x,
                box.center_y,
                box.center_z,
                box.length,
                box.width,
                box.height,
                box.heading,
            ]
        ),
        waymo_type=message.type,
        id=message.id.decode(),
        num_points=message.num_lidar_points_in_box,
        num_top_points=message.num_top_lidar_points_in_box,
        difficulty=message.detection_difficulty_level,
        speed=(message.metadata.speed_x, message.metadata.speed_y),
    )


def _polygon(message: schema.Polygon2d, where: str) -> NDArray[np.float64]:
    if len(message.x) != len(message.y):
        raise _refuse(
            f"{len(message.x)} x beside {len(message.y)} y.",
            f"{where}, no-label zone {message.id.decode()}",
        )
    return np.stack([np.array(message.x, np.float64), np.array(message.y, np.float64)], axis=1)


def _refuse(what: str, where: str) -> RecordError:
    return RecordError(
        what,
        where=where,
        hint="The record is damaged or of another dataset: download the file again or leave it"
        " out.",
    )
