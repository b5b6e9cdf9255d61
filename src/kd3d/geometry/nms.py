"""Non-maximum suppression of rotated boxes, without a loop over boxes."""

import torch
from torch import Tensor

from kd3d.errors import ConfigError, InputError
from kd3d.geometry.boxes import check_boxes
from kd3d.geometry.iou import close_pairs, iou_bev_aligned

__all__ = ["nms_rotated"]


@torch.no_grad()
def nms_rotated(
    boxes: Tensor, scores: Tensor, threshold: float, *, pre: int = 4096, post: int = 500
) -> Tensor:
    """Keep the boxes that no better kept box overlaps in bird's-eye view.

    The result is that of the greedy algorithm: go through the boxes by falling score and drop each
    one that overlaps a kept one by more than `threshold`. Equal scores keep their order.

    Args:
        boxes: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        scores: ``[N]``, higher is better.
        threshold: bird's-eye-view IoU above which the worse box is dropped; 1 or more drops none.
        pre: how many of the best boxes take part.
        post: how many are kept at most.

    Returns:
        ``[K]`` int64 indices into `boxes`, in falling order of score.

    Raises:
        InputError: if the shapes do not fit.
        ConfigError: if `threshold`, `pre` or `post` is negative.
    """
    check_boxes(boxes, "nms_rotated")
    if scores.shape != boxes.shape[:1]:
        raise InputError(
            f"{len(boxes)} boxes but scores of shape {tuple(scores.shape)}.", where="nms_rotated"
        )
    if threshold < 0 or pre < 0 or post < 0:
        raise ConfigError(
            f"threshold {threshold:g}, pre {pre} and post {post} must not be negative.",
            where="nms_rotated",
        )
    order = scores.sort(descending=True, stable=True).indices[:pre]
    if threshold < 1:
        worse, better = _overlapping_pairs(boxes[order], threshold)
        order = order[_greedy(worse, better, len(order))]
    return order[:post]


def _overlapping_pairs(boxes: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Positions (worse, better) of the pairs of boxes, sorted by score, that overlap too much."""
    worse, better = [], []
    for rows, columns in close_pairs(boxes, boxes, below_diagonal=True):
        over = iou_bev_aligned(boxes[rows], boxes[columns]) > threshold
        worse.append(rows[over])
        better.append(columns[over])
    if not worse:
        empty = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        return empty, empty
    return torch.cat(worse), torch.cat(better)


def _greedy(worse: Tensor, better: Tensor, count: int) -> Tensor:
    """Solve the greedy choice on its graph of pairs; true ``[count]`` where a box is kept.

    Every round settles all boxes whose better neighbours are settled: those with none left are
    kept, and drop their worse neighbours. The best box still open is settled in each round, so the
    rounds end; their number is the depth of the graph, not the number of boxes.
    """
    dropped = torch.zeros(count, dtype=torch.bool, device=worse.device)
    while len(worse):
        threatened = torch.zeros_like(dropped)
        threatened[worse] = True
        dropped[worse[~threatened[better]]] = True
        open_pairs = ~(dropped[worse] | dropped[better])
        worse, better = worse[open_pairs], better[open_pairs]
    return ~dropped
