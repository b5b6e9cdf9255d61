"""The test split of data modules, and validation on a subset while training."""

import json

import lightning as L
import numpy as np
import pytest
import torch

from kd3d.data import FolderDataModule, FrameDataModule, WaymoDataModule
from kd3d.errors import ConfigError, DatasetError

FAST = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Listener(L.LightningModule):
    """Remembers which frames came by, by what they were for."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated, self.tested = [], [], []

    def training_step(self, batch, _):
        self.trained += batch.frame_ids
        return self.weight * 0

    def validation_step(self, batch, _):
        self.validated += batch.frame_ids

    def test_step(self, batch, batch_idx):
        self.tested += batch.frame_ids

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def times(segment, numbers):
    return [f"{segment}/{1_000_000 + 100_000 * number}" for number in numbers]


@pytest.fixture
def with_test(waymo_root, write, tmp_path):
    """The tiny dataset with a test split of three frames."""
    root = tmp_path / "waymo"
    root.mkdir()
    for split in ("training", "validation"):
        (root / split).symlink_to(waymo_root / split)
    write(root / "test" / "segment-t.tfrecord", 3)
    return root


def test_a_test_reads_the_test_frames_and_no_others(with_test):
    data = WaymoDataModule(with_test, test="test/*.tfrecord", batch_size=2)
    module, trainer = Listener(), L.Trainer(**FAST)
    trainer.test(module, datamodule=data, verbose=False)
    assert module.tested == times("segment-t", range(3))
    assert module.validated == []
    trainer.validate(module, datamodule=data, verbose=False)
    assert module.validated == times("segment-c", range(5))
    assert module.tested == times("segment-t", range(3))


def test_test_frames_are_thinned_and_batched_like_validation_frames(with_test):
    data = WaymoDataModule(
        with_test, test="test/*.tfrecord", val_frame_interval=2, val_batch_size=1, augmentation=None
    )
    assert [batch.frame_ids for batch in data.test_dataloader()] == [
        (name,) for name in times("segment-t", (0, 2))
    ]


def test_a_test_needs_no_other_split(with_test):
    for split in ("training", "validation"):
        (with_test / split).unlink()
    module = Listener()
    data = WaymoDataModule(with_test, test="test/*.tfrecord")
    L.Trainer(**FAST).test(module, datamodule=data, verbose=False)
    assert len(module.tested) == 3


def test_no_test_split_is_an_error_that_names_the_option(waymo_root):
    with pytest.raises(DatasetError, match=r"data\.test: there is no test split.*data\.test=test"):
        L.Trainer(**FAST).test(Listener(), datamodule=WaymoDataModule(waymo_root), verbose=False)
    with pytest.raises(DatasetError, match="there are no test frames"):
        FrameDataModule().test_frames  # noqa: B018 - a property that reads
    data = WaymoDataModule(waymo_root, test="elsewhere/*.tfrecord")
    with pytest.raises(DatasetError, match="no file matches the pattern 'elsewhere/"):
        data.test_dataloader()


def test_fewer_test_frames_than_processes(with_test):
    data = WaymoDataModule(with_test, test="test/*.tfrecord")
    data._share = lambda: (0, 4)
    with pytest.raises(ConfigError, match=r"data\.test: 3 test frames are too few for 4"):
        data.test_dataloader()


def test_a_folder_has_a_test_split_too(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": ["Car"]}))
    for split, count in (("train", 2), ("val", 2), ("held_out", 3)):
        for number in range(count):
            path = tmp_path / split / "drive" / f"{number}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                path,
                points=np.random.default_rng(number).random((20, 4), np.float32),
                boxes=np.array([[0.5, 0.5, 0.5, 1, 1, 1, 0]], np.float32),
                labels=np.zeros(1, np.int64),
            )
    module = Listener()
    data = FolderDataModule(tmp_path, test="held_out", batch_size=2)
    L.Trainer(**FAST).test(module, datamodule=data, verbose=False)
    assert len(module.tested) == 3
    assert all("held_out" in name for name in module.tested)
    with pytest.raises(DatasetError, match=r"data\.test: there is no test split"):
        FolderDataModule(tmp_path).open_source("test")


def fitted(data, **options):
    module = Listener()
    trainer = L.Trainer(**{"max_epochs": 1, **FAST, **options})
    trainer.fit(module, datamodule=data)
    return module, trainer


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fit_validates_on_an_even_subset_and_everything_else_on_all(waymo_root, workers):
    data = WaymoDataModule(waymo_root, val_frames=2, batch_size=3, num_workers=workers)
    module, trainer = fitted(data, max_epochs=2)
    assert module.validated == times("segment-c", (0, 2)) * 2
    module.validated.clear()
    trainer.validate(module, datamodule=data, verbose=False)
    assert module.validated == times("segment-c", range(5))
    module.validated.clear()
    assert len(data.val_frames) == 5
    assert sum(len(batch) for batch in data.val_dataloader()) == 5


def test_the_subset_is_seen_every_so_many_steps(waymo_root):
    data = WaymoDataModule(waymo_root, val_frames=2, batch_size=2)
    module, _ = fitted(
        data,
        max_epochs=100,
        max_steps=9,
        check_val_every_n_epoch=None,
        val_check_interval=4,
    )
    assert module.validated == times("segment-c", (0, 2)) * 2
    assert len(module.trained) == 18


def test_the_subset_does_not_depend_on_seed_or_training(waymo_root):
    seen = [fitted(WaymoDataModule(waymo_root, val_frames=3, seed=seed))[0] for seed in (0, 1)]
    assert seen[0].validated == seen[1].validated == times("segment-c", (0, 1, 3))


def test_a_subset_is_of_the_frames_that_the_interval_leaves(waymo_root):
    data = WaymoDataModule(waymo_root, val_frames=2, val_frame_interval=2)
    assert fitted(data)[0].validated == times("segment-c", (0, 2))
    assert fitted(WaymoDataModule(waymo_root, val_frames=9))[0].validated == times(
        "segment-c", range(5)
    )


def test_a_subset_of_no_frame_is_refused(waymo_root):
    with pytest.raises(ConfigError, match=r"data\.val_frames: 0 is below 1"):
        WaymoDataModule(waymo_root, val_frames=0)
