"""Some of the frames of a source."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kd3d.data.lookahead import ReadsAhead
from kd3d.data.pixels import PixelScan, has_pixels, pixel_source
from kd3d.data.source import FrameSource, Scan

__all__ = ["ChosenFrames", "choose_frames"]


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
class ChosenFrames:
    """Some frames of a source, in its order; a `kd3d.data.FrameSource` of its own.

    Args:
        source: where they are read.
        chosen: ``[N]`` int64, their numbers in `source`, rising.
    """

    source: FrameSource
    chosen: NDArray[np.int64]
    _segments: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_segments", self.source.segments[self.chosen])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the source's classes."""
        return self.source.classes

    @property
    def root(self) -> str:
        """What messages call the dataset."""
        return self.source.root

    @property
    def segments(self) -> NDArray[np.int64]:
        """``[N]``, which recording each frame belongs to."""
        return self._segments

    @property
    def reads_ahead(self) -> bool:
        """Whether the source likes to hear what is read next."""
        return isinstance(self.source, ReadsAhead) and self.source.reads_ahead

    def expect(self, frames: Sequence[int]) -> None:
        """Tell the source which frames this process reads next."""
        if isinstance(self.source, ReadsAhead):
            self.source.expect([int(self.chosen[frame]) for frame in frames])

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, frame: int) -> str:
        """What messages call a frame."""
        return self.source.name(int(self.chosen[frame]))

    def file(self, frame: int) -> str:
        """The file that a frame lies in."""
        return self.source.file(int(self.chosen[frame]))

    def frame_id(self, frame: int) -> str:
        """The frame's id.

        Raises:
            RecordError: if the frame is damaged.
        """
        return self.source.frame_id(int(self.chosen[frame]))

    def read(self, frame: int) -> Scan:
        """Read one frame.

        Raises:
            RecordError: if the frame is damaged.
        """
        return self.source.read(int(self.chosen[frame]))

    @property
    def has_pixels(self) -> bool:
        """Whether the source has range images."""
        return has_pixels(self.source)

    def read_pixels(self, frame: int) -> tuple[Scan, PixelScan]:
        """Read one frame, its points left to the device.

        Raises:
            ConfigError: if the source has no range images.
            RecordError: if the frame is damaged.
        """
        return pixel_source(self.source).read_pixels(int(self.chosen[frame]))
