"""What the detectors with an anchor head share."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd3d.detectors.anchor_head import AnchorHead
from kd3d.detectors.anchor_losses import (
    anchor_box_loss,
    anchor_class_loss,
    anchor_direction_loss,
)
from kd3d.detectors.anchor_targets import assign_anchor_targets
from kd3d.detectors.anchors import HEADINGS, lay_anchors, plain_anchors
from kd3d.detectors.bev_backbone import BEVBackbone
from kd3d.detectors.bev_detector import BEVDetector
from kd3d.detectors.decode import MAX_BEFORE_NMS, MAX_CANDIDATES, suppress
from kd3d.geometry.residuals import decode_boxes
from kd3d.structures import AnchorMaps, AnchorTargets, Detections

__all__ = ["AnchorDetector"]

BOX_LOSS_WEIGHT = 2.0
DIRECTION_LOSS_WEIGHT = 0.2


class AnchorDetector(BEVDetector):
    """A detector that scores and refines anchors: boxes of usual sizes at every cell.

    A subclass sets `backbone_2d`, encodes the points, and calls `add_head`.

    Args:
        anchors: per class name size, bottom, matched and unmatched, see
            `kd3d.detectors.anchors.AnchorClass`.
        detector: further arguments of `BEVDetector`.
    """

    backbone_2d: BEVBackbone
    dense_head: AnchorHead
    anchors: Tensor  #: ``[N, 7]`` metres and radians, in the order of `AnchorMaps`

    def __init__(
        self,
        *,
        anchors: Mapping[str, Mapping[str, Any]],
        **detector: Any,  # noqa: ANN401 - handed on as they are
    ) -> None:
        super().__init__(**detector)
        self.anchor_classes = plain_anchors(anchors, self.classes)
        laid = lay_anchors(self.anchor_classes, self.grid).flatten(0, 2)
        self.register_buffer("anchors", laid, persistent=False)

    def add_head(self) -> None:
        """Add the head behind `backbone_2d`."""
        per_cell = len(self.classes) * len(HEADINGS)
        self.dense_head = AnchorHead(self.backbone_2d.out_channels, len(self.classes), per_cell)

    def assign_targets(
        self,
        boxes: Tensor,
        labels: Tensor,
        *,
        heat_weight: Tensor | None = None,
        box_weight: Tensor | None = None,
    ) -> AnchorTargets:
        """Turn boxes ``[B, M, 7 or more]`` and labels ``[B, M]`` into targets of the anchors.

        See `kd3d.detectors.anchor_targets.assign_anchor_targets`.
        """
        return assign_anchor_targets(
            boxes,
            labels,
            self.anchor_classes,
            self.grid,
            heat_weight=heat_weight,
            box_weight=box_weight,
        )

    def loss(self, maps: AnchorMaps, targets: AnchorTargets) -> dict[str, Tensor]:
        """Give the weighted terms "class", "box" and "direction" and their sum "loss", float32."""
        score = anchor_class_loss(maps, targets)
        box = BOX_LOSS_WEIGHT * anchor_box_loss(maps, targets, self.anchors)
        direction = DIRECTION_LOSS_WEIGHT * anchor_direction_loss(maps, targets)
        total = score + box + direction
        return {"loss": total, "class": score, "box": box, "direction": direction}

    def decode(self, maps: AnchorMaps, *, nms: bool = True) -> list[Detections]:
        """Read the boxes of each frame from the maps, `nms=False` without suppression.

        Every anchor is a box of its best class; those that score higher than `score_threshold`, at
        most 4096, suppress each other.
        """
        frames = [
            Detections(boxes=one.boxes[kept], scores=one.scores[kept], labels=one.labels[kept])
            for one in self._highest(maps, MAX_BEFORE_NMS if nms else MAX_CANDIDATES)
            for kept in [one.labels >= 0]
        ]
        if not nms:
            return frames
        return [suppress(frame, self.nms, self.nms_threshold) for frame in frames]

    def candidates(self, maps: AnchorMaps) -> list[Detections]:
        """Read the boxes of each frame without suppression and without waiting for the device.

        The highest 500 of each frame; those that score too low or are not finite have label -1.
        """
        return self._highest(maps, MAX_CANDIDATES)

    def _highest(self, maps: AnchorMaps, count: int) -> list[Detections]:
        with torch.no_grad(), torch.autocast(maps.score.device.type, enabled=False):
            scores, labels = maps.scores.float().sigmoid().max(dim=-1)
            scores, chosen = scores.topk(min(count, scores.shape[1]))
            labels = labels.gather(1, chosen)
            residuals, directions = (
                values.gather(1, chosen[..., None].expand(-1, -1, values.shape[-1])).float()
                for values in (maps.residuals, maps.directions)
            )
            boxes = decode_boxes(residuals, self.anchors[chosen], directions.argmax(dim=-1))
            counts = (scores > self.score_threshold) & boxes.isfinite().all(dim=-1)
            labels = torch.where(counts, labels, -1)
        return [
            Detections(boxes=boxes[i], scores=scores[i], labels=labels[i])
            for i in range(len(boxes))
        ]
