"""kd3d: knowledge distillation of LiDAR 3D object detectors on PyTorch Lightning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd3d.data import FolderDataModule, WaymoDataModule
    from kd3d.detectors import Detector, create_detector, list_detectors
    from kd3d.distill import (
        AnchorLogitKD,
        AnchorRegressionKD,
        BatchView,
        ChannelWiseKD,
        DistillationCallback,
        FitNetKD,
        ForegroundKD,
        GIDFeatureKD,
        GIDLogitKD,
        KDCallback,
        LabelKD,
        MimicKD,
        PearsonKD,
        PivotalLogitKD,
        PredictedBoxes,
        RegressionKD,
        Schedule,
        SoftFocalKD,
        SparseKD,
        View,
        inherit_weights,
    )
    from kd3d.metrics import WaymoDetectionMetric
    from kd3d.profiling import Profile, cost_performance, profile
    from kd3d.structures import Detections, HeadMaps, PointBatch
    from kd3d.training import DetectionPictures, DetectorModule

__version__ = "0.1.0"

_HOMES = {
    "FolderDataModule": "kd3d.data",
    "WaymoDataModule": "kd3d.data",
    "Detector": "kd3d.detectors",
    "create_detector": "kd3d.detectors",
    "list_detectors": "kd3d.detectors",
    "AnchorLogitKD": "kd3d.distill",
    "AnchorRegressionKD": "kd3d.distill",
    "BatchView": "kd3d.distill",
    "ChannelWiseKD": "kd3d.distill",
    "DistillationCallback": "kd3d.distill",
    "FitNetKD": "kd3d.distill",
    "ForegroundKD": "kd3d.distill",
    "GIDFeatureKD": "kd3d.distill",
    "GIDLogitKD": "kd3d.distill",
    "KDCallback": "kd3d.distill",
    "LabelKD": "kd3d.distill",
    "MimicKD": "kd3d.distill",
    "PearsonKD": "kd3d.distill",
    "PivotalLogitKD": "kd3d.distill",
    "PredictedBoxes": "kd3d.distill",
    "RegressionKD": "kd3d.distill",
    "Schedule": "kd3d.distill",
    "SoftFocalKD": "kd3d.distill",
    "SparseKD": "kd3d.distill",
    "View": "kd3d.distill",
    "inherit_weights": "kd3d.distill",
    "WaymoDetectionMetric": "kd3d.metrics",
    "Profile": "kd3d.profiling",
    "cost_performance": "kd3d.profiling",
    "profile": "kd3d.profiling",
    "Detections": "kd3d.structures",
    "HeadMaps": "kd3d.structures",
    "PointBatch": "kd3d.structures",
    "DetectionPictures": "kd3d.training",
    "DetectorModule": "kd3d.training",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any public name
    """Import a public name when it is first asked for, so that ``import kd3d`` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kd3d' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
