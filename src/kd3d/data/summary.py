"""How large a dataset is, and what is in it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.data.facts import BOX_KINDS, BOX_LEVELS, collect_facts
from kd3d.data.faults import BadRecord
from kd3d.data.frame_index import FrameIndex
from kd3d.data.index import build_index
from kd3d.errors import RecordError
from kd3d.waymo import decode_frame

__all__ = ["DatasetSummary", "summarize_dataset"]


@dataclass(frozen=True, slots=True, eq=False)
class DatasetSummary:
    """What `summarize_dataset` found.

    Args:
        segments: different recordings.
        files: segment files.
        frames: records that can be used.
        bytes: of all files together.
        boxes: ``[N, 4, 3]`` int64, boxes of each frame by `BOX_KINDS` and `BOX_LEVELS`.
        points: ``[S]`` int64, points of the frames that were decoded.
        faults: records and ends of files that cannot be used.
    """

    segments: int
    files: int
    frames: int
    bytes: int
    boxes: NDArray[np.int64]
    points: NDArray[np.int64]
    faults: tuple[BadRecord, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain numbers and words."""
        totals = self.boxes.sum(axis=0)
        return {
            "segments": self.segments,
            "files": self.files,
            "frames": self.frames,
            "bytes": self.bytes,
            "boxes": {
                kind: dict(zip(BOX_LEVELS, row, strict=True))
                for kind, row in zip(BOX_KINDS, totals.tolist(), strict=True)
            },
            "points_per_frame": {
                "sampled_frames": len(self.points),
                "mean": float(self.points.mean()) if len(self.points) else None,
                "min": int(self.points.min()) if len(self.points) else None,
                "max": int(self.points.max()) if len(self.points) else None,
            },
            "faults": [str(fault.error) for fault in self.faults],
        }


def summarize_dataset(
    root: str | os.PathLike[str],
    pattern: str | Sequence[str],
    *,
    sample: int = 20,
    cache_dir: str | os.PathLike[str] | None = None,
) -> DatasetSummary:
    """Count the segments, frames, boxes and bytes of a dataset, and the points of a few frames.

    Points are in compressed images: only evenly spread frames are decoded. Damaged records are
    counted and listed, whatever else they would have stopped.

    Args:
        root: the dataset's folder, or its URL.
        pattern: which files below it are segments, as for `kd3d.data.build_index`.
        sample: frames to decode; 0 for none.
        cache_dir: where what is found is kept; ``$KD3D_CACHE`` or ``~/.cache/kd3d`` by default.

    Raises:
        DatasetError: if the folder is missing, nothing in it matches, or it cannot be read.
    """
    index = build_index(root, pattern, cache_dir=cache_dir, on_error="skip")
    facts = collect_facts(index, pattern, cache_dir=cache_dir)
    points, damaged = _count_points(index, sample)
    sound = facts.context_of >= 0
    known = {fault.name for fault in facts.faults}
    return DatasetSummary(
        segments=len(facts.contexts),
        files=len(index.files),
        frames=int(sound.sum()),
        bytes=sum(stamp.size for stamp in index.stamps),
        boxes=facts.boxes[sound],
        points=points,
        faults=(
            *index.faults,
            *facts.faults,
            *(fault for fault in damaged if fault.name not in known),
        ),
    )


def _count_points(index: FrameIndex, sample: int) -> tuple[NDArray[np.int64], list[BadRecord]]:
    if sample < 1:
        return np.empty(0, np.int64), []
    counts, damaged = [], []
    chosen = index.spread(sample)
    for frame in range(len(chosen)):
        try:
            counts.append(len(decode_frame(chosen.read(frame), chosen.name(frame)).points))
        except RecordError as error:
            damaged.append(BadRecord(chosen.file(frame), chosen.name(frame), error))
    return np.array(counts, np.int64), damaged
