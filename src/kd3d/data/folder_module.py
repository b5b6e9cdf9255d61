"""A folder of one's own scans for a Lightning `Trainer`."""

import os
from collections.abc import Sequence
from typing import Any

from kd3d.data.folder_frames import FolderFrames
from kd3d.data.frame_module import FrameDataModule
from kd3d.data.source import FrameSource
from kd3d.data.splits import Split, no_test_split
from kd3d.errors import DatasetError

__all__ = ["FolderDataModule"]


class FolderDataModule(FrameDataModule):
    """Reads a folder of npz or parquet scans; see `kd3d.data.FolderFrames` for what they hold.

    What else it does, and the arguments not listed here (frames, batches, ranges, augmentation,
    order, workers), are those of `kd3d.data.FrameDataModule`.

    Args:
        root: the dataset's folder.
        train: its folder of training scans, in any sub-folders; or a ``.txt`` list of names.
        val: the same for validation.
        test: the same for ``trainer.test``; None where there is none.
        classes: which of the dataset's classes to detect; a box's label is its place here. Without
            a ``dataset.json`` in the root, the names of all classes in the order of label ids.
        options: of `kd3d.data.FrameDataModule`. A segment is a folder of scans.

    Raises:
        ConfigError: if an argument cannot work.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: str = "train",
        val: str = "val",
        test: str | None = None,
        *,
        classes: Sequence[str] | None = None,
        **options: Any,  # noqa: ANN401 - typed in FrameDataModule
    ) -> None:
        super().__init__(classes=classes, **options)
        self.root = root
        self.train = train
        self.val = val
        self.test = test

    def open_source(self, split: Split) -> FrameSource:
        """List the scans of a split.

        Raises:
            ConfigError: if the classes are not known.
            DatasetError: if there is no root, or no scan in it.
        """
        if self.root is None:
            raise DatasetError(
                "there is no dataset root.",
                where="data.root",
                hint="Give the folder of your scans, with train/ and val/.",
            )
        pattern = {"train": self.train, "val": self.val, "test": self.test}[split]
        if pattern is None:
            raise no_test_split()
        return FolderFrames.open(self.root, self.selection.classes, pattern)
