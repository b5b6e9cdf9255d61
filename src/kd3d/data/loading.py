"""From worker to training loop: batches, and what went wrong on the way.

What a worker raises reaches the main process as a new exception with the worker's traceback as its
message. Here a `Kd3dError` travels as a value instead and is raised, as it was, where the batch
would have come out.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from kd3d.data.arrival import Arrival
from kd3d.data.checked_frames import CheckedFrames, LoadedFrame
from kd3d.data.dataset import pack_frames
from kd3d.data.device_decode import PixelBatch
from kd3d.data.faults import BadRecord
from kd3d.data.packed_batch import PackedBatch
from kd3d.data.stateful import ResumableLoader
from kd3d.errors import Kd3dError
from kd3d.structures import PointBatch

__all__ = ["FrameLoader", "LoadedBatch", "SkipLog"]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBatch:
    """What a worker hands over for a list of keys.

    Args:
        batch: the frames; nothing if all were left out.
        skipped: records left out on the way.
        replaced: ids of frames without boxes that others stand in for.
        error: what stops the run.
        device: where the batch is used; see `FrameLoader`.
        arrival: the batch on its way there, instead of `batch`.
    """

    batch: PackedBatch | PixelBatch | None
    skipped: tuple[BadRecord, ...] = ()
    replaced: tuple[str, ...] = ()
    error: Kd3dError | None = None
    device: torch.device | None = None
    arrival: Arrival | None = None

    def pin_memory(self) -> "LoadedBatch":
        """Copy the batch to page-locked memory, and from there to its device if that is a GPU.

        A loader with workers calls this in a thread of its own as soon as a batch is there.
        """
        if self.batch is None:
            return self
        pinned = self.batch.pin_memory()
        if self.device is None or self.device.type != "cuda":
            return replace(self, batch=pinned)
        try:
            return replace(self, batch=None, arrival=Arrival.start(pinned, self.device))
        except Kd3dError as error:
            return replace(self, batch=None, error=error)

    def take(self) -> PointBatch | None:
        """Return the batch with its points in place; nothing if all were left out.

        Raises:
            Kd3dError: what stops the run.
        """
        if self.error is not None:
            raise self.error
        if self.batch is None:
            return None if self.arrival is None else self.arrival.take()
        return Arrival.start(self.batch, self.device).take()


class SkipLog:
    """Counts the records that were left out, each once, and warns once per file."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        #: ids of the frames without boxes that others stood in for
        self.replaced: set[str] = set()

    @property
    def count(self) -> int:
        """Different records left out so far."""
        return sum(self.by_file.values())

    @property
    def by_file(self) -> dict[str, int]:
        """Different records left out so far, by file."""
        return {file: len(names) for file, names in self._names.items()}

    def add(self, records: Sequence[BadRecord]) -> None:
        """Note records that were left out."""
        for record in records:
            if record.file not in self._names:
                warnings.warn(
                    "left out, as on_error=skip asks (more of this file is only counted):"
                    f" {record.error}",
                    stacklevel=3,
                )
            self._names.setdefault(record.file, set()).add(record.name)

    def state_dict(self) -> dict[str, list[str]]:
        """Names of the records that were left out, by file."""
        return {file: sorted(names) for file, names in self._names.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[str]]) -> None:
        """Count what an interrupted run left out, too."""
        for file, names in state.items():
            self._names.setdefault(file, set()).update(names)


class FrameLoader(ResumableLoader[LoadedFrame]):
    """A `ResumableLoader` of `PointBatch` that raises what its workers met, as they met it.

    Args:
        dataset: the frames.
        skips: where to note records that were left out.
        device: where batches are used. If it is a CUDA device they are there when they are handed
            out, and with pinned memory the next ones are copied while one is used.
        options: of `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: CheckedFrames,
        *,
        skips: SkipLog,
        device: torch.device | None = None,
        **options: Any,  # noqa: ANN401 - DataLoader's own
    ) -> None:
        super().__init__(dataset, **{**options, "collate_fn": partial(_collate, device=device)})
        self.skips = skips

    def __iter__(self) -> Iterator[PointBatch]:
        # As a generator this starts the workers at the first batch. Lightning asks for the iterator
        # before it tells the sampler the epoch, and workers started then would read the wrong one
        # after a resume.
        for loaded in self.batches():
            self.skips.add(loaded.skipped)
            self.skips.replaced.update(loaded.replaced)
            try:
                batch = loaded.take()
            except Kd3dError:
                # Persistent workers end with their iterator: now, not at some later collection.
                self._iterator = None
                raise
            if batch is not None:
                yield batch


def _collate(frames: Sequence[LoadedFrame], device: torch.device | None) -> LoadedBatch:
    skipped = tuple(record for frame in frames for record in frame.skipped)
    replaced = tuple(frame.replaced for frame in frames if frame.replaced is not None)
    error = next((frame.error for frame in frames if frame.error is not None), None)
    samples = [frame.sample for frame in frames if frame.sample is not None]
    if error is not None or not samples:
        return LoadedBatch(None, skipped, replaced, error)
    try:
        return LoadedBatch(pack_frames(samples), skipped, replaced, device=device)
    except Kd3dError as mismatch:
        return LoadedBatch(None, skipped, replaced, mismatch)
