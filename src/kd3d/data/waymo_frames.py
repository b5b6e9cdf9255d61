"""Waymo records as a source of frames."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from kd3d.data.frame_index import FrameIndex
from kd3d.data.pixels import PixelScan
from kd3d.data.source import Scan
from kd3d.storage import ReadAhead
from kd3d.waymo import CLASSES, Frame, decode_frame, decode_raw_labels
from kd3d.waymo.points_torch import decode_pixels

__all__ = ["WaymoFrames"]


@dataclass(frozen=True, slots=True, eq=False)
class WaymoFrames:
    """The frames of an index of Waymo segments; a `kd3d.data.FrameSource`.

    Records behind a network are fetched before they are read, as far as `expect` announces them.

    Args:
        index: which frames, and where they lie.
        verify: check the records' checksums.
    """

    index: FrameIndex
    verify: bool = True
    _ahead: ReadAhead[int] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fetch = partial(self.index.read, verify=self.verify)
        ahead = ReadAhead(fetch, self.index.size) if self.index.is_remote else None
        object.__setattr__(self, "_ahead", ahead)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of Waymo's classes."""
        return tuple(CLASSES)

    @property
    def root(self) -> str:
        """The dataset's folder."""
        return str(self.index.root)

    @property
    def reads_ahead(self) -> bool:
        """Whether `expect` is of use: a local disk does not keep one waiting."""
        return self._ahead is not None

    def expect(self, frames: Sequence[int]) -> None:
        """Fetch frames that this process reads next, within 64 MiB, in threads of their own."""
        if self._ahead is not None:
            self._ahead.expect(frames)

    @property
    def segments(self) -> NDArray[np.int64]:
        """``[N]``, the place of each frame's file."""
        return self.index.file_of

    def __len__(self) -> int:
        return len(self.index)

    def name(self, frame: int) -> str:
        """A frame's file and record number."""
        return self.index.name(frame)

    def file(self, frame: int) -> str:
        """Path of a frame's segment file."""
        return self.index.file(frame)

    def frame_id(self, frame: int) -> str:
        """Segment name and time, ``<context_name>/<timestamp_micros>``.

        Raises:
            RecordError: if the record is damaged.
        """
        raw = decode_raw_labels(self.index.skim(frame), self.name(frame))
        return f"{raw.context_name}/{raw.timestamp_micros}"

    def read(self, frame: int) -> Scan:
        """Read and decode one record.

        Raises:
            RecordError: if the record is damaged.
        """
        return _scan(decode_frame(self._record(frame), self.name(frame)))

    @property
    def has_pixels(self) -> bool:
        """Whether points can be left to the device: they can."""
        return True

    def read_pixels(self, frame: int) -> tuple[Scan, PixelScan]:
        """Read and inflate one record, and leave its points to the device.

        Raises:
            RecordError: if the record is damaged.
        """
        found, pixels = decode_pixels(self._record(frame), self.name(frame))
        return _scan(found), PixelScan(pixels, torch.eye(4, dtype=torch.float64)[None])

    def _record(self, frame: int) -> bytes:
        if self._ahead is not None:
            return self._ahead.take(frame)
        return self.index.read(frame, verify=self.verify)


def _scan(found: Frame) -> Scan:
    return Scan(
        points=torch.from_numpy(found.points),
        boxes=torch.from_numpy(found.boxes),
        labels=torch.from_numpy(found.labels),
        num_points=torch.from_numpy(found.num_points),
        difficulty=torch.from_numpy(found.difficulty),
        frame_id=f"{found.context_name}/{found.timestamp_micros}",
        pose=found.pose,
        time=found.timestamp_micros * 1e-6,
    )
