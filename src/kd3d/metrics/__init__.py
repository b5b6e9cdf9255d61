"""Detection metrics: the official Waymo metric without TensorFlow."""

from kd3d.metrics.detection import WaymoDetectionMetric
from kd3d.metrics.results import BoxErrors, Curve

__all__ = ["BoxErrors", "Curve", "WaymoDetectionMetric"]
