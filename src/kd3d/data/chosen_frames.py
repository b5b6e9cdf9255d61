"""Some of the frames of a source."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kd3d.data.derived import DerivedFrames
from kd3d.data.lookahead import ReadsAhead
from kd3d.data.pixels import PixelScan, pixel_source
from kd3d.data.source import FrameSource, Scan

__all__ = ["ChosenFrames", "choose_frames", "some_frames"]


def choose_frames(
    segments: ArrayLike, *, interval: int = 1, most: int | None = None
) -> NDArray[np.int64]:
    """Choose every n-th frame of each segment, from its first, and at most so many of these.

    Args:
        segments: ``[N]`` int64, as `FrameSource.segments`.
        interval: n, at least 1.
        most: keep at most so many, evenly spread; all by default.

    Returns:
        ``[K]`` int64 frame numbers, rising.
    """
    of_frame = np.asarray(segments)
    numbers = np.arange(len(of_frame))
    is_first = np.diff(of_frame, prepend=of_frame[:1] - 1) != 0
    starts = np.maximum.accumulate(np.where(is_first, numbers, 0))
    chosen = np.flatnonzero((numbers - starts) % interval == 0)
    if most is None or most >= len(chosen):
        return chosen
    spread: NDArray[np.int64] = chosen[np.arange(most) * len(chosen) // most]
    return spread


@dataclass(frozen=True, slots=True, eq=False)
class ChosenFrames(DerivedFrames):
    """Some frames of a source, in its order; a `kd3d.data.FrameSource` of its own.

    Args:
        source: where they are read.
        chosen: ``[N]`` int64, their numbers in `source`, rising.
    """

    chosen: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_segments", self.source.segments[self.chosen])

    def place(self, frame: int) -> int:
        """The number that a frame has in the source."""
        return int(self.chosen[frame])

    def expect(self, frames: Sequence[int]) -> None:
        """Tell the source which frames this process reads next."""
        if isinstance(self.source, ReadsAhead):
            self.source.expect([self.place(frame) for frame in frames])

    def read(self, frame: int) -> Scan:
        """Read one frame.

        Raises:
            RecordError: if the frame is damaged.
        """
        return self.source.read(self.place(frame))

    def read_pixels(self, frame: int) -> tuple[Scan, PixelScan]:
        """Read one frame, its points left to the device.

        Raises:
            ConfigError: if the source has no range images.
            RecordError: if the frame is damaged.
        """
        return pixel_source(self.source).read_pixels(self.place(frame))


def some_frames(source: FrameSource, *, interval: int = 1, most: int | None = None) -> FrameSource:
    """Give the frames of a source that `choose_frames` chooses; the source itself if it is all."""
    chosen = choose_frames(source.segments, interval=interval, most=most)
    return source if len(chosen) == len(source) else ChosenFrames(source, chosen)
