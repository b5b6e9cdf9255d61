"""The Waymo dataset for a Lightning `Trainer`."""

import os
from collections.abc import Sequence
from typing import Any

from kd3d.data.frame_index import FrameIndex
from kd3d.data.frame_module import FrameDataModule
from kd3d.data.index import build_index
from kd3d.data.source import FrameSource
from kd3d.data.splits import Split, no_test_split
from kd3d.data.waymo_frames import WaymoFrames
from kd3d.errors import DatasetError
from kd3d.waymo import CLASSES

__all__ = ["WaymoDataModule"]


class WaymoDataModule(FrameDataModule):
    """Reads Waymo v1 segments in place, straight from the tfrecord files.

    The first use indexes the files (see `build_index`); nothing is converted and nothing is written
    beside the data. What else it does, and the arguments not listed here (frames, batches, classes,
    ranges, augmentation, order, workers), are those of `kd3d.data.FrameDataModule`.

    Args:
        root: the dataset's folder, or any URL that fsspec opens (``gs://``, ``s3://``, ``http://``):
            frames are then read by byte ranges, with retries, and a batch ahead in each worker.
        train: pattern of the training segments below `root`; or a manifest, or several of these,
            as `kd3d.storage.list_files` says.
        val: the same for the validation segments.
        test: the same for segments of ``trainer.test``, which need labels too; None where there are
            none.
        classes: which of Waymo's classes to detect; a box's label is its place here.
        verify: check the records' checksums.
        cache_dir: where the index is kept; ``$KD3D_CACHE`` or ``~/.cache/kd3d`` by default.
        options: of `kd3d.data.FrameDataModule`. A ``frame_interval`` of 5 is the 20 % of SparseKD.

    Raises:
        ConfigError: if an argument cannot work.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: str | Sequence[str] = "training/*.tfrecord",
        val: str | Sequence[str] = "validation/*.tfrecord",
        test: str | Sequence[str] | None = None,
        *,
        classes: Sequence[str] = CLASSES,
        verify: bool = True,
        cache_dir: str | os.PathLike[str] | None = None,
        **options: Any,  # noqa: ANN401 - typed in FrameDataModule
    ) -> None:
        super().__init__(classes=classes, **options)
        self.selection.choose(CLASSES)
        self.root = root
        self.train = train
        self.val = val
        self.test = test
        self.verify = verify
        self.cache_dir = cache_dir

    def open_source(self, split: Split) -> FrameSource:
        """Index the segments of a split, or read their index from the cache.

        Raises:
            DatasetError: if there is no root, or nothing in it matches the pattern.
            RecordError: if a file is damaged and `on_error` is ``"raise"``.
        """
        pattern = {"train": self.train, "val": self.val, "test": self.test}[split]
        if pattern is None:
            raise no_test_split()
        return WaymoFrames(self._index(pattern), self.verify)

    def _index(self, pattern: str | Sequence[str]) -> FrameIndex:
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
