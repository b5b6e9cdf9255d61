"""Payloads to frames with range images; the structure of a record is checked here."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import RecordError
from kd3d.waymo import schema
from kd3d.waymo.laser_reader import damaged, lasers_of, raw_laser, transform_of
from kd3d.waymo.payload import parse_frame
from kd3d.waymo.raw import DIFFICULTIES, RawFrame, RawLabel, RawLabels

__all__ = ["decode_raw_frame", "decode_raw_labels", "labels_of", "pose_of", "text_of", "zones_of"]


def decode_raw_frame(payload: bytes, where: str) -> RawFrame:
    """Return what a record says, its range images inflated but not yet points.

    Args:
        payload: the serialized frame.
        where: the record's name for messages.

    Raises:
        RecordError: the payload is no Waymo frame, or its parts do not fit together.
    """
    message = parse_frame(payload, where)
    lasers = tuple(raw_laser(streams) for streams in lasers_of(message, where))
    stats = message.context.stats
    return RawFrame(
        context_name=text_of(message.context.name, where),
        timestamp_micros=message.timestamp_micros,
        pose=pose_of(message, where, needed=any(one.pixel_pose is not None for one in lasers)),
        lasers=lasers,
        labels=labels_of(message.laser_labels, where),
        no_label_zones=zones_of(message.no_label_zones, where),
        zone_ids=tuple(text_of(zone.id, where) for zone in message.no_label_zones),
        location=text_of(stats.location, where),
        time_of_day=text_of(stats.time_of_day, where),
        weather=text_of(stats.weather, where),
        laser_object_counts={entry.type: entry.count for entry in stats.laser_object_counts},
        camera_object_counts={entry.type: entry.count for entry in stats.camera_object_counts},
    )


def decode_raw_labels(payload: bytes, where: str) -> RawLabels:
    """Return a record's labels, without inflating its range images.

    Args:
        payload: the serialized frame.
        where: the record's name for messages.

    Raises:
        RecordError: the payload is no Waymo frame, or a label is not sound.
    """
    message = parse_frame(payload, where)
    return RawLabels(
        context_name=text_of(message.context.name, where),
        timestamp_micros=message.timestamp_micros,
        labels=labels_of(message.laser_labels, where),
    )


def pose_of(message: schema.Frame, where: str, *, needed: bool) -> NDArray[np.float64]:
    """Return the pose of a frame; the identity if it has none and needs none.

    Raises:
        RecordError: it is needed and absent, or no rotation and translation.
    """
    if message.pose.transform:
        return transform_of(message.pose, f"{where}, pose")
    if needed:
        raise damaged("no pose, which the points of TOP need.", where)
    return np.eye(4)


def labels_of(messages: Iterable[schema.Label], where: str) -> tuple[RawLabel, ...]:
    """Return the labelled objects of a record.

    Raises:
        RecordError: a box is not finite or has a negative size, a count is negative, a difficulty
            is none, or a text is no text.
    """
    return tuple(_label(label, row, where) for row, label in enumerate(messages))


def zones_of(messages: Iterable[schema.Polygon2d], where: str) -> tuple[NDArray[np.float64], ...]:
    """Return the no-label zones of a record, ``[K, 2]`` float64 each.

    Raises:
        RecordError: a zone has more of one coordinate than of the other.
    """
    return tuple(_polygon(zone, where) for zone in messages)


def text_of(content: bytes, where: str) -> str:
    """Return a text of a record.

    Raises:
        RecordError: it is no UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise damaged(f"no Waymo v1 frame ({error}).", where) from error


def _label(message: schema.Label, row: int, where: str) -> RawLabel:
    name = text_of(message.id, where)
    motion = message.metadata
    box = _box(message.box)
    if not all(map(math.isfinite, box)):
        raise damaged(f"box {row} is not a number or infinite: {box}.", where)
    if min(box[3:6]) < 0:
        raise damaged(f"box {row} has a negative size: {box}.", where)
    levels = message.detection_difficulty_level, message.tracking_difficulty_level
    if not DIFFICULTIES.issuperset(levels):
        raise _wrong(f"difficulty levels {levels} are not all of 0, 1 and 2.", name, where)
    counts = message.num_lidar_points_in_box, message.num_top_lidar_points_in_box
    if min(counts) < 0:
        raise _wrong(f"numbers of points {counts} below 0.", name, where)
    synced = message.HasField("camera_synced_box")
    return RawLabel(
        box=np.array(box),
        waymo_type=message.type,
        id=name,
        num_points=counts[0],
        num_top_points=counts[1],
        difficulty=levels[0],
        tracking_difficulty=levels[1],
        speed=(motion.speed_x, motion.speed_y),
        speed_z=motion.speed_z,
        acceleration=(motion.accel_x, motion.accel_y, motion.accel_z),
        most_visible_camera=text_of(message.most_visible_camera_name, where),
        camera_synced_box=np.array(_box(message.camera_synced_box)) if synced else None,
    )


def _box(box: schema.Label.Box) -> list[float]:
    return [
        box.center_x,
        box.center_y,
        box.center_z,
        box.length,
        box.width,
        box.height,
        box.heading,
    ]


def _polygon(message: schema.Polygon2d, where: str) -> NDArray[np.float64]:
    if len(message.x) != len(message.y):
        raise damaged(
            f"{len(message.x)} x beside {len(message.y)} y.",
            f"{where}, no-label zone {text_of(message.id, where)}",
        )
    return np.stack([np.array(message.x, np.float64), np.array(message.y, np.float64)], axis=1)


def _wrong(what: str, label: str, where: str) -> RecordError:
    return damaged(what, f"{where}, label {label!r}")
