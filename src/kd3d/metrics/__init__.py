"""Detection metrics: the official Waymo metric without TensorFlow."""

from kd3d.metrics.detection import WaymoDetectionMetric

__all__ = ["WaymoDetectionMetric"]
