"""Records to frames."""

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import RecordError
from kd3d.waymo.frame import Frame
from kd3d.waymo.labels import class_of
from kd3d.waymo.points import points_of
from kd3d.waymo.raw import LaserCalibration, RawFrame
from kd3d.waymo.raw_reader import decode_raw_frame
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

    Args:
        payload: the serialized frame.
        where: the record's name for messages, as `record_name` gives it.

    Raises:
        RecordError: the payload is no Waymo frame, or a value in it is not a number or not legal.
    """
    raw = decode_raw_frame(payload, where)
    labels = [class_of(label.waymo_type, f"{where}, label {label.id!r}") for label in raw.labels]
    with np.errstate(all="ignore"):  # what overflows or is not a number is refused below
        points = points_of(raw)
        boxes = np.array([label.box for label in raw.labels], np.float32).reshape(-1, 7)
    _check_finite(points.points, "point", where)
    _check_finite(boxes, "box", where)
    return Frame(
        **points._asdict(),
        boxes=boxes,
        waymo_types=np.array([label.waymo_type for label in raw.labels], np.int64),
        labels=np.array(labels, np.int64),
        num_points=np.array([label.num_points for label in raw.labels], np.int64),
        difficulty=np.array([label.difficulty for label in raw.labels], np.int64),
        context_name=raw.context_name,
        timestamp_micros=raw.timestamp_micros,
        pose=raw.pose,
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
