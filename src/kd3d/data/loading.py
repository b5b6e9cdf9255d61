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
from torch.utils.data import Dataset

from kd3d.data.arrival import Arrival
from kd3d.data.dataset import FrameDataset, FrameSample, collate_frames
from kd3d.data.device_decode import PixelBatch
from kd3d.data.faults import BadRecord, OnError
from kd3d.data.lookahead import Lookahead
from kd3d.data.samplers import FrameKey
from kd3d.data.stateful import ResumableLoader
from kd3d.errors import DatasetError, Kd3dError, RecordError
from kd3d.structures import PointBatch

__all__ = ["CheckedFrames", "FrameLoader", "LoadedBatch", "SkipLog"]

_MOST_IN_A_ROW = 1000
"""So many bad records one after the other are no accident (a Waymo segment has about 200)."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFrame:
    """What became of one key: a sample or nothing, records left out, and what stops the run."""

    sample: FrameSample | None
    skipped: tuple[BadRecord, ...] = ()
    error: Kd3dError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBatch:
    """What a worker hands over for a list of keys.

    Args:
        batch: the frames; nothing if all were left out.
        skipped: records left out on the way.
        error: what stops the run.
        device: where the batch is used; see `FrameLoader`.
        arrival: the batch on its way there, instead of `batch`.
    """

    batch: PointBatch | PixelBatch | None
    skipped: tuple[BadRecord, ...] = ()
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


class CheckedFrames(Dataset[LoadedFrame]):
    """A `FrameDataset` that returns its errors instead of raising them.

    Args:
        frames: the dataset.
        on_error: ``"raise"``: any error stops the run. ``"skip"``: a damaged record is left out; in
            training the next good one in file order stands in for it.
        lookahead: what to tell about each batch, where that is of use.
    """

    def __init__(
        self, frames: FrameDataset, on_error: OnError, lookahead: Lookahead | None = None
    ) -> None:
        self.frames = frames
        self.on_error = on_error
        self.lookahead = lookahead

    def __len__(self) -> int:
        return len(self.frames)

    def sample_frame_ids(self, count: int) -> tuple[str, ...]:
        """As `FrameDataset.sample_frame_ids`."""
        return self.frames.sample_frame_ids(count)

    def __getitems__(self, keys: Sequence[FrameKey | int]) -> list[LoadedFrame]:
        """Read the frames of a batch, which a loader asks for together."""
        if self.lookahead is not None:
            self.lookahead.announce(keys)
        return [self[key] for key in keys]

    def __getitem__(self, key: FrameKey | int) -> LoadedFrame:
        epoch, number = (0, key) if isinstance(key, int) else key
        attempts = min(len(self), _MOST_IN_A_ROW) if self.frames.training else 1
        skipped: list[BadRecord] = []
        for candidate in ((number + step) % len(self) for step in range(attempts)):
            try:
                return LoadedFrame(self.frames[epoch, candidate], tuple(skipped))
            except RecordError as error:
                if self.on_error == "raise":
                    return LoadedFrame(None, error=error)
                source = self.frames.source
                skipped.append(BadRecord(source.file(candidate), source.name(candidate), error))
            except Kd3dError as error:
                return LoadedFrame(None, error=error)
        return LoadedFrame(None, tuple(skipped), self._too_many(skipped))

    def _too_many(self, skipped: Sequence[BadRecord]) -> DatasetError | None:
        if not self.frames.training:
            return None
        return DatasetError(
            f"{len(skipped)} records in a row cannot be used; the last one: {skipped[-1].error}",
            where=self.frames.source.root,
            hint="Check the dataset: this is more than on_error=skip is for.",
        )


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
    error = next((frame.error for frame in frames if frame.error is not None), None)
    samples = [frame.sample for frame in frames if frame.sample is not None]
    if error is not None or not samples:
        return LoadedBatch(None, skipped, error)
    try:
        return LoadedBatch(collate_frames(samples), skipped, device=device)
    except Kd3dError as mismatch:
        return LoadedBatch(None, skipped, mismatch)
