"""What the detectors with a center head share."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from kd3d.detectors.bev_detector import BEVDetector
from kd3d.detectors.center_head import CenterHead
from kd3d.detectors.decode import center_candidates, decode_centers
from kd3d.detectors.losses import center_box_loss, center_focal_loss
from kd3d.detectors.targets import assign_center_targets
from kd3d.structures import CenterTargets, Detections, HeadMaps

__all__ = ["CenterPoint"]

BOX_LOSS_WEIGHT = 2.0


class CenterPoint(BEVDetector):
    """A detector that finds the centres of objects in heatmaps, and reads their boxes there.

    A subclass sets `backbone_2d` and `dense_head`, and encodes the points.

    Args:
        center_limit: (x, y, z, x, y, z) limits of a detected centre in metres, inclusive.
        detector: further arguments of `BEVDetector`.
    """

    dense_head: CenterHead

    def __init__(
        self,
        *,
        center_limit: Sequence[float],
        **detector: Any,  # noqa: ANN401 - handed on as they are
    ) -> None:
        super().__init__(**detector)
        self.center_limit = tuple(center_limit)

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
