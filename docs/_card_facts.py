"""What the data card of a simulated dataset counts."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.metrics.functional.breakdowns import RINGS, ring_of
from kd3d.waymo import (
    CLASSES,
    Frame,
    effective_difficulty,
    iterate_records,
    read_frames,
    schema,
)

SPLITS = ("training", "validation", "test")
LEVELS = ("L1", "L2", "no points")
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
SIDES = ("length", "width", "height")


@dataclass(frozen=True)
class Objects:
    """The labelled objects of many frames, in columns.

    Args:
        frame: ``[M]`` number of the frame.
        kind: ``[M]`` class id.
        level: ``[M]`` place in `LEVELS`.
        ring: ``[M]`` place in `RINGS`.
        distance: ``[M]`` of the centre, metres, from above.
        points: ``[M]`` points in the box.
        size: ``[M, 3]`` length, width, height, metres.
        heading: ``[M]`` radians, vehicle frame.
    """

    frame: NDArray[np.int64]
    kind: NDArray[np.int64]
    level: NDArray[np.int64]
    ring: NDArray[np.int64]
    distance: NDArray[np.float32]
    points: NDArray[np.int64]
    size: NDArray[np.float32]
    heading: NDArray[np.float32]

    def where(self, chosen: NDArray[np.bool_]) -> "Objects":
        """Keep some."""
        return Objects(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Reading:
    """What was read of one split.

    Args:
        points: ``[F]`` points of each frame.
        objects: of all frames.
    """

    points: NDArray[np.int64]
    objects: Objects

    def boxes(self, *, with_points: bool) -> NDArray[np.int64]:
        """Count the boxes of each frame."""
        frames = self.objects.frame
        if with_points:
            frames = frames[self.objects.points > 0]
        return np.bincount(frames, minlength=len(self.points))


def frames_of(root: Path, split: str) -> Iterator[Frame]:
    """Read a split's frames in the order of their names."""
    for path in sorted((root / split).glob("*.tfrecord")):
        yield from read_frames(path)


def read_objects(frames: Iterable[Frame]) -> Reading:
    """Read points and objects of frames."""
    points, columns = [], []
    for number, frame in enumerate(frames):
        points.append(len(frame.points))
        known = frame.labels >= 0
        boxes, inside = frame.boxes[known], frame.num_points[known]
        level = effective_difficulty(frame.difficulty[known], inside) - 1
        columns.append(
            Objects(
                frame=np.full(len(boxes), number),
                kind=frame.labels[known],
                level=np.where(inside > 0, level, LEVELS.index("no points")),
                ring=ring_of(boxes),
                distance=np.hypot(boxes[:, 0], boxes[:, 1]),
                points=inside,
                size=boxes[:, 3:6],
                heading=boxes[:, 6],
            )
        )
    joined = {
        name: np.concatenate([getattr(one, name) for one in columns])
        for name in Objects.__dataclass_fields__
    }
    return Reading(np.array(points), Objects(**joined))


def weathers(root: Path, split: str) -> dict[str, int]:
    """Count a split's segments by their weather."""
    found: Counter[str] = Counter()
    for path in sorted((root / split).glob("*.tfrecord")):
        message = schema.Frame.FromString(next(iterate_records(path)))
        found[message.context.stats.weather.decode()] += 1
    return dict(sorted(found.items()))


def split_facts(reading: Reading, segments: dict[str, int]) -> dict[str, Any]:
    """Count a split's objects by class, level and ring."""
    objects = reading.objects
    counts = {
        name: {
            level: [
                int(((objects.kind == k) & (objects.level == v) & (objects.ring == r)).sum())
                for r in range(len(RINGS))
            ]
            for v, level in enumerate(LEVELS)
        }
        for k, name in enumerate(CLASSES)
    }
    return {
        "segments": sum(segments.values()),
        "weather": segments,
        "frames": len(reading.points),
        "points_per_frame": spread_of(reading.points),
        "boxes_per_frame": spread_of(reading.boxes(with_points=True)),
        "boxes": counts,
    }


def object_facts(objects: Objects) -> dict[str, Any]:
    """Give points, sizes and headings per class, of all splits together."""
    return {name: _facts_of(objects.where(objects.kind == k)) for k, name in enumerate(CLASSES)}


def _facts_of(objects: Objects) -> dict[str, Any]:
    seen = objects.where(objects.points > 0)
    turns = np.histogram(objects.heading, np.radians(np.arange(-180, 181, 15)))[0]
    return {
        "points": {
            ring: {
                "objects": int((objects.ring == r).sum()),
                "without_points": share(objects.points[objects.ring == r] == 0),
                "quantiles": quantiles_of(seen.points[seen.ring == r]),
            }
            for r, ring in enumerate(RINGS)
        },
        "sizes": {
            side: {
                "mean": rounded(objects.size[:, i].mean()),
                "deviation": rounded(objects.size[:, i].std()),
                "quantiles": [rounded(one) for one in quantiles_of(objects.size[:, i])],
            }
            for i, side in enumerate(SIDES)
            if len(objects.size)
        },
        "headings_by_15_degrees": turns.tolist(),
    }


def share(flags: NDArray[np.bool_]) -> float | None:
    """Give the share that is true, None of nothing."""
    return rounded(flags.mean()) if len(flags) else None


def quantiles_of(values: NDArray[Any]) -> list[float]:
    """Give the quantiles that the card shows; none of nothing."""
    return [rounded(one) for one in np.quantile(values, QUANTILES)] if len(values) else []


def spread_of(values: NDArray[np.int64]) -> dict[str, float]:
    """Give mean, least and most."""
    return {
        "mean": rounded(values.mean()),
        "least": int(values.min()),
        "most": int(values.max()),
    }


def rounded(value: float | np.floating[Any]) -> float:
    """Keep three decimals."""
    return round(float(value), 3)
