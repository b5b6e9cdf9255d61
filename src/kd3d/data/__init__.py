"""Recorded frames as batches: sources, index, dataset, augmentation, samplers and data modules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kd3d.data.augment import WorldAugmentation, WorldTransform
from kd3d.data.checked_frames import CheckedFrames
from kd3d.data.chosen_frames import ChosenFrames, choose_frames
from kd3d.data.dataset import FrameDataset, FrameSample, collate_frames
from kd3d.data.fade import Fade
from kd3d.data.faults import BadRecord
from kd3d.data.folder_frames import FolderFrames
from kd3d.data.frame_index import FrameIndex
from kd3d.data.index import build_index
from kd3d.data.keyed import keyed_generator
from kd3d.data.loading import FrameLoader, SkipLog
from kd3d.data.objects_building import ObjectsSummary, build_objects
from kd3d.data.objects_database import CutObjects, ObjectDatabase
from kd3d.data.orders import FrameOrder, Shuffle
from kd3d.data.paste import ObjectPaste
from kd3d.data.samplers import FrameKey, TrainingSampler, ValidationSampler
from kd3d.data.selection import Range, Selection
from kd3d.data.source import FrameSource, Scan
from kd3d.data.sweeps import SweptFrames
from kd3d.data.waymo_frames import WaymoFrames
from kd3d.structures import PointBatch

if TYPE_CHECKING:
    from kd3d.data.datamodule import WaymoDataModule
    from kd3d.data.folder_module import FolderDataModule
    from kd3d.data.frame_module import FrameDataModule

__all__ = [
    "BadRecord",
    "CheckedFrames",
    "ChosenFrames",
    "CutObjects",
    "Fade",
    "FolderDataModule",
    "FolderFrames",
    "FrameDataModule",
    "FrameDataset",
    "FrameIndex",
    "FrameKey",
    "FrameLoader",
    "FrameOrder",
    "FrameSample",
    "FrameSource",
    "ObjectDatabase",
    "ObjectPaste",
    "ObjectsSummary",
    "PointBatch",
    "Range",
    "Scan",
    "Selection",
    "Shuffle",
    "SkipLog",
    "SweptFrames",
    "TrainingSampler",
    "ValidationSampler",
    "WaymoDataModule",
    "WaymoFrames",
    "WorldAugmentation",
    "WorldTransform",
    "build_index",
    "build_objects",
    "choose_frames",
    "collate_frames",
    "keyed_generator",
]


_MODULE_OF = {
    "FolderDataModule": "kd3d.data.folder_module",
    "FrameDataModule": "kd3d.data.frame_module",
    "WaymoDataModule": "kd3d.data.datamodule",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import a data module on demand: workers that start afresh need no Lightning."""
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'kd3d.data' has no attribute {name!r}")
