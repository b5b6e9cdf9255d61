"""Predictions and ground truth of many frames: as arrays, as files, and compared."""

from kd3d.predictions.builder import ObjectsBuilder
from kd3d.predictions.evaluation import Evaluation, FrameErrors, evaluate_objects
from kd3d.predictions.files import check_format, load_objects, save_objects
from kd3d.predictions.frame_objects import (
    WAYMO_TYPE_NAMES,
    FrameObjects,
    check_classes,
    split_frame_id,
    type_names_of,
)
from kd3d.predictions.openpcdet import from_openpcdet, read_openpcdet, write_openpcdet
from kd3d.predictions.records import labelled_objects, points_of_frames

__all__ = [
    "WAYMO_TYPE_NAMES",
    "Evaluation",
    "FrameErrors",
    "FrameObjects",
    "ObjectsBuilder",
    "check_classes",
    "check_format",
    "evaluate_objects",
    "from_openpcdet",
    "labelled_objects",
    "load_objects",
    "points_of_frames",
    "read_openpcdet",
    "save_objects",
    "split_frame_id",
    "type_names_of",
    "write_openpcdet",
]
