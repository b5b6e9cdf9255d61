"""Waymo segments as batches: index, dataset, augmentation, samplers and the data module."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kd3d.data.augment import WorldAugmentation, WorldTransform
from kd3d.data.dataset import FrameDataset, FrameSample, collate_frames
from kd3d.data.index import BadRecord, FrameIndex, build_index
from kd3d.data.keyed import keyed_generator
from kd3d.data.loading import CheckedFrames, FrameLoader, SkipLog
from kd3d.data.samplers import FrameKey, TrainingSampler, ValidationSampler
from kd3d.data.selection import Range, Selection
from kd3d.structures import PointBatch

if TYPE_CHECKING:
    from kd3d.data.datamodule import WaymoDataModule

__all__ = [
    "BadRecord",
    "CheckedFrames",
    "FrameDataset",
    "FrameIndex",
    "FrameKey",
    "FrameLoader",
    "FrameSample",
    "PointBatch",
    "Range",
    "Selection",
    "SkipLog",
    "TrainingSampler",
    "ValidationSampler",
    "WaymoDataModule",
    "WorldAugmentation",
    "WorldTransform",
    "build_index",
    "collate_frames",
    "keyed_generator",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import the data module on demand: workers that start afresh need no Lightning."""
    if name == "WaymoDataModule":
        return import_module("kd3d.data.datamodule").WaymoDataModule
    raise AttributeError(f"module 'kd3d.data' has no attribute {name!r}")
