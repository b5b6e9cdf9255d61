"""Waymo records as a source of frames."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kd3d.data.index import FrameIndex
from kd3d.data.source import Scan
from kd3d.waymo import CLASSES, decode_frame, decode_raw_labels

__all__ = ["WaymoFrames"]


@dataclass(frozen=True, slots=True, eq=False)
class WaymoFrames:
    """The frames of an index of Waymo segments; a `kd3d.data.FrameSource`.

    Args:
        index: which frames, and where they lie.
        verify: check the records' checksums.
    """

    index: FrameIndex
    verify: bool = True

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of Waymo's classes."""
        return tuple(CLASSES)

    @property
    def root(self) -> str:
        """The dataset's folder."""
        return str(self.index.root)

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
        raw = decode_raw_labels(self.index.read(frame, verify=self.verify), self.name(frame))
        return f"{raw.context_name}/{raw.timestamp_micros}"

    def read(self, frame: int) -> Scan:
        """Read and decode one record.

        Raises:
            RecordError: if the record is damaged.
        """
        found = decode_frame(self.index.read(frame, verify=self.verify), self.name(frame))
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
