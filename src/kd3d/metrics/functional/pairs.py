"""Which predictions may match which objects, and how well they overlap."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kd3d.geometry import iou_3d_aligned, iou_bev_aligned
from kd3d.metrics.functional.rows import Objects, Predictions

__all__ = ["BoxType", "Pairs", "group_ids", "matchable_pairs"]

BoxType = Literal["3d", "bev"]
"""Boxes as volumes, or as rectangles in bird's-eye view without z and height."""

_PAIRS_AT_ONCE = 1 << 20
_SMALLEST_SIDE, _LARGEST_SIDE = 0.01, 1e6
"""Boxes with a side outside (0.01 m, 1e6 m) overlap nothing."""
_WEIGHT_OF_FULL_OVERLAP = np.float32(1_000_000)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a prediction and an object that may match.

    Args:
        prediction: ``[P]`` int64 row of the prediction.
        object: ``[P]`` int64 row of the object.
        weight: ``[P]`` int64 overlap in millionths; matching maximises its sum.
    """

    prediction: NDArray[np.int64]
    object: NDArray[np.int64]
    weight: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Pairs":
        return Pairs(self.prediction[which], self.object[which], self.weight[which])


def group_ids(
    predictions: Predictions, objects: Objects
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the groups (frame and shard) that rows match within.

    Returns:
        The group of each prediction ``[N]`` and of each object ``[M]``, int64.
    """
    frames = np.concatenate((predictions.frames, objects.frames))
    shards = np.concatenate((predictions.shards, objects.shards))
    _, frames = np.unique(frames, return_inverse=True)
    groups = frames.astype(np.int64) * (shards.max(initial=0) + 1) + shards
    return groups[: len(predictions)], groups[len(predictions) :]


def matchable_pairs(
    predictions: Predictions,
    objects: Objects,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    iou_thresholds: NDArray[np.float32],
    box_type: BoxType = "3d",
) -> Pairs:
    """Find the pairs whose overlap reaches the threshold of their shard.

    Args:
        predictions: N rows.
        objects: M rows.
        groups: what `group_ids` gives.
        iou_thresholds: ``[shards]`` float32 in (0, 1].
        box_type: which overlap counts.
    """
    found = [Pairs(*(np.zeros(0, np.int64) for _ in range(3)))]
    for rows, columns in _pairs_within_groups(*groups):
        close = _circles_meet(predictions.boxes, objects.boxes, rows, columns)
        rows, columns = rows[close], columns[close]
        overlap = _overlap(predictions.boxes[rows], objects.boxes[columns], box_type)
        may = _may_match(overlap, iou_thresholds[predictions.shards[rows]])
        found.append(Pairs(rows[may], columns[may], _weight(overlap[may])))
    return Pairs(
        np.concatenate([part.prediction for part in found]),
        np.concatenate([part.object for part in found]),
        np.concatenate([part.weight for part in found]),
    )


def _pairs_within_groups(
    of_predictions: NDArray[np.int64], of_objects: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the rows of all pairs within the same group, some at a time."""
    order = np.argsort(of_objects, kind="stable")
    ordered = of_objects[order]
    first = np.searchsorted(ordered, of_predictions, side="left")
    count = np.searchsorted(ordered, of_predictions, side="right") - first
    block = np.cumsum(count) // _PAIRS_AT_ONCE
    for rows in np.split(np.arange(len(count)), np.flatnonzero(np.diff(block)) + 1):
        repeats = count[rows]
        begin = np.cumsum(repeats) - repeats
        step = np.arange(repeats.sum()) - np.repeat(begin, repeats)
        yield np.repeat(rows, repeats), order[np.repeat(first[rows], repeats) + step]


def _circles_meet(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Tell for which pairs the circles around the boxes meet in bird's-eye view."""
    reach = _radius(first)[rows] + _radius(second)[columns]
    dx = first[rows, 0] - second[columns, 0]
    dy = first[rows, 1] - second[columns, 1]
    meet: NDArray[np.bool_] = dx * dx + dy * dy <= reach * reach
    return meet


def _radius(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Radius of the circle around each box, a little generous against rounding."""
    diagonal: NDArray[np.float32] = np.hypot(boxes[:, 3], boxes[:, 4])
    radius: NDArray[np.float32] = diagonal * np.float32(0.50001) + np.float32(1e-4)
    return radius


def _overlap(
    first: NDArray[np.float32], second: NDArray[np.float32], box_type: BoxType
) -> NDArray[np.float32]:
    """Overlap ``[P]`` of aligned pairs; 0 where a box has a side out of bounds."""
    last, iou = (6, iou_3d_aligned) if box_type == "3d" else (5, iou_bev_aligned)
    sides = np.concatenate((first[:, 3:last], second[:, 3:last]), axis=1)
    real = ((sides > _SMALLEST_SIDE) & (sides < _LARGEST_SIDE)).all(axis=1)
    overlap = iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    return np.where(real, overlap, np.float32(0))


def _may_match(overlap: NDArray[np.float32], threshold: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Compare as float32; equality is enough."""
    may: NDArray[np.bool_] = overlap >= threshold
    return may


def _weight(overlap: NDArray[np.float32]) -> NDArray[np.int64]:
    """What a pair adds to the sum that matching maximises: rounded half up, in float32."""
    rounded = np.floor(overlap * _WEIGHT_OF_FULL_OVERLAP + np.float32(0.5))
    weight: NDArray[np.int64] = rounded.astype(np.int64)
    return weight
