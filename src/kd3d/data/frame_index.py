"""Where every frame of a dataset lies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.data.faults import BadRecord
from kd3d.errors import ConfigError, RecordError
from kd3d.storage import Stamp, is_remote, join
from kd3d.waymo import read_record, record_name, skim_record

__all__ = ["FrameIndex"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """The frames of a dataset in file order, with the place of each: 32 bytes per frame.

    Args:
        root: the dataset's folder, or its URL.
        files: the segment files, relative to `root`, sorted.
        stamps: what each file looked like when it was indexed.
        file_of: ``[N]`` int64, for each frame its file's place in `files`.
        numbers: ``[N]`` int64, the record's number in its file, from 0.
        offsets: ``[N]`` int64, of the record's first framing byte.
        lengths: ``[N]`` int64, bytes of the payload.
        faults: where scanning a file had to stop early.
    """

    root: str
    files: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    file_of: NDArray[np.int64]
    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    faults: tuple[BadRecord, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    def every(self, interval: int) -> "FrameIndex":
        """Keep every `interval`-th frame of each segment, from its first one.

        Raises:
            ConfigError: if `interval` is below 1.
        """
        if interval < 1:
            raise ConfigError(f"{interval} is below 1.", where="data.frame_interval")
        return self._take(np.flatnonzero(self.numbers % interval == 0))

    def spread(self, max_frames: int) -> "FrameIndex":
        """Keep at most `max_frames` frames, evenly spread over all of them.

        Raises:
            ConfigError: if `max_frames` is below 1.
        """
        if max_frames < 1:
            raise ConfigError(f"{max_frames} is below 1.", where="data.max_frames")
        if max_frames >= len(self):
            return self
        return self._take(np.arange(max_frames) * len(self) // max_frames)

    def file(self, frame: int) -> str:
        """Path or URL of a frame's segment file."""
        return join(self.root, self.files[self.file_of[frame]])

    def name(self, frame: int) -> str:
        """What messages call a frame: its file and record number."""
        return record_name(self.file(frame), int(self.numbers[frame]))

    def read(self, frame: int, *, verify: bool = True) -> bytes:
        """Read a frame's serialized record.

        Args:
            frame: from 0.
            verify: check the payload's checksum.

        Raises:
            DatasetError: if the file cannot be opened, or is remote and not what was indexed.
            RecordError: if the record is truncated, corrupt, or no longer where it was.
        """
        try:
            return read_record(
                self.file(frame),
                int(self.offsets[frame]),
                int(self.lengths[frame]),
                verify,
                number=int(self.numbers[frame]),
                expected=self.stamps[self.file_of[frame]],
            )
        except OSError as error:
            raise self._unreadable(frame, error) from error

    def skim(self, frame: int) -> bytes:
        """Read a frame's context, time, pose and labels, without its sensors and its checksum.

        Args:
            frame: from 0.

        Raises:
            DatasetError: if the file cannot be opened, or is remote and not what was indexed.
            RecordError: if there is no record where it was.
        """
        try:
            return skim_record(
                self.file(frame),
                int(self.offsets[frame]),
                int(self.lengths[frame]),
                number=int(self.numbers[frame]),
                expected=self.stamps[self.file_of[frame]],
            )
        except OSError as error:
            raise self._unreadable(frame, error) from error

    def size(self, frame: int) -> int:
        """Bytes of a frame's record."""
        return int(self.lengths[frame])

    @property
    def is_remote(self) -> bool:
        """Whether some file lies behind a network."""
        return any(is_remote(join(self.root, name)) for name in self.files)

    def _unreadable(self, frame: int, error: OSError) -> RecordError:
        return RecordError(
            f"cannot be read ({error.strerror or error}).",
            where=self.name(frame),
            hint="Check the disk.",
        )

    def _take(self, chosen: NDArray[np.int64]) -> "FrameIndex":
        return FrameIndex(
            self.root,
            self.files,
            self.stamps,
            self.file_of[chosen],
            self.numbers[chosen],
            self.offsets[chosen],
            self.lengths[chosen],
            self.faults,
        )
