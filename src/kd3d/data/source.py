"""Where frames come from: anything that can read one recorded frame at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["FrameSource", "Scan"]


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One frame as it was recorded, in the vehicle's frame at its time.

    Args:
        points: ``[N, F]`` float32, x, y, z in metres, then any features.
        boxes: ``[M, 7]`` float32 (x, y, z of the centre, length, width, height, heading).
        labels: ``[M]`` int64 places in the source's `FrameSource.classes`, -1 for anything else.
        num_points: ``[M]`` int64 points in each box as annotated, -1 where unknown.
        difficulty: ``[M]`` int64, 1 or 2, 0 where not annotated.
        frame_id: the frame's name, unique in its source.
        pose: ``[4, 4]`` float64, vehicle to a fixed frame; None where unknown.
        time: seconds; None where unknown.
    """

    points: Tensor
    boxes: Tensor
    labels: Tensor
    num_points: Tensor
    difficulty: Tensor
    frame_id: str
    pose: NDArray[np.float64] | None = None
    time: float | None = None


class FrameSource(Protocol):
    """The frames of a dataset in a fixed order, read one at a time, from any process."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that labels of a `Scan` are places in."""

    @property
    def root(self) -> str:
        """What messages call the dataset."""

    @property
    def segments(self) -> NDArray[np.int64]:
        """``[N]``, which recording each frame belongs to; its frames are together, in time."""

    def __len__(self) -> int:
        """How many frames there are."""

    def name(self, frame: int) -> str:
        """What messages call a frame."""

    def file(self, frame: int) -> str:
        """The file that a frame lies in."""

    def frame_id(self, frame: int) -> str:
        """The id that `read` gives, found without decoding points.

        Raises:
            RecordError: if the frame is damaged.
        """

    def read(self, frame: int) -> Scan:
        """Read one frame.

        Raises:
            RecordError: if the frame is damaged.
        """
