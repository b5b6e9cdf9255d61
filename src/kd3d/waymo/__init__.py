"""The Waymo Open Dataset's v1 perception records: reading, writing, and the dataset's rules."""

from kd3d.waymo import schema
from kd3d.waymo.difficulty import effective_difficulty
from kd3d.waymo.frame import Frame
from kd3d.waymo.labels import CLASSES, WAYMO_TYPES, class_of
from kd3d.waymo.objects import iterate_objects, object_name, write_objects
from kd3d.waymo.points import Points, points_of
from kd3d.waymo.range_image import azimuths_of, inclinations_of, rays_of
from kd3d.waymo.raw import (
    LASER_NAMES,
    TOP,
    LaserCalibration,
    RawFrame,
    RawLabel,
    RawLabels,
    RawLaser,
)
from kd3d.waymo.raw_reader import decode_raw_frame, decode_raw_labels
from kd3d.waymo.reader import calibrations_of, decode_frame, read_frames, read_raw_frames
from kd3d.waymo.skim import skim_record
from kd3d.waymo.tfrecord import (
    RecordSpan,
    RecordWriter,
    iterate_offsets,
    iterate_records,
    read_record,
    record_name,
    scan_offsets,
)
from kd3d.waymo.writer import encode_frame, write_segment

__all__ = [
    "CLASSES",
    "LASER_NAMES",
    "TOP",
    "WAYMO_TYPES",
    "Frame",
    "LaserCalibration",
    "Points",
    "RawFrame",
    "RawLabel",
    "RawLabels",
    "RawLaser",
    "RecordSpan",
    "RecordWriter",
    "azimuths_of",
    "calibrations_of",
    "class_of",
    "decode_frame",
    "decode_raw_frame",
    "decode_raw_labels",
    "effective_difficulty",
    "encode_frame",
    "inclinations_of",
    "iterate_objects",
    "iterate_offsets",
    "iterate_records",
    "object_name",
    "points_of",
    "rays_of",
    "read_frames",
    "read_raw_frames",
    "read_record",
    "record_name",
    "scan_offsets",
    "schema",
    "skim_record",
    "write_objects",
    "write_segment",
]
