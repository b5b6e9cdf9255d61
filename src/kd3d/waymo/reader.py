"""Records to frames."""

import os
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kd3d.errors import RecordError
from kd3d.waymo.frame import Frame
from kd3d.waymo.labels import class_of
from kd3d.waymo.laser_reader import LaserStreams, lasers_of
from kd3d.waymo.payload import parse_frame
from kd3d.waymo.points import Motion, PointBuffer, Points
from kd3d.waymo.raw import LaserCalibration, RawFrame, RawLabel
from kd3d.waymo.raw_reader import decode_raw_frame, labels_of, pose_of, text_of, zones_of
from kd3d.waymo.tfrecord import iterate_records, record_name

__all__ = ["calibrations_of", "decode_frame", "read_frames", "read_raw_frames"]


def read_frames(path: str | os.PathLike[str], *, verify: bool = True) -> Iterator[Frame]:
    """Yield the frames of a segment file in file order.

    Args:
        path: a ``.tfrecord`` file, or a URL that fsspec opens.
        verify: check the checksums of the records' contents.

    Raises:
        DatasetError: the file cannot be opened.
        RecordError: a record is truncated, corrupt or not a Waymo frame; the message names file and
            record. The frames before it have been yielded.
    """
    for number, payload in enumerate(iterate_records(path, verify=verify)):
        yield decode_frame(payload, record_name(path, number))


def read_raw_frames(path: str | os.PathLike[str], *, verify: bool = True) -> Iterator[RawFrame]:
    """Yield the frames of a segment file with their range images; otherwise as `read_frames`."""
    for number, payload in enumerate(iterate_records(path, verify=verify)):
        yield decode_raw_frame(payload, record_name(path, number))


def decode_frame(payload: bytes, where: str) -> Frame:
    """Return the frame of one record's payload.

    A sensor or return that is absent has 0 points, and a frame without any is a frame.

    Whatever the payload claims, decoding takes at most 512 MiB beside it and the message it is
    parsed into: what would take more is refused before. A Waymo frame takes 25 MB and its points.

    Args:
        payload: the serialized frame.
        where: the record's name for messages, as `record_name` gives it.

    Raises:
        RecordError: the payload is no Waymo frame, or a value in it is not a number or not legal.
    """
    message = parse_frame(payload, where)
    lasers = lasers_of(message, where)
    pose = pose_of(message, where, needed=any(one.pixel_pose is not None for one in lasers))
    with np.errstate(all="ignore"):  # what overflows or is not a number is refused here
        points = _points(lasers, pose, where)
        labels = _labels(labels_of(message.laser_labels, where), where)
    return Frame(
        **points._asdict(),
        **labels,
        no_label_zones=zones_of(message.no_label_zones, where),
        context_name=text_of(message.context.name, where),
        timestamp_micros=message.timestamp_micros,
        pose=pose,
    )


def calibrations_of(path: str | os.PathLike[str]) -> tuple[LaserCalibration, ...]:
    """Return the calibrations of the sensors in the first frame of a record file.

    Raises:
        DatasetError: the file cannot be opened.
        RecordError: the first record is damaged, or there is none, or it has no sensors.
    """
    lasers = next((frame.lasers for frame in read_raw_frames(path)), ())
    if not lasers:
        raise RecordError(
            "has no laser calibrations.",
            where=record_name(path, 0),
            hint="Name a Waymo v1 segment with LiDAR.",
        )
    return tuple(
        LaserCalibration(
            name=laser.name,
            extrinsic=laser.extrinsic,
            beam_inclinations=laser.beam_inclinations,
            beam_inclination_min=laser.beam_inclination_min,
            beam_inclination_max=laser.beam_inclination_max,
        )
        for laser in lasers
    )


def _points(lasers: tuple[LaserStreams, ...], pose: NDArray[np.float64], where: str) -> Points:
    """Return the points of all sensors; only one sensor's images are in memory at a time."""
    buffer = PointBuffer(sum(laser.num_pixels for laser in lasers))
    for laser in lasers:
        pixel_pose = laser.read_pixel_pose()
        motion = None if pixel_pose is None else Motion(pixel_pose, pose)
        for number, image in laser.read_returns(pixel_pose):
            buffer.add(laser.calibration, number, image, motion)
    points = buffer.finish()
    _check_finite(points.points, "point", where)
    return points


class _Labels(TypedDict):
    """The fields of `Frame` that have one entry per labelled object."""

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


def _labels(labels: tuple[RawLabel, ...], where: str) -> _Labels:
    classes = [class_of(label.waymo_type, f"{where}, label {label.id!r}") for label in labels]
    absent = np.full(7, np.nan)
    synced = [label.camera_synced_box for label in labels]
    found = _Labels(
        boxes=_rows([label.box for label in labels], 7),
        waymo_types=np.array([label.waymo_type for label in labels], np.int64),
        labels=np.array(classes, np.int64),
        num_points=np.array([label.num_points for label in labels], np.int64),
        num_top_points=np.array([label.num_top_points for label in labels], np.int64),
        difficulty=np.array([label.difficulty for label in labels], np.int64),
        tracking_difficulty=np.array([label.tracking_difficulty for label in labels], np.int64),
        object_ids=tuple(label.id for label in labels),
        speed=_rows([(*label.speed, label.speed_z) for label in labels], 3),
        acceleration=_rows([label.acceleration for label in labels], 3),
        most_visible_camera=tuple(label.most_visible_camera for label in labels),
        camera_synced_boxes=_rows([absent if box is None else box for box in synced], 7),
    )
    _check_finite(found["boxes"], "box", where)
    return found


def _rows(values: Sequence[ArrayLike], width: int) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, width)


def _check_finite(values: NDArray[np.float32], kind: str, where: str) -> None:
    finite = np.isfinite(values).all()
    if finite:
        return
    row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
    raise RecordError(
        f"{kind} {row} is not a number or infinite: {values[row].tolist()}.",
        where=where,
        hint="Leave the record out, or write it again from sound data.",
    )
