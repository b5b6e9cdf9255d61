"""From head maps to boxes."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from kd3d.errors import ConfigError
from kd3d.geometry.constants import constant
from kd3d.geometry.grid import BEVGrid
from kd3d.geometry.nms import nms_circle, nms_per_class, nms_rotated
from kd3d.geometry.residuals import exp_of_size
from kd3d.structures import Detections, HeadMaps

__all__ = [
    "Suppression",
    "Threshold",
    "center_candidates",
    "check_suppression",
    "decode_centers",
    "decode_codes",
    "read_codes",
    "suppress",
]

#: One suppression over all classes, one within each class, or one by distance of centres.
Suppression = Literal["class_agnostic", "per_class", "circle"]
#: Bird's-eye-view overlap ("circle": metres); one number, or for "per_class" one for each class.
Threshold = float | Sequence[float]

MAX_CANDIDATES = 500
MAX_BEFORE_NMS = 4096


def decode_centers(
    maps: HeadMaps,
    center_limit: tuple[float, ...],
    *,
    score_threshold: float = 0.1,
    nms: Suppression = "class_agnostic",
    nms_threshold: Threshold | None = 0.7,
) -> list[Detections]:
    """Read the boxes at the highest cells of the heatmap.

    The highest 500 cells of each class, then the highest 500 of those; without a search for local
    maxima; then non-maximum suppression, by default one over all classes, as CenterPoint in
    OpenPCDet.

    Args:
        maps: a batch of raw maps.
        center_limit: (x, y, z, x, y, z) lower and upper limits of a centre in metres, inclusive.
        score_threshold: boxes must score higher than this.
        nms: which boxes suppress each other.
        nms_threshold: bird's-eye-view overlap above which the lower box goes, "circle": distance in
            metres up to which it goes; None keeps all.

    Returns:
        One `Detections` per frame, float32, in falling order of score.
    """
    frames = [
        Detections(boxes=one.boxes[kept], scores=one.scores[kept], labels=one.labels[kept])
        for one in center_candidates(maps, center_limit, score_threshold=score_threshold)
        for kept in [one.labels >= 0]
    ]
    if nms_threshold is None:
        return frames
    return [suppress(frame, nms, nms_threshold) for frame in frames]


def center_candidates(
    maps: HeadMaps, center_limit: tuple[float, ...], *, score_threshold: float = 0.1
) -> list[Detections]:
    """Read the boxes at the highest cells without asking the device how many there are.

    As `decode_centers` before suppression, but with 500 boxes in every frame (fewer on a grid of
    fewer cells): those that score too low, lie outside `center_limit` or are not finite have
    label -1. Nothing waits for the device, so a training step can go on.
    """
    with torch.no_grad(), torch.autocast(maps.heatmap.device.type, enabled=False):
        scores, labels, cells = _highest_cells(maps.heatmap.float().sigmoid())
        boxes = decode_codes(read_codes(maps, cells), cells, maps.grid)
        limit = constant(center_limit, boxes)
        inside = (boxes[..., :3] >= limit[:3]) & (boxes[..., :3] <= limit[3:])
        counts = inside.all(dim=-1) & boxes.isfinite().all(dim=-1) & (scores > score_threshold)
        labels = torch.where(counts, labels, -1)
    return [
        Detections(boxes=boxes[i], scores=scores[i], labels=labels[i]) for i in range(len(boxes))
    ]


def _highest_cells(probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give score, class and cell ``[B, K]`` of the candidates."""
    per_class = probability.flatten(2)
    scores, cells = per_class.topk(min(MAX_CANDIDATES, per_class.shape[2]))
    candidates = scores.shape[2]
    scores, chosen = scores.flatten(1).topk(min(MAX_CANDIDATES, scores[0].numel()))
    return scores, chosen // candidates, cells.flatten(1).gather(1, chosen)


def read_codes(maps: HeadMaps, cells: Tensor) -> Tensor:
    """Read what a center head says about a box at given cells.

    Args:
        maps: a batch of raw maps.
        cells: ``[B, K]`` int64, ``row * W + column``.

    Returns:
        ``[B, K, 8 + extra]`` float32, ordered as `CenterTargets.codes`; differentiable.
    """
    branches = (maps.center, maps.center_z, maps.dim, maps.rot, *maps.extra.values())
    index = cells[:, None]
    read = [
        branch.flatten(2).gather(2, index.expand(-1, branch.shape[1], -1)).float()
        for branch in branches
    ]
    return torch.cat(read, dim=1).transpose(1, 2)


def decode_codes(codes: Tensor, cells: Tensor, grid: BEVGrid) -> Tensor:
    """Turn the codes of boxes, predicted ones or those of `CenterTargets`, into boxes.

    Args:
        codes: ``[B, K, 8 + extra]`` float32: offset x, offset y (cells), z (metres), log length,
            log width, log height, cos heading, sin heading, then extra branches.
        cells: ``[B, K]`` int64, ``row * W + column``.
        grid: the grid of the maps.

    Returns:
        ``[B, K, 7 + extra]`` float32 (x, y, z, length, width, height, heading), metres and radians,
        then the columns of extra branches; differentiable.
    """
    corner = torch.stack((cells % grid.width, cells // grid.width), dim=-1)
    return torch.cat(
        (
            grid.to_metres(corner + codes[..., :2]),
            codes[..., 2:3],
            exp_of_size(codes[..., 3:6]),
            torch.atan2(codes[..., 7:8], codes[..., 6:7]),
            codes[..., 8:],
        ),
        dim=-1,
    )


def check_suppression(nms: str, threshold: Threshold, num_classes: int) -> None:
    """Raise `ConfigError` unless the thresholds fit the kind of suppression and the classes."""
    if nms not in get_args(Suppression):
        raise ConfigError(f"{nms!r} is not one of {list(get_args(Suppression))}.", where="nms")
    numbers = [threshold] if isinstance(threshold, float | int) else list(threshold)
    if len(numbers) != 1 and (nms != "per_class" or len(numbers) != num_classes):
        raise ConfigError(
            f"{len(numbers)} thresholds for {num_classes} classes with {nms!r}.",
            where="nms_threshold",
            hint="Give one number, or with nms='per_class' one for each class.",
        )
    if not all(number >= 0 for number in numbers):
        raise ConfigError(f"must not be negative: {numbers}.", where="nms_threshold")


def suppress(found: Detections, nms: Suppression, threshold: Threshold) -> Detections:
    """Drop the detections of a frame that lie too near to higher ones, see `decode_centers`."""
    boxes, limits = found.boxes[:, :7], {"pre": MAX_BEFORE_NMS, "post": MAX_CANDIDATES}
    if nms == "per_class":
        keep = nms_per_class(boxes, found.scores, found.labels, threshold, **limits)
    else:
        one = threshold if isinstance(threshold, float | int) else threshold[0]
        suppress = nms_circle if nms == "circle" else nms_rotated
        keep = suppress(boxes, found.scores, one, **limits)
    return Detections(boxes=found.boxes[keep], scores=found.scores[keep], labels=found.labels[keep])
