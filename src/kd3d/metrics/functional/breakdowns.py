"""The parts that a result is broken down into: object types, and rings of distance."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kd3d.metrics.functional.rows import Objects, Predictions

__all__ = ["BREAKDOWNS", "RINGS", "break_down", "ring_of", "shard_classes", "shard_names"]

BREAKDOWNS = ("object_type", "range")
"""By class, and by class and ring of distance."""

RINGS = ("0-30m", "30-50m", "50m-inf")
"""Names of the rings [0, 30), [30, 50) and [50, infinity) metres."""

_RING_BORDERS = (30.0, 50.0)


def shard_names(classes: Sequence[str], breakdowns: Sequence[str]) -> tuple[str, ...]:
    """Name the shards in the order of their numbers, such as "Vehicle" and "Vehicle/0-30m"."""
    names: list[str] = []
    for breakdown in breakdowns:
        if breakdown == "object_type":
            names += classes
        else:
            names += [f"{name}/{ring}" for name in classes for ring in RINGS]
    return tuple(names)


def shard_classes(num_classes: int, breakdowns: Sequence[str]) -> NDArray[np.int64]:
    """Give the class id ``[S]`` of every shard, in the order of `shard_names`."""
    ids = np.arange(num_classes)
    parts = [
        ids if breakdown == "object_type" else ids.repeat(len(RINGS)) for breakdown in breakdowns
    ]
    return np.concatenate(parts)


def break_down(
    predictions: Predictions, objects: Objects, breakdowns: Sequence[str], num_classes: int
) -> tuple[Predictions, Objects]:
    """Repeat rows once per breakdown, each time in the shard that they belong to.

    Args:
        predictions: N rows with class ids as shards.
        objects: M rows with class ids as shards.
        breakdowns: some of `BREAKDOWNS`.
        num_classes: how many classes there are.

    Returns:
        The rows of all breakdowns; shards are numbered as `shard_names` lists them.
    """
    parts = []
    offset = 0
    for breakdown in breakdowns:
        if breakdown == "object_type":
            shards, count = (predictions.shards, objects.shards), num_classes
        else:
            shards, count = _ring_shards(predictions, objects), num_classes * len(RINGS)
        parts.append(
            (
                replace(predictions, shards=shards[0] + offset),
                replace(objects, shards=shards[1] + offset),
            )
        )
        offset += count
    if len(parts) == 1:
        return parts[0]
    return (
        Predictions.concatenate([part for part, _ in parts]),
        Objects.concatenate([part for _, part in parts]),
    )


def ring_of(boxes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Give the ring that the centres of boxes ``[N, 7]`` lie in, by distance in 3D."""
    centres = boxes[:, :3].astype(np.float64)
    distance = np.sqrt((centres * centres).sum(axis=1))
    ring: NDArray[np.int64] = np.searchsorted(_RING_BORDERS, distance, side="right").astype(
        np.int64
    )
    return ring


def _ring_shards(
    predictions: Predictions, objects: Objects
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shards by class and by each row's own ring: boxes either side of a border never match."""
    return (
        predictions.shards * len(RINGS) + ring_of(predictions.boxes),
        objects.shards * len(RINGS) + ring_of(objects.boxes),
    )
