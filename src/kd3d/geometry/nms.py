"""Non-maximum suppression without a loop over boxes: rotated, per class, and by distance."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kd3d.errors import ConfigError, InputError
from kd3d.geometry.boxes import check_boxes
from kd3d.geometry.iou import close_pairs, iou_bev_aligned

__all__ = ["nms_circle", "nms_per_class", "nms_rotated"]

_DISTANCES_AT_ONCE = 1 << 20


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
    _check(boxes, scores, "nms_rotated", threshold=threshold, pre=pre, post=post)
    order = scores.sort(descending=True, stable=True).indices[:pre]
    if threshold < 1:
        order = order[_greedy(*_overlapping_pairs(boxes[order], threshold), len(order))]
    return order[:post]


@torch.no_grad()
def nms_per_class(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    thresholds: float | Sequence[float],
    *,
    pre: int = 4096,
    post: int = 500,
) -> Tensor:
    """Keep the boxes that no better kept box of the same class overlaps in bird's-eye view.

    As `nms_rotated` for each class by itself.

    Args:
        boxes: ``[N, 7]`` (x, y, z, length, width, height, heading), metres and radians.
        scores: ``[N]``, higher is better.
        labels: ``[N]`` int64 class ids from 0.
        thresholds: bird's-eye-view IoU above which the worse box is dropped, one for all classes or
            one for each; 1 or more drops none.
        pre: how many of the best boxes of each class take part.
        post: how many of each class are kept at most.

    Returns:
        ``[K]`` int64 indices into `boxes`, in falling order of score over all classes.

    Raises:
        InputError: if the shapes do not fit, or a label has no threshold.
        ConfigError: if a threshold, `pre` or `post` is negative.
    """
    limits = [thresholds] if isinstance(thresholds, float | int) else list(thresholds)
    lowest = min(limits, default=0.0)
    _check(boxes, scores, "nms_per_class", threshold=lowest, pre=pre, post=post)
    _check_labels(labels, boxes, None if isinstance(thresholds, float | int) else len(limits))
    order = scores.sort(descending=True, stable=True).indices
    order = order[_rank_in_class(labels[order]) < pre]
    limit = boxes.new_tensor(limits, dtype=torch.float32)
    limit = limit[labels] if len(limits) > 1 else limit.expand(len(boxes))
    pairs = _overlapping_pairs(boxes[order], lowest, labels[order], limit[order])
    order = order[_greedy(*pairs, len(order))]
    return order[_rank_in_class(labels[order]) < post]


@torch.no_grad()
def nms_circle(
    boxes: Tensor, scores: Tensor, radius: float, *, pre: int = 4096, post: int = 500
) -> Tensor:
    """Keep the boxes whose centres are not close to that of a better kept box.

    Distance suppression as in CenterPoint (Yin et al., CVPR 2021), cheaper than overlaps.

    Args:
        boxes: ``[N, 2 or more]`` floating, x and y of the centres first, metres.
        scores: ``[N]``, higher is better.
        radius: distance in metres, in bird's-eye view, up to which (inclusive) the worse box is
            dropped.
        pre: how many of the best boxes take part.
        post: how many are kept at most.

    Returns:
        ``[K]`` int64 indices into `boxes`, in falling order of score.

    Raises:
        InputError: if the shapes do not fit.
        ConfigError: if `radius`, `pre` or `post` is negative.
    """
    if boxes.ndim != 2 or boxes.shape[1] < 2 or not boxes.is_floating_point():
        raise InputError(
            f"centres must be floating [N, 2], not {boxes.dtype} {tuple(boxes.shape)}.",
            where="nms_circle",
        )
    _check_rest(len(boxes), scores, "nms_circle", radius=radius, pre=pre, post=post)
    order = scores.sort(descending=True, stable=True).indices[:pre]
    order = order[
        _greedy(*_joined(_near_pairs(boxes[order, :2].double(), radius), boxes), len(order))
    ]
    return order[:post]


def _check(boxes: Tensor, scores: Tensor, where: str, **numbers: float) -> None:
    check_boxes(boxes, where)
    _check_rest(len(boxes), scores, where, **numbers)


def _check_rest(count: int, scores: Tensor, where: str, **numbers: float) -> None:
    if scores.shape != (count,):
        raise InputError(f"{count} boxes but scores of shape {tuple(scores.shape)}.", where=where)
    if min(numbers.values()) < 0:
        given = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
        raise ConfigError(f"{given}: must not be negative.", where=where)


def _check_labels(labels: Tensor, boxes: Tensor, num_classes: int | None) -> None:
    if labels.shape != boxes.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"{len(boxes)} boxes need int64 labels [N], not {labels.dtype} {tuple(labels.shape)}.",
            where="nms_per_class",
        )
    if len(labels) and (
        int(labels.min()) < 0 or (num_classes is not None and int(labels.max()) >= num_classes)
    ):
        raise InputError(
            f"labels from {int(labels.min())} to {int(labels.max())}, but thresholds for "
            f"{'ids from 0' if num_classes is None else num_classes}.",
            where="nms_per_class",
            hint="Give one threshold per class, or one number for all.",
        )


def _rank_in_class(labels: Tensor) -> Tensor:
    """How many earlier entries ``[N]`` have the same label."""
    order = labels.sort(stable=True).indices
    ordered = labels[order]
    place = torch.arange(len(labels), device=labels.device)
    rank = torch.empty_like(place)
    rank[order] = place - torch.searchsorted(ordered, ordered)
    return rank


def _overlapping_pairs(
    boxes: Tensor, threshold: float, labels: Tensor | None = None, limits: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Positions (worse, better) of the pairs of boxes, sorted by score, that overlap too much.

    With `labels` only pairs of one label count, each against the limit of its own.
    """

    def find() -> Iterator[tuple[Tensor, Tensor]]:
        for rows, columns in close_pairs(boxes, boxes, below_diagonal=True):
            if labels is not None:
                same = labels[rows] == labels[columns]
                rows, columns = rows[same], columns[same]
            limit = threshold if limits is None else limits[rows]
            over = iou_bev_aligned(boxes[rows], boxes[columns]) > limit
            yield rows[over], columns[over]

    return _joined(find(), boxes)


def _near_pairs(centres: Tensor, radius: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions (worse, better) of the pairs of centres that are not farther apart than that."""
    step = max(1, _DISTANCES_AT_ONCE // max(1, len(centres)))
    for start in range(0, len(centres), step):
        apart = centres[start : start + step, None] - centres[None, : start + step]
        near = apart.square().sum(dim=-1) <= radius * radius
        rows, columns = near.nonzero(as_tuple=True)
        earlier = columns < rows + start
        yield rows[earlier] + start, columns[earlier]


def _joined(parts: Iterator[tuple[Tensor, Tensor]], like: Tensor) -> tuple[Tensor, Tensor]:
    none = torch.zeros(0, dtype=torch.int64, device=like.device)
    found = list(parts)
    return (
        torch.cat([none, *(worse for worse, _ in found)]),
        torch.cat([none, *(better for _, better in found)]),
    )


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
