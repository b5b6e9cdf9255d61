"""Sources of frames that are made of another one."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kd3d.data.lookahead import ReadsAhead
from kd3d.data.pixels import has_pixels
from kd3d.data.source import FrameSource

__all__ = ["DerivedFrames", "recorded_frame"]


@dataclass(frozen=True, slots=True, eq=False)
class DerivedFrames:
    """What a source made of another one has in common with it; a subclass says how to read.

    Args:
        source: where frames are read.
    """

    source: FrameSource
    _segments: NDArray[np.int64] = field(init=False, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that labels are places in."""
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

    @property
    def has_pixels(self) -> bool:
        """Whether the source has range images."""
        return has_pixels(self.source)

    def __len__(self) -> int:
        return len(self._segments)

    def place(self, frame: int) -> int:
        """The number that a frame has in the source."""
        return frame

    def name(self, frame: int) -> str:
        """What messages call a frame."""
        return self.source.name(self.place(frame))

    def file(self, frame: int) -> str:
        """The file that a frame lies in."""
        return self.source.file(self.place(frame))

    def frame_id(self, frame: int) -> str:
        """The frame's id; no other frame is looked at.

        Raises:
            RecordError: if the frame is damaged.
        """
        return self.source.frame_id(self.place(frame))


def recorded_frame(source: FrameSource, frame: int) -> tuple[FrameSource, int]:
    """Give the source that a frame was recorded in, below all that is derived, and its number."""
    while isinstance(source, DerivedFrames):
        derived: DerivedFrames = source
        source, frame = derived.source, derived.place(frame)
    return source, frame
