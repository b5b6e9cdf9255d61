"""What the detection metric takes: rows of predictions and of labelled objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Objects", "Predictions"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predicted boxes of any number of frames.

    Args:
        boxes: ``[N, 7]`` float32 (x, y, z, length, width, height, heading), metres and radians.
        scores: ``[N]`` float32.
        frames: ``[N]`` int64, the frame of each row; any numbers.
        shards: ``[N]`` int64, the part of the result that each row counts in: its class, or its
            class and ring of distance. Rows match only within a frame and shard.
        in_no_label_zone: ``[N]`` bool; such a row is not counted when it finds no object.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    frames: NDArray[np.int64]
    shards: NDArray[np.int64]
    in_no_label_zone: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def concatenate(parts: "Sequence[Predictions]") -> "Predictions":
        """Put the rows of several (at least one) sets one after the other."""
        return Predictions(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.shards for part in parts]),
            np.concatenate([part.in_no_label_zone for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Objects:
    """Labelled boxes of any number of frames.

    Args:
        boxes: ``[M, 7]`` float32 (x, y, z, length, width, height, heading), metres and radians.
        frames: ``[M]`` int64, the frame of each row.
        shards: ``[M]`` int64, the part of the result that each row counts in.
        difficulty: ``[M]`` int64, 1 or 2.
    """

    boxes: NDArray[np.float32]
    frames: NDArray[np.int64]
    shards: NDArray[np.int64]
    difficulty: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def concatenate(parts: "Sequence[Objects]") -> "Objects":
        """Put the rows of several (at least one) sets one after the other."""
        return Objects(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.shards for part in parts]),
            np.concatenate([part.difficulty for part in parts]),
        )
