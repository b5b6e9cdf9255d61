"""The frames of any source for a Lightning `Trainer`."""

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch

from kd3d.data.augment import WorldAugmentation
from kd3d.data.checked_frames import CheckedFrames
from kd3d.data.chosen_frames import some_frames
from kd3d.data.dataset import DecodeOn, FrameDataset
from kd3d.data.fade import Fade
from kd3d.data.faults import OnError, known_policy
from kd3d.data.loading import FrameLoader, SkipLog
from kd3d.data.lookahead import lookahead_for
from kd3d.data.options import at_least, known_place, limit
from kd3d.data.orders import FrameOrder, Shuffle
from kd3d.data.paste import ObjectPaste
from kd3d.data.samplers import TrainingSampler, ValidationSampler
from kd3d.data.selection import Range, Selection
from kd3d.data.source import FrameSource
from kd3d.data.splits import SPLITS, Split, splits_of
from kd3d.data.sweeps import SweptFrames
from kd3d.errors import ConfigError, DatasetError
from kd3d.structures import PointBatch

__all__ = ["FrameDataModule"]

_CENTERPOINT = WorldAugmentation()


class FrameDataModule(L.LightningDataModule):
    """Batches of any `FrameSource`; `kd3d.WaymoDataModule` and `kd3d.FolderDataModule` are such.

    Batches are `PointBatch`: raw points, boxes, labels, frame ids. Training sees every frame once
    per epoch, in an order and with augmentations that depend on `seed` and epoch only; validation
    and test see every frame exactly once over all processes. A subclass overrides `open_source`.

    Args:
        train_source: the training frames.
        val_source: the validation frames.
        test_source: the frames of ``trainer.test``, for numbers that nothing was chosen by.
        frame_interval: train on every n-th frame of each segment.
        val_frame_interval: validate and test on every n-th frame of each segment.
        max_frames: train on at most so many frames, evenly spread.
        val_max_frames: validate on at most so many frames, evenly spread.
        val_frames: the same for the validations within ``trainer.fit`` alone: a short look at so
            many frames, always the same ones, while ``trainer.validate`` sees them all.
        batch_size: training frames per step and process.
        val_batch_size: validation and test frames per step and process; `batch_size` by default.
        classes: which of the source's classes to detect, all by default; a box's label is its place
            here.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres: keep the points within
            its x and y, and train on boxes with a corner inside.
        object_range: same form: leave out objects whose centre is outside, in training and in
            validation.
        augmentation: what to draw changes of the training scenes from; none with ``None``.
        paste: what to draw objects from that are pasted into the training scenes; none by default.
        fade_epochs: so many epochs at the end of a run go without what `fade` names. The trainer
            says where the end is: by its ``max_steps`` or ``max_epochs``, whichever comes first.
        fade: see `kd3d.data.Fade`; pasting, rotation and scaling by default.
        seed: of order and augmentation in training. Validation does not depend on it.
        shuffle: order of the training frames: ``"frames"`` draws from all of them; with
            ``"segment_blocks"`` reading stays sequential, for spinning disks and buckets (see
            `FrameOrder`); ``"none"`` is the order of the files.
        block_frames: for ``"segment_blocks"``: frames that are read one after the other.
        mixed_blocks: for ``"segment_blocks"``: how many such places are read side by side.
        replace_empty: train on another frame, drawn at random, instead of one that no box is left
            of (classes, ranges and augmentation considered), as the reference of SparseKD does;
            counted in `replaced_frames`. By default such frames are trained on: they are background
            and nothing else, and every frame is seen once per epoch.
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
        test_source: FrameSource | None = None,
        *,
        frame_interval: int = 1,
        val_frame_interval: int = 1,
        max_frames: int | None = None,
        val_max_frames: int | None = None,
        val_frames: int | None = None,
        batch_size: int = 2,
        val_batch_size: int | None = None,
        classes: Sequence[str] | None = None,
        point_range: Range | None = None,
        object_range: Range | None = None,
        augmentation: WorldAugmentation | None = _CENTERPOINT,
        paste: ObjectPaste | None = None,
        fade_epochs: int = 0,
        fade: Sequence[str] = ("paste", "rotation", "scaling"),
        seed: int = 0,
        shuffle: Shuffle = "frames",
        block_frames: int = 20,
        mixed_blocks: int = 32,
        replace_empty: bool = False,
        on_error: OnError = "raise",
        sweeps: int = 1,
        decode_on: DecodeOn = "worker",
        num_workers: int = 0,
        pin_memory: bool | None = None,
        multiprocessing_context: str | None = None,
    ) -> None:
        super().__init__()
        self._sources = {"train": train_source, "val": val_source, "test": test_source}
        self.frame_interval = at_least(1, frame_interval, "frame_interval")
        self.val_frame_interval = at_least(1, val_frame_interval, "val_frame_interval")
        self.max_frames = limit(max_frames, "max_frames")
        self.val_max_frames = limit(val_max_frames, "val_max_frames")
        self.fit_val_frames = limit(val_frames, "val_frames")
        self.batch_size = at_least(1, batch_size, "batch_size")
        self.val_batch_size = limit(val_batch_size, "val_batch_size") or batch_size
        self.selection = Selection(
            None if classes is None else tuple(classes), point_range, object_range
        )
        self.augmentation = augmentation
        self.paste = paste
        self.fade = Fade(fade_epochs, fade)
        self.seed = seed
        self.order = FrameOrder(shuffle, block_frames, mixed_blocks)
        self.replace_empty = replace_empty
        self.on_error = known_policy(on_error)
        self.sweeps = at_least(1, sweeps, "sweeps")
        self.decode_on = known_place(decode_on)
        self.num_workers = at_least(0, num_workers, "num_workers")
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.multiprocessing_context = multiprocessing_context
        self._skips = SkipLog()
        self._train_frames: FrameDataset | None = None
        self._val_frames: FrameDataset | None = None
        self._test_frames: FrameDataset | None = None
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
                f"there are no {SPLITS[split]} frames.",
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
                some_frames(source, interval=self.frame_interval, most=self.max_frames),
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
        """All validation frames, found on first use; raises as `train_frames` does."""
        if self._val_frames is None:
            self._val_frames = self._unchanged(
                some_frames(
                    self._swept("val"), interval=self.val_frame_interval, most=self.val_max_frames
                )
            )
        return self._val_frames

    @property
    def test_frames(self) -> FrameDataset:
        """The test frames, found on first use; raises as `train_frames` does."""
        if self._test_frames is None:
            self._test_frames = self._unchanged(
                some_frames(self._swept("test"), interval=self.val_frame_interval)
            )
        return self._test_frames

    @property
    def skipped_frames(self) -> int:
        """Different records that this process has left out so far (``on_error="skip"``)."""
        return self._skips.count

    @property
    def skipped_by_file(self) -> dict[str, int]:
        """Different records that this process has left out so far, by segment file."""
        return self._skips.by_file

    @property
    def replaced_frames(self) -> int:
        """Different frames that others stood in for so far (``replace_empty``)."""
        return len(self._skips.replaced)

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
        for split in splits_of("fit" if self.trainer is None else self.trainer.state.fn):
            self.open_source(split)

    def setup(self, stage: str) -> None:
        """Find the frames that a stage reads.

        Args:
            stage: ``"fit"`` reads training and validation frames, ``"test"`` test frames, every
                other one validation frames.
        """
        if stage == "fit":
            self._train_frames = self.train_frames
        if stage == "test":
            self._test_frames = self.test_frames
        else:
            self._val_frames = self.val_frames

    def train_dataloader(self) -> FrameLoader:
        """Batches of the process's share of the training frames.

        Raises:
            ConfigError: if pasting and augmentation are to fade, and the run has no such end.
        """
        rank, world_size = self._share()
        frames = self._fading_frames(world_size)
        sampler = TrainingSampler(
            frames,
            batch_size=self.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            order=self.order,
            segments=frames.source.segments,
        )
        self._train_loader = self._loader(frames, sampler, self.batch_size)
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
            "replaced": sorted(self._skips.replaced),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the next fit go on where the state was taken.

        Lightning gives the place to the loader too, but forgets it if something, such as a module
        that reads ``trainer.estimated_stepping_batches``, asked for the loader before.
        """
        if self._is_fitting():
            self._resume = state_dict["train"]
        self._skips.load_state_dict(state_dict["skipped"])
        self._skips.replaced.update(state_dict.get("replaced", ()))

    def val_dataloader(self) -> FrameLoader:
        """Batches of the process's share of the validation frames, within a fit of some of them.

        Raises:
            ConfigError: if there are fewer frames than processes.
        """
        frames = self.val_frames
        most = self.fit_val_frames if self._is_fitting() else None
        if most is not None and most < len(frames):
            frames = self._unchanged(some_frames(frames.source, most=most))
        return self._evaluation_loader(frames, "val")

    def test_dataloader(self) -> FrameLoader:
        """Batches of the process's share of the test frames.

        Raises:
            ConfigError: if there are fewer frames than processes.
        """
        return self._evaluation_loader(self.test_frames, "test")

    def transfer_batch_to_device(
        self, batch: PointBatch, device: torch.device, dataloader_idx: int
    ) -> PointBatch:
        """Copy a batch to a device, where the loader has not done so before."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def _swept(self, split: Split) -> FrameSource:
        source = self.open_source(split)
        return source if self.sweeps == 1 else SweptFrames(source, self.sweeps)

    def _fading_frames(self, world_size: int) -> FrameDataset:
        """Give the training frames of the trainer's run; its end is known now.

        The end of each change is an epoch, and epochs travel with the keys of frames, so neither
        workers that stay nor a resumed run can miss it.
        """
        if not self.fade.epochs or self.trainer is None:
            return self.train_frames
        last = self.fade.last_epoch(self.trainer, self.steps_per_epoch(world_size))
        return self.train_frames.changed_by(*self.fade.apply(self.augmentation, self.paste, last))

    def _unchanged(self, source: FrameSource) -> FrameDataset:
        """Read frames as they were recorded."""
        return FrameDataset(source, self.selection, decode_on=self.decode_on)

    def _is_fitting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == "fit"

    def _share(self) -> tuple[int, int]:
        """Return this process's rank and the number of processes that share the data."""
        spread = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return (spread["rank"], spread["num_replicas"]) if spread else (0, 1)

    def _evaluation_loader(self, frames: FrameDataset, split: Split) -> FrameLoader:
        rank, world_size = self._share()
        if len(frames) < world_size:
            raise ConfigError(
                f"{len(frames)} {SPLITS[split]} frames are too few for {world_size} processes.",
                where=f"data.{split}",
                hint="Use more frames or fewer devices.",
            )
        sampler = ValidationSampler(frames, rank=rank, world_size=world_size)
        return self._loader(frames, sampler, self.val_batch_size)

    def _loader(
        self,
        frames: FrameDataset,
        sampler: TrainingSampler | ValidationSampler,
        batch_size: int,
    ) -> FrameLoader:
        working = self.num_workers > 0
        return FrameLoader(
            CheckedFrames(
                frames,
                self.on_error,
                lookahead_for(frames.source, sampler.share, batch_size),
                replace_empty=self.replace_empty,
            ),
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
