"""From head maps to boxes."""

import torch
from torch import Tensor

from kd3d.geometry.nms import nms_rotated
from kd3d.structures import Detections, HeadMaps

__all__ = ["decode_centers"]

MAX_CANDIDATES = 500
MAX_BEFORE_NMS = 4096


def decode_centers(
    maps: HeadMaps,
    center_limit: tuple[float, ...],
    *,
    score_threshold: float = 0.1,
    nms_threshold: float | None = 0.7,
) -> list[Detections]:
    """Read the boxes at the highest cells of the heatmap.

    The highest 500 cells of each class, then the highest 500 of those; without a search for local
    maxima, and with one non-maximum suppression over all classes, as CenterPoint in OpenPCDet.

    Args:
        maps: a batch of raw maps.
        center_limit: (x, y, z, x, y, z) lower and upper limits of a centre in metres, inclusive.
        score_threshold: boxes must score higher than this.
        nms_threshold: bird's-eye-view overlap above which the lower box goes; None keeps all.

    Returns:
        One `Detections` per frame, float32, in falling order of score.
    """
    with torch.no_grad(), torch.autocast(maps.heatmap.device.type, enabled=False):
        scores, labels, cells = _highest_cells(maps.heatmap.float().sigmoid())
        boxes = _boxes_at(maps, cells)
        limit = boxes.new_tensor(center_limit)
        inside = (boxes[..., :3] >= limit[:3]) & (boxes[..., :3] <= limit[3:])
        kept = inside.all(dim=-1) & (scores > score_threshold)
        frames = [
            Detections(boxes=boxes[i, keep], scores=scores[i, keep], labels=labels[i, keep])
            for i, keep in enumerate(kept)
        ]
        if nms_threshold is None:
            return frames
        return [_suppress(frame, nms_threshold) for frame in frames]


def _highest_cells(probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give score, class and cell ``[B, K]`` of the candidates."""
    per_class = probability.flatten(2)
    scores, cells = per_class.topk(min(MAX_CANDIDATES, per_class.shape[2]))
    candidates = scores.shape[2]
    scores, chosen = scores.flatten(1).topk(min(MAX_CANDIDATES, scores[0].numel()))
    return scores, chosen // candidates, cells.flatten(1).gather(1, chosen)


def _boxes_at(maps: HeadMaps, cells: Tensor) -> Tensor:
    """Decode the boxes ``[B, K, 7 + extra]`` at given cells."""

    def read(branch: Tensor) -> Tensor:
        index = cells[:, None].expand(-1, branch.shape[1], -1)
        return branch.flatten(2).gather(2, index).float().transpose(1, 2)

    corner = torch.stack((cells % maps.grid.width, cells // maps.grid.width), dim=-1)
    heading = read(maps.rot)
    return torch.cat(
        (
            maps.grid.to_metres(corner + read(maps.center)),
            read(maps.center_z),
            read(maps.dim).exp(),
            torch.atan2(heading[..., 1:], heading[..., :1]),
            *(read(branch) for branch in maps.extra.values()),
        ),
        dim=-1,
    )


def _suppress(found: Detections, threshold: float) -> Detections:
    keep = nms_rotated(
        found.boxes[:, :7], found.scores, threshold, pre=MAX_BEFORE_NMS, post=MAX_CANDIDATES
    )
    return Detections(boxes=found.boxes[keep], scores=found.scores[keep], labels=found.labels[keep])
