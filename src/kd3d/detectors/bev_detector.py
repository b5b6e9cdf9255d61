"""Detectors on a map seen from above: an encoder of points, a 2D backbone and a dense head."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from kd3d.detectors.decode import Suppression, Threshold, check_suppression
from kd3d.detectors.detector import Detector
from kd3d.structures import AnchorMaps, HeadMaps, PointBatch

__all__ = ["BEVDetector"]


class BEVDetector(Detector):
    """What the detectors on a bird's-eye-view map share.

    kd3d's have two bases of this kind: `CenterPoint` or `AnchorDetector` knows the head, its losses
    and its boxes; `PillarDetector` or `VoxelDetector` makes the map.

    Args:
        score_threshold: a detection scores higher than this.
        nms: which detections suppress each other, see `kd3d.detectors.decode.Suppression`.
        nms_threshold: overlap (or distance) at which the lower of two detections goes.
        detector: arguments of `Detector`.
    """

    backbone_2d: nn.Module
    dense_head: nn.Module

    def __init__(
        self,
        *,
        score_threshold: float,
        nms: Suppression,
        nms_threshold: Threshold,
        **detector: Any,  # noqa: ANN401 - handed on as they are
    ) -> None:
        super().__init__(**detector)
        check_suppression(nms, nms_threshold, len(self.classes))
        self.score_threshold = score_threshold
        self.nms: Suppression = nms
        self.nms_threshold = nms_threshold

    @abstractmethod
    def encode(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Tensor:
        """Turn points into a bird's-eye-view map ``[B, C, H, W]`` for the 2D backbone."""

    def forward(self, batch: PointBatch) -> HeadMaps | AnchorMaps:
        """Compute the head's raw maps.

        Raises:
            InputError: if points are not finite or have too few features.
        """
        features = self.encode(self.read_points(batch), batch.batch_index, len(batch))
        maps: HeadMaps | AnchorMaps = self.dense_head(self.backbone_2d(features), self.grid)
        return maps


def set_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Set how fast the running statistics of a network's norms follow the batches."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = momentum
