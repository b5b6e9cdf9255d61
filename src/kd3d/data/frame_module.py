"""The frames of any source for a Lightning `Trainer`."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch

from kd3d.data.augment import WorldAugmentation
from kd3d.data.chosen_frames import ChosenFrames, choose_frames
from kd3d.data.dataset import DecodeOn, FrameDataset
from kd3d.data.faults import OnError, known_policy
from kd3d.data.loading import CheckedFrames, FrameLoader, SkipLog
from kd3d.data.lookahead import Lookahead, ReadsAhead
from kd3d.data.orders import FrameOrder, Shuffle
from kd3d.data.paste import ObjectPaste
from kd3d.data.samplers import TrainingSampler, ValidationSampler
from kd3d.data.selection import Range, Selection
from kd3d.data.source import FrameSource
from kd3d.data.sweeps import SweptFrames
from kd3d.errors import ConfigError, DatasetError
from kd3d.structures import PointBatch

__all__ = ["FrameDataModule", "Split"]

Split = Literal["train", "val"]

_CENTERPOINT = WorldAugmentation()


class FrameDataModule(L.LightningDataModule):
    """Batches of any `FrameSource`; `kd3d.WaymoDataModule` and `kd3d.FolderDataModule` are such.

    Batches are `PointBatch`: raw points, boxes, labels, frame ids. Training sees every frame once
    per epoch, in an order and with augmentations that depend on `seed` and epoch only; validation
    sees every frame exactly once over all processes. A subclass overrides `open_source`.

    Args:
        train_source: the training frames.
        val_source: the validation frames.
        frame_interval: train on every n-th frame of each segment.
        val_frame_interval: validate on every n-th frame of each segment.
        max_frames: train on at most so many frames, evenly spread.
        val_max_frames: validate on at most so many frames, evenly spread.
        batch_size: training frames per step and process.
        val_batch_size: validation frames per step and process; `batch_size` by default.
        classes: which of the source's classes to detect, all by default; a box's label is its place
            here.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres: keep the points within
            its x and y, and train on boxes with a corner inside.
        object_range: same form: leave out objects whose centre is outside, in training and in
            validation.
        augmentation: what to draw changes of the training scenes from; none with ``None``.
        paste: what to draw objects from that are pasted into the training scenes; none by default.
        seed: of order and augmentation in training. Validation does not depend on it.
        shuffle: order of the training frames: ``"frames"`` draws from all of them; with
            ``"segment_blocks"`` reading stays sequential, for spinning disks and buckets (see
            `FrameOrder`); ``"none"`` is the order of the files.
        block_frames: for ``"segment_blocks"``: frames that are read one after the other.
        mixed_blocks: for ``"segment_blocks"``: how many such places are read side by side.
        on_error: a damaged record stops the run (``"raise"``), or is left out, counted in
            `skipped_frames` and told once per file (``"skip"``).
        sweeps: how many recorded frames make one scan, the last ones up to it; from 2 on the points
            have their time as a last feature (see `SweptFrames`), and detectors need a
            ``point_features`` of one more.
        decode_on: where range images become points: ``"worker"``, or the ``"device"`` that trains,
            so that workers only inflate. Batches are the same, but for rounding.
        num_workers: worker processes per loader; 0 reads in the main process.
        pin_memory: page-locked memory for faster copies to the device; if CUDA is there by default.
        multiprocessing_context: how workers start: ``"fork"``, ``"spawn"``, ``"forkserver"``.

    Raises:
        ConfigError: if an argument cannot work.
    """

    def __init__(
        self,
        train_source: FrameSource | None = None,
        val_source: FrameSource | None = None,
        *,
        frame_interval: int = 1,
        val_frame_interval: int = 1,
        max_frames: int | None = None,
        val_max_frames: int | None = None,
        batch_size: int = 2,
        val_batch_size: int | None = None,
        classes: Sequence[str] | None = None,
        point_range: Range | None = None,
        object_range: Range | None = None,
        augmentation: WorldAugmentation | None = _CENTERPOINT,
        paste: ObjectPaste | None = None,
        seed: int = 0,
        shuffle: Shuffle = "frames",
        block_frames: int = 20,
        mixed_blocks: int = 32,
        on_error: OnError = "raise",
        sweeps: int = 1,
        decode_on: DecodeOn = "worker",
        num_workers: int = 0,
        pin_memory: bool | None = None,
        multiprocessing_context: str | None = None,
    ) -> None:
        super().__init__()
        self._sources = {"train": train_source, "val": val_source}
        self.frame_interval = _at_least(1, frame_interval, "frame_interval")
        self.val_frame_interval = _at_least(1, val_frame_interval, "val_frame_interval")
        self.max_frames = _limit(max_frames, "max_frames")
        self.val_max_frames = _limit(val_max_frames, "val_max_frames")
        self.batch_size = _at_least(1, batch_size, "batch_size")
        self.val_batch_size = _limit(val_batch_size, "val_batch_size") or batch_size
        self.selection = Selection(
            None if classes is None else tuple(classes), point_range, object_range
        )
        self.augmentation = augmentation
        self.paste = paste
        self.seed = seed
        self.order = FrameOrder(shuffle, block_frames, mixed_blocks)
        self.on_error = known_policy(on_error)
        self.sweeps = _at_least(1, sweeps, "sweeps")
        self.decode_on = _known_place(decode_on)
        self.num_workers = _at_least(0, num_workers, "num_workers")
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.multiprocessing_context = multiprocessing_context
        self._skips = SkipLog()
        self._train_frames: FrameDataset | None = None
        self._val_frames: FrameDataset | None = None
        self._train_loader: FrameLoader | None = None
        self._resume: dict[str, Any] | None = None

    def open_source(self, split: Split) -> FrameSource:
        """Find the frames of a split, without reading them.

        Raises:
            DatasetError: if there are none.
        """
        source = self._sources[split]
        if source is None:
            raise DatasetError(
                f"there are no {'training' if split == 'train' else 'validation'} frames.",
                where=f"{type(self).__name__}.{split}_source",
                hint="Give a FrameSource.",
            )
        return source

    @property
    def train_frames(self) -> FrameDataset:
        """The training frames, found on first use.

        Raises:
            DatasetError: if there are none.
            RecordError: if a file is damaged and `on_error` is ``"raise"``.
            ConfigError: if the objects to paste do not fit the frames.
        """
        if self._train_frames is None:
            source = self._swept("train")
            if self.paste is not None:
                self.paste.check(source.classes)
            self._train_frames = FrameDataset(
                _chosen(source, self.frame_interval, self.max_frames),
                self.selection,
                training=True,
                augmentation=self.augmentation,
                paste=self.paste,
                seed=self.seed,
                decode_on=self.decode_on,
            )
        return self._train_frames

    @property
    def val_frames(self) -> FrameDataset:
        """The validation frames, found on first use; raises as `train_frames` does."""
        if self._val_frames is None:
            source = self._swept("val")
            self._val_frames = FrameDataset(
                _chosen(source, self.val_frame_interval, self.val_max_frames),
                self.selection,
                decode_on=self.decode_on,
            )
        return self._val_frames

    @property
    def skipped_frames(self) -> int:
        """Different records that this process has left out so far (``on_error="skip"``)."""
        return self._skips.count

    @property
    def skipped_by_file(self) -> dict[str, int]:
        """Different records that this process has left out so far, by segment file."""
        return self._skips.by_file

    def steps_per_epoch(self, world_size: int = 1) -> int:
        """Training batches per process and epoch, counted without a trainer.

        Args:
            world_size: number of training processes.
        """
        return math.ceil(len(self.train_frames) / (self.batch_size * world_size))

    def repeated_frames(self, world_size: int = 1) -> int:
        """Frames that an epoch sees twice, because its last global batch is filled up.

        Args:
            world_size: number of training processes.
        """
        steps = self.steps_per_epoch(world_size)
        return steps * self.batch_size * world_size - len(self.train_frames)

    def prepare_data(self) -> None:
        """Find the files in one process, so that the others find what it cached."""
        fitting = self.trainer is None or self.trainer.state.fn == "fit"
        splits: tuple[Split, ...] = ("train", "val") if fitting else ("val",)
        for split in splits:
            self.open_source(split)

    def setup(self, stage: str) -> None:
        """Find the frames that a stage reads.

        Args:
            stage: ``"fit"`` reads training and validation frames, every other one the latter.
        """
        if stage == "fit":
            self._train_frames = self.train_frames
        self._val_frames = self.val_frames

    def train_dataloader(self) -> FrameLoader:
        """Batches of the process's share of the training frames."""
        rank, world_size = self._share()
        sampler = TrainingSampler(
            self.train_frames,
            batch_size=self.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            order=self.order,
            segments=self.train_frames.source.segments,
        )
        self._train_loader = self._loader(self.train_frames, sampler, self.batch_size)
        if self._resume is not None:
            self._train_loader.load_state_dict(self._resume)
            self._resume = None
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """Tell the place in the epoch, and which records were left out."""
        loader = self._train_loader
        return {
            "train": None if loader is None else loader.state_dict(),
            "skipped": self._skips.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the next fit go on where the state was taken.

        Lightning gives the place to the loader too, but forgets it if something, such as a module
        that reads ``trainer.estimated_stepping_batches``, asked for the loader before.
        """
        if self.trainer is not None and self.trainer.state.fn == "fit":
            self._resume = state_dict["train"]
        self._skips.load_state_dict(state_dict["skipped"])

    def val_dataloader(self) -> FrameLoader:
        """Batches of the process's share of the validation frames.

        Raises:
            ConfigError: if there are fewer frames than processes.
        """
        rank, world_size = self._share()
        if len(self.val_frames) < world_size:
            raise ConfigError(
                f"{len(self.val_frames)} validation frames are too few for {world_size} processes.",
                where="data.val",
                hint="Validate on more frames or with fewer devices.",
            )
        sampler = ValidationSampler(self.val_frames, rank=rank, world_size=world_size)
        return self._loader(self.val_frames, sampler, self.val_batch_size)

    def transfer_batch_to_device(
        self, batch: PointBatch, device: torch.device, dataloader_idx: int
    ) -> PointBatch:
        """Copy a batch to a device, where the loader has not done so before."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def _swept(self, split: Split) -> FrameSource:
        source = self.open_source(split)
        return source if self.sweeps == 1 else SweptFrames(source, self.sweeps)

    def _share(self) -> tuple[int, int]:
        """Return this process's rank and the number of processes that share the data."""
        spread = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return (spread["rank"], spread["num_replicas"]) if spread else (0, 1)

    def _loader(
        self,
        frames: FrameDataset,
        sampler: TrainingSampler | ValidationSampler,
        batch_size: int,
    ) -> FrameLoader:
        working = self.num_workers > 0
        return FrameLoader(
            CheckedFrames(frames, self.on_error, _lookahead(frames, sampler, batch_size)),
            skips=self._skips,
            sampler=sampler,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=working,
            multiprocessing_context=self.multiprocessing_context if working else None,
            pin_memory=self.pin_memory,
            device=None if self.trainer is None else self.trainer.strategy.root_device,
            # Its own generator, so that reading data leaves torch's global random state alone.
            generator=torch.Generator(),
        )


def _lookahead(
    frames: FrameDataset, sampler: TrainingSampler | ValidationSampler, batch_size: int
) -> Lookahead | None:
    source = frames.source
    if not (isinstance(source, ReadsAhead) and source.reads_ahead):
        return None
    return Lookahead(source, sampler.share, batch_size=batch_size, num_frames=len(frames))


def _chosen(source: FrameSource, interval: int, most: int | None) -> FrameSource:
    chosen = choose_frames(source.segments, interval=interval, most=most)
    return source if len(chosen) == len(source) else ChosenFrames(source, chosen)


def _known_place(decode_on: DecodeOn) -> DecodeOn:
    if decode_on not in ("worker", "device"):
        raise ConfigError(
            f"{decode_on!r} is no place to decode on.",
            where="data.decode_on",
            hint="Say worker or device.",
        )
    return decode_on


def _at_least(lowest: int, value: int, option: str) -> int:
    if value < lowest:
        raise ConfigError(f"{value} is below {lowest}.", where=f"data.{option}")
    return value


def _limit(value: int | None, option: str) -> int | None:
    return None if value is None else _at_least(1, value, option)
