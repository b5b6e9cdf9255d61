"""The Waymo dataset for a Lightning `Trainer`."""

import math
import os
from collections.abc import Sequence

import lightning as L
import torch

from kd3d.data.augment import WorldAugmentation
from kd3d.data.dataset import FrameDataset
from kd3d.data.index import FrameIndex, OnError, build_index
from kd3d.data.loading import CheckedFrames, FrameLoader, SkipLog
from kd3d.data.samplers import TrainingSampler, ValidationSampler
from kd3d.data.selection import Range, Selection
from kd3d.errors import ConfigError, DatasetError
from kd3d.structures import PointBatch
from kd3d.waymo import CLASSES

__all__ = ["WaymoDataModule"]

_CENTERPOINT = WorldAugmentation()


class WaymoDataModule(L.LightningDataModule):
    """Reads Waymo v1 segments in place, straight from the tfrecord files.

    The first use indexes the files (see `build_index`); nothing is converted and nothing is written
    beside the data. Batches are `PointBatch`: raw points, boxes, labels, frame ids. Training sees
    every frame once per epoch, in an order and with augmentations that depend on `seed` and epoch
    only; validation sees every frame exactly once over all processes.

    Args:
        root: the dataset's folder.
        train: pattern of the training segments below `root`.
        val: pattern of the validation segments below `root`.
        frame_interval: train on every n-th frame of each segment (5 is the 20 % of SparseKD).
        val_frame_interval: validate on every n-th frame of each segment.
        max_frames: train on at most so many frames, evenly spread.
        val_max_frames: validate on at most so many frames, evenly spread.
        batch_size: training frames per step and process.
        val_batch_size: validation frames per step and process; `batch_size` by default.
        classes: which of Waymo's classes to detect; a box's label is its place here.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres: keep the points within
            its x and y, and train on boxes with a corner inside.
        object_range: same form: leave out objects whose centre is outside, in training and in
            validation.
        augmentation: what to draw changes of the training scenes from; none with ``None``.
        seed: of order and augmentation in training. Validation does not depend on it.
        on_error: a damaged record stops the run (``"raise"``), or is left out, counted in
            `skipped_frames` and told once per file (``"skip"``).
        verify: check the records' checksums.
        num_workers: worker processes per loader; 0 reads in the main process.
        pin_memory: page-locked memory for faster copies to the device; if CUDA is there by default.
        multiprocessing_context: how workers start: ``"fork"``, ``"spawn"``, ``"forkserver"``.
        cache_dir: where the index is kept; ``$KD3D_CACHE`` or ``~/.cache/kd3d`` by default.

    Raises:
        ConfigError: if an argument cannot work.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: str = "training/*.tfrecord",
        val: str = "validation/*.tfrecord",
        *,
        frame_interval: int = 1,
        val_frame_interval: int = 1,
        max_frames: int | None = None,
        val_max_frames: int | None = None,
        batch_size: int = 2,
        val_batch_size: int | None = None,
        classes: Sequence[str] = CLASSES,
        point_range: Range | None = None,
        object_range: Range | None = None,
        augmentation: WorldAugmentation | None = _CENTERPOINT,
        seed: int = 0,
        on_error: OnError = "raise",
        verify: bool = True,
        num_workers: int = 0,
        pin_memory: bool | None = None,
        multiprocessing_context: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.train = train
        self.val = val
        self.frame_interval = _at_least(1, frame_interval, "frame_interval")
        self.val_frame_interval = _at_least(1, val_frame_interval, "val_frame_interval")
        self.max_frames = _limit(max_frames, "max_frames")
        self.val_max_frames = _limit(val_max_frames, "val_max_frames")
        self.batch_size = _at_least(1, batch_size, "batch_size")
        self.val_batch_size = _limit(val_batch_size, "val_batch_size") or batch_size
        self.selection = Selection(tuple(classes), point_range, object_range)
        self.augmentation = augmentation
        self.seed = seed
        self.on_error = _known_policy(on_error)
        self.verify = verify
        self.num_workers = _at_least(0, num_workers, "num_workers")
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.multiprocessing_context = multiprocessing_context
        self.cache_dir = cache_dir
        self._skips = SkipLog()
        self._train_frames: FrameDataset | None = None
        self._val_frames: FrameDataset | None = None

    @property
    def train_frames(self) -> FrameDataset:
        """The training frames, indexed on first use.

        Raises:
            DatasetError: if there is no root, or nothing in it matches `train`.
            RecordError: if a file is damaged and `on_error` is ``"raise"``.
        """
        if self._train_frames is None:
            index = self._index(self.train).every(self.frame_interval)
            self._train_frames = FrameDataset(
                index if self.max_frames is None else index.spread(self.max_frames),
                self.selection,
                training=True,
                augmentation=self.augmentation,
                seed=self.seed,
                verify=self.verify,
            )
        return self._train_frames

    @property
    def val_frames(self) -> FrameDataset:
        """The validation frames, indexed on first use; raises as `train_frames` does."""
        if self._val_frames is None:
            index = self._index(self.val).every(self.val_frame_interval)
            self._val_frames = FrameDataset(
                index if self.val_max_frames is None else index.spread(self.val_max_frames),
                self.selection,
                verify=self.verify,
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

    def prepare_data(self) -> None:
        """Index the files in one process, so that the others find the index in the cache."""
        fitting = self.trainer is None or self.trainer.state.fn == "fit"
        for pattern in (self.train, self.val) if fitting else (self.val,):
            self._index(pattern)

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
        )
        return self._loader(self.train_frames, sampler, self.batch_size)

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
        """Copy a batch to a device, asynchronously where its memory allows that."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def _index(self, pattern: str) -> FrameIndex:
        if self.root is None:
            raise DatasetError(
                "there is no dataset root.",
                where="data.root",
                hint="Give the folder that holds training/ and validation/ of the Waymo Open"
                " Dataset (v1 tfrecords), or make such a folder with: kd3d-data simulate out=DIR",
            )
        index = build_index(self.root, pattern, cache_dir=self.cache_dir, on_error=self.on_error)
        self._skips.add(index.faults)
        return index

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
            CheckedFrames(frames, self.on_error),
            skips=self._skips,
            sampler=sampler,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=working,
            multiprocessing_context=self.multiprocessing_context if working else None,
            pin_memory=self.pin_memory,
            # Its own generator, so that reading data leaves torch's global random state alone.
            generator=torch.Generator(),
        )


def _at_least(lowest: int, value: int, option: str) -> int:
    if value < lowest:
        raise ConfigError(f"{value} is below {lowest}.", where=f"data.{option}")
    return value


def _limit(value: int | None, option: str) -> int | None:
    return None if value is None else _at_least(1, value, option)


def _known_policy(on_error: OnError) -> OnError:
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"{on_error!r} is neither 'raise' nor 'skip'.", where="data.on_error")
    return on_error
