"""Weighted box fusion: the boxes of several detectors as those of one."""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from kd3d.errors import ConfigError, InputError
from kd3d.geometry.boxes import check_boxes
from kd3d.geometry.iou import close_pairs, iou_3d_aligned, iou_bev_aligned

__all__ = ["Overlap", "check_fusion", "fuse_boxes"]

#: Intersection over union in bird's-eye view, or of volumes.
Overlap = Literal["bev", "3d"]

Measure = Callable[[Tensor, Tensor], Tensor]

_LEAST_WEIGHT = 1e-12
"""Boxes that score 0 count a little, so that a cluster of such boxes has a mean."""


@torch.no_grad()
def fuse_boxes(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    num_sources: int,
    threshold: float = 0.55,
    overlap: Overlap = "bev",
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace clusters of overlapping boxes by their mean, weighted by score.

    The boxes of each label are taken by falling score. A box joins the cluster whose mean it
    overlaps most, if by more than `threshold`, and opens a cluster of its own otherwise; the
    cluster's mean follows at once. With T boxes in a cluster and N sources,

        mean  = sum score * box / sum score,       score = mean of the scores * min(T, N) / N,

    so a box that few sources found counts less (Solovyev, Wang and Gabruseva, "Weighted boxes
    fusion", 2021, with the first of its two rescalings). Headings are averaged on the circle, after
    those that point against the cluster's best box have been turned by pi.

    Args:
        boxes: ``[K, 7]`` (x, y, z, length, width, height, heading) of all sources, metres and
            radians, floating.
        scores: ``[K]`` in [0, 1].
        labels: ``[K]`` int64; only boxes of one label fuse. Ids of frames may be part of them.
        num_sources: N, how many detectors, passes or files the boxes come from.
        threshold: least intersection over union, exclusive; from 0.1.
        overlap: how it is measured.
        weights: ``[K]`` how far each box's source is trusted relative to the others, 1 by default;
            factors of the scores, so their mean over the sources should be 1.

    Returns:
        Boxes ``[M, 7]``, scores ``[M]`` and labels ``[M]`` of the clusters, in falling order of
        score, dtypes as they came; headings in [-pi, pi].

    Raises:
        InputError: if shapes do not fit.
        ConfigError: if an option is out of its range.
    """
    check_fusion(num_sources, threshold, overlap)
    _check_columns(boxes, {"scores": scores, "labels": labels, "weights": weights})
    weighted = scores.double() if weights is None else scores.double() * weights.double()
    order = weighted.sort(descending=True, stable=True).indices
    clusters = _Clusters(boxes[order].double(), weighted[order])
    component = _components(clusters.boxes, labels[order], threshold)
    measure = iou_bev_aligned if overlap == "bev" else iou_3d_aligned
    for now in _rounds(component):
        clusters.add(now, _home(now, component, clusters, threshold, measure))
    opened = clusters.opened.nonzero().squeeze(1)
    fused_scores = clusters.scores(opened, num_sources)
    ranked = fused_scores.sort(descending=True, stable=True).indices
    opened = opened[ranked]
    return (
        clusters.means[opened].to(boxes.dtype),
        fused_scores[ranked].to(scores.dtype),
        labels[order][opened],
    )


class _Clusters:
    """Running means of clusters, each under the place of the box that opened it.

    Args:
        boxes: ``[K, 7]`` float64 in falling order of score.
        weights: ``[K]`` float64, their scores.
    """

    def __init__(self, boxes: Tensor, weights: Tensor) -> None:
        self.boxes = boxes
        self.means = boxes.clone()
        self.opened = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        self._weights = weights
        self._sums = boxes.new_zeros((len(boxes), 9))  # six of the box, cos, sin, weight
        self._score_sums = torch.zeros_like(weights)
        self._counts = torch.zeros_like(weights)

    def add(self, now: Tensor, home: Tensor) -> None:
        """Add boxes ``[P]`` to clusters ``[P]``, all different; a box's own place opens one."""
        heading = self.boxes[now, 6]
        against = torch.cos(heading - self.boxes[home, 6]) < 0
        heading = torch.where(against, heading + torch.pi, heading)[:, None]
        weight = self._weights[now].clamp(min=_LEAST_WEIGHT)[:, None]
        parts = torch.cat(
            (self.boxes[now, :6], heading.cos(), heading.sin(), torch.ones_like(weight)), dim=1
        )
        self.opened[home] = True
        self._sums[home] += weight * parts
        self._score_sums[home] += self._weights[now]
        self._counts[home] += 1
        sums = self._sums[home]
        mean_heading = torch.atan2(sums[:, 7], sums[:, 6])
        self.means[home] = torch.cat((sums[:, :6] / sums[:, 8:], mean_heading[:, None]), dim=1)

    def scores(self, opened: Tensor, num_sources: int) -> Tensor:
        """Scores ``[M]`` float64 of clusters."""
        counts = self._counts[opened]
        return self._score_sums[opened] / counts * counts.clamp(max=num_sources) / num_sources


def _home(
    now: Tensor, component: Tensor, clusters: _Clusters, threshold: float, measure: Measure
) -> Tensor:
    """Find the cluster ``[P]`` of each box; the box's own place if it overlaps none enough."""
    count = len(component)
    box_of = torch.full((count,), -1, device=now.device)  # the one box of a component
    box_of[component[now]] = now
    candidates = clusters.opened.nonzero().squeeze(1)
    rows = box_of[component[candidates]]
    candidates, rows = candidates[rows >= 0], rows[rows >= 0]
    share = measure(clusters.boxes[rows], clusters.means[candidates])
    best = share.new_full((count,), threshold).scatter_reduce(0, rows, share, "amax")
    wins = (share == best[rows]) & (share > threshold)
    home = torch.full((count,), count, device=now.device)
    home = home.scatter_reduce(0, rows[wins], candidates[wins], "amin")[now]
    return torch.where(home < count, home, now)


def _rounds(component: Tensor) -> tuple[Tensor, ...]:
    """Split boxes by their rank within their component, so that a round has one of each."""
    order = component.sort(stable=True).indices
    ordered = component[order]
    rank = torch.arange(len(order), device=order.device)
    rank = rank - torch.searchsorted(ordered, ordered)
    by_rank = rank.sort(stable=True).indices
    return torch.split(order[by_rank], rank.bincount().tolist())


def _components(boxes: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Number ``[K]`` the sets of boxes that can have to do with each other.

    Boxes of one label are connected if the circles around them meet. Centres of equal boxes are at
    most length * (1 - t) / (1 + t) apart if they overlap by t; a box that joins a cluster is at
    most twice as far from the cluster's last box, with the mean between them. For low thresholds
    that is more than two circles reach, so those are drawn wider.
    """
    none = torch.zeros(0, dtype=torch.int64, device=boxes.device)
    wider = torch.ones_like(boxes)
    wider[:, 3:5] = max(1.0, 2 * (1 - threshold) / (1 + threshold))
    pairs = list(close_pairs(boxes * wider, boxes * wider, below_diagonal=True))
    first = torch.cat([none, *(rows for rows, _ in pairs)])
    second = torch.cat([none, *(columns for _, columns in pairs)])
    same = labels[first] == labels[second]
    first, second = first[same], second[same]
    number = torch.arange(len(boxes), device=boxes.device)
    while True:
        low = torch.minimum(number[first], number[second])
        lower = number.scatter_reduce(0, first, low, "amin").scatter_reduce(0, second, low, "amin")
        lower = lower[lower]  # jump to where the lower one points already
        if torch.equal(lower, number):
            return number
        number = lower


def check_fusion(num_sources: int, threshold: float, overlap: str) -> None:
    """Raise `ConfigError` if an option of `fuse_boxes` is out of its range."""
    if num_sources < 1:
        raise ConfigError(f"at least one source, not {num_sources}.", where="num_sources")
    if not 0.1 <= threshold < 1:
        raise ConfigError(
            f"{threshold:g} is no intersection over union that says that two boxes are one object.",
            where="threshold",
            hint="Give a number from 0.1 up to, not including, 1.",
        )
    if overlap not in get_args(Overlap):
        raise ConfigError(f"{overlap!r} is not one of {list(get_args(Overlap))}.", where="overlap")


def _check_columns(boxes: Tensor, columns: Mapping[str, Tensor | None]) -> None:
    check_boxes(boxes, "fuse_boxes")
    for name, values in columns.items():
        if values is not None and values.shape != boxes.shape[:1]:
            raise InputError(
                f"{len(boxes)} boxes but {name} of shape {tuple(values.shape)}.", where="fuse_boxes"
            )
