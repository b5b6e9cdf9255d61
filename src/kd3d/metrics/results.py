"""From counts to named results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.metrics.functional import (
    RINGS,
    Counts,
    average_precisions,
    precision_recall,
    shard_names,
)
from kd3d.metrics.functional.agreement import ERROR_UNIT, HEADING_UNIT

__all__ = ["BoxErrors", "Curve", "average_scores", "box_errors", "curves_of", "named"]


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall at every score cutoff.

    Args:
        cutoffs: ``[K]`` ascending scores.
        precision: ``[K]``; 1 where recall is 0.
        heading_precision: ``[K]`` precision in which a match counts its heading accuracy.
        recall: ``[K]`` in [0, 1].
    """

    cutoffs: NDArray[np.float32]
    precision: NDArray[np.float32]
    heading_precision: NDArray[np.float32]
    recall: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BoxErrors:
    """Mean errors of matched boxes; NaN where there is no match.

    Args:
        matches: how many there are.
        translation: distance between the centres in metres.
        scale: 1 - IoU of the boxes moved and turned together, in [0, 1].
        heading: angle between the headings in [0, pi] radians.
    """

    matches: int
    translation: float
    scale: float
    heading: float


def average_scores(
    counts: Counts,
    classes: Sequence[str],
    breakdowns: Sequence[str],
    prefixes: Sequence[str],
) -> dict[str, float]:
    """Name AP and APH of every shard and level, and their means over the classes.

    Args:
        counts: of the shards that `shard_names` lists.
        classes: names of the classes.
        breakdowns: names of the breakdowns.
        prefixes: what the levels' keys begin with.
    """
    tables = dict(zip(("AP", "APH"), average_precisions(counts), strict=True))
    values = named(tables, shard_names(classes, breakdowns), prefixes)
    scores = [f"{prefix}{kind}" for prefix in prefixes for kind in tables]
    means = [f"{prefix}m{kind}" for prefix in prefixes for kind in tables]
    result: dict[str, float] = {}
    for breakdown in breakdowns:
        shards = shard_names(classes, (breakdown,))
        result |= {f"{name}/{key}": values[f"{name}/{key}"] for name in shards for key in scores}
        for part in [""] if breakdown == "object_type" else [f"{ring}/" for ring in RINGS]:
            for score, mean in zip(scores, means, strict=True):
                of_classes = [values[f"{name}/{part}{score}"] for name in classes]
                result[f"{part}{mean}"] = float(np.mean(of_classes))
    return result


def curves_of(
    counts: Counts, shards: Sequence[str], prefixes: Sequence[str], cutoffs: Sequence[float]
) -> dict[str, Curve]:
    """Name the curve of every shard and level."""
    precision, weighted, recall = precision_recall(counts)
    scores = np.asarray(cutoffs, np.float32)
    return {
        f"{name}/{prefix}".rstrip("_/"): Curve(
            scores, precision[row, column], weighted[row, column], recall[row, column]
        )
        for row, name in enumerate(shards)
        for column, prefix in enumerate(prefixes)
    }


def box_errors(counts: Counts, shards: Sequence[str], cutoff: int) -> dict[str, BoxErrors]:
    """Name the mean errors of every shard's matches at one cutoff (index)."""

    def mean(total: NDArray[np.int64], row: int, unit: int) -> float:
        matches = int(counts.true_positives[row, cutoff])
        return float(total[row, cutoff]) / unit / matches if matches else float("nan")

    return {
        name: BoxErrors(
            matches=int(counts.true_positives[row, cutoff]),
            translation=mean(counts.distance, row, ERROR_UNIT),
            scale=mean(counts.size, row, ERROR_UNIT),
            heading=float(np.pi * (1 - mean(counts.heading, row, HEADING_UNIT))),
        )
        for row, name in enumerate(shards)
    }


def named(
    tables: Mapping[str, NDArray[np.floating]], shards: Sequence[str], prefixes: Sequence[str]
) -> dict[str, float]:
    """Name the entries of tables ``[S, L]``: "{shard}/{prefix}{kind}"."""
    return {
        f"{name}/{prefix}{kind}": float(table[row, column])
        for row, name in enumerate(shards)
        for column, prefix in enumerate(prefixes)
        for kind, table in tables.items()
    }
