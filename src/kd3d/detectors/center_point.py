"""CenterPoint: an encoder of points, a 2D backbone and a center head."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.center_head import CenterHead
from kd3d.detectors.decode import (
    Suppression,
    Threshold,
    center_candidates,
    check_suppression,
    decode_centers,
)
from kd3d.detectors.detector import Detector
from kd3d.detectors.losses import center_box_loss, center_focal_loss
from kd3d.detectors.targets import assign_center_targets
from kd3d.structures import CenterTargets, Detections, HeadMaps, PointBatch

__all__ = ["CenterPoint"]

BOX_LOSS_WEIGHT = 2.0


class CenterPoint(Detector):
    """What the detectors with a center head share.

    A subclass sets `backbone_2d` and `dense_head`, and encodes the points.

    Args:
        center_limit: (x, y, z, x, y, z) limits of a detected centre in metres, inclusive.
        score_threshold: a detection scores higher than this.
        nms: which detections suppress each other, see `kd3d.detectors.decode.Suppression`.
        nms_threshold: overlap (or distance) at which the lower of two detections goes.
        detector: arguments of `Detector`.
    """

    backbone_2d: BEVBackbone
    dense_head: CenterHead

    def __init__(
        self,
        *,
        center_limit: Sequence[float],
        score_threshold: float,
        nms: Suppression,
        nms_threshold: Threshold,
        **detector: Any,  # noqa: ANN401 - handed on as they are
    ) -> None:
        super().__init__(**detector)
        self.center_limit = tuple(center_limit)
        self.score_threshold = score_threshold
        check_suppression(nms, nms_threshold, len(self.classes))
        self.nms: Suppression = nms
        self.nms_threshold = nms_threshold

    @abstractmethod
    def encode(self, points: Tensor, batch_index: Tensor, num_frames: int) -> Tensor:
        """Turn points into a bird's-eye-view map ``[B, C, H, W]`` for the 2D backbone."""

    def forward(self, batch: PointBatch) -> HeadMaps:
        """Compute the head's raw maps.

        Raises:
            InputError: if points are not finite or have too few features.
        """
        features = self.encode(self.read_points(batch), batch.batch_index, len(batch))
        maps: HeadMaps = self.dense_head(self.backbone_2d(features), self.grid)
        return maps

    def assign_targets(
        self,
        boxes: Tensor,
        labels: Tensor,
        *,
        heat_weight: Tensor | None = None,
        box_weight: Tensor | None = None,
    ) -> CenterTargets:
        """Turn boxes ``[B, M, 7 or more]`` and labels ``[B, M]`` into targets of the maps.

        See `kd3d.detectors.targets.assign_center_targets`.
        """
        return assign_center_targets(
            boxes,
            labels,
            self.grid,
            len(self.classes),
            extra_columns=sum(self.dense_head.extra_branches.values()),
            heat_weight=heat_weight,
            box_weight=box_weight,
        )

    def loss(self, maps: HeadMaps, targets: CenterTargets) -> dict[str, Tensor]:
        """Give the weighted terms "heatmap" and "box" and their sum "loss", scalars in float32."""
        heatmap = center_focal_loss(maps.heatmap, targets.heatmap)
        box = BOX_LOSS_WEIGHT * center_box_loss(maps, targets)
        return {"loss": heatmap + box, "heatmap": heatmap, "box": box}

    def decode(self, maps: HeadMaps, *, nms: bool = True) -> list[Detections]:
        """Read the boxes of each frame from the maps, `nms=False` without suppression.

        See `kd3d.detectors.decode.decode_centers`.
        """
        return decode_centers(
            maps,
            self.center_limit,
            score_threshold=self.score_threshold,
            nms=self.nms,
            nms_threshold=self.nms_threshold if nms else None,
        )

    def candidates(self, maps: HeadMaps) -> list[Detections]:
        """Read the boxes of each frame without suppression and without waiting for the device.

        See `kd3d.detectors.decode.center_candidates`: boxes that do not count have label -1.
        """
        return center_candidates(maps, self.center_limit, score_threshold=self.score_threshold)
