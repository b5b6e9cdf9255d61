import pickle
import shutil
from collections import Counter

import lightning as L
import pytest
import torch

from kd3d.data import PointBatch, WaymoDataModule
from kd3d.errors import ConfigError, DatasetError, RecordError

FAST = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Listener(L.LightningModule):
    """Learns nothing and remembers which frames came by, with the sum of their points."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated = [], []

    def training_step(self, batch, _):
        self.trained.append((self.current_epoch, *content(batch)))
        return self.weight * batch.points.sum()

    def validation_step(self, batch, _):
        self.validated.append((self.current_epoch, *content(batch)))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def content(batch):
    assert isinstance(batch, PointBatch)
    return batch.frame_ids, batch.points.double().sum().item(), batch.boxes.double().sum().item()


def fitted(data, *, epochs=2, checkpoint=None, **options):
    module = Listener()
    trainer = L.Trainer(max_epochs=epochs, **{**FAST, **options})
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return module, trainer


@pytest.fixture
def root(waymo_root, tmp_path):
    return shutil.copytree(waymo_root, tmp_path / "waymo")


def test_batches_are_point_batches(waymo_root):
    data = WaymoDataModule(waymo_root, batch_size=3, val_batch_size=4)
    training, validation = list(data.train_dataloader()), list(data.val_dataloader())
    assert [len(batch) for batch in training] == [3, 3, 3, 3]
    assert [len(batch) for batch in validation] == [4, 1]
    assert training[0].points.dtype == torch.float32
    assert Counter(i for batch in training for i in batch.frame_ids).most_common(1)[0][1] == 1


@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 1), (5, 1), (12, 1), (20, 1), (2, 4)])
def test_steps_per_epoch_is_the_length_of_the_loader(waymo_root, batch_size, world_size):
    data = WaymoDataModule(waymo_root, batch_size=batch_size)
    data._share = lambda: (world_size - 1, world_size)
    assert data.steps_per_epoch(world_size) == len(data.train_dataloader())
    assert data.steps_per_epoch(world_size) == len(list(data.train_dataloader()))


def test_intervals_and_limits_choose_frames(waymo_root):
    data = WaymoDataModule(waymo_root, frame_interval=3, val_frame_interval=2)
    assert (len(data.train_frames), len(data.val_frames)) == (2 + 3, 3)
    assert len(WaymoDataModule(waymo_root, val_max_frames=2).val_frames) == 2
    assert len(WaymoDataModule(waymo_root, max_frames=7).train_frames) == 7


@pytest.mark.parametrize(
    "workers",
    [
        {"num_workers": 2, "multiprocessing_context": "fork"},
        {"num_workers": 1, "multiprocessing_context": "spawn"},
    ],
)
def test_epochs_do_not_depend_on_workers(waymo_root, workers):
    alone, _ = fitted(WaymoDataModule(waymo_root, batch_size=5))
    helped, _ = fitted(WaymoDataModule(waymo_root, batch_size=5, **workers))
    assert helped.trained == alone.trained
    assert helped.validated == alone.validated
    first, second = alone.trained[:3], alone.trained[3:]
    assert [entry[0] for entry in alone.trained] == [0, 0, 0, 1, 1, 1]
    assert [entry[1] for entry in first] != [entry[1] for entry in second]
    assert alone.validated[0][1:] == alone.validated[len(alone.validated) // 2][1:]


def test_seed_changes_training_but_not_validation(waymo_root):
    data = [WaymoDataModule(waymo_root, batch_size=4, seed=seed) for seed in (0, 1)]
    one, two = (fitted(each, epochs=1)[0] for each in data)
    assert [entry[1] for entry in one.trained] != [entry[1] for entry in two.trained]
    assert data[0].train_frames[0].transform != data[1].train_frames[0].transform
    assert one.validated == two.validated


@pytest.mark.parametrize("num_workers", [0, 1])
def test_resumed_run_reads_the_epochs_it_missed(waymo_root, tmp_path, num_workers):
    def data():
        return WaymoDataModule(waymo_root, batch_size=4, num_workers=num_workers)

    whole, _ = fitted(data(), epochs=4)
    _, trainer = fitted(data(), epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    rest, _ = fitted(data(), epochs=4, checkpoint=tmp_path / "half.ckpt")
    assert [entry[0] for entry in rest.trained] == [2] * 3 + [3] * 3
    assert rest.trained == whole.trained[6:]


def test_reading_leaves_the_global_random_state_alone(waymo_root):
    data = WaymoDataModule(waymo_root)
    before = torch.random.get_rng_state()
    list(data.train_dataloader())
    list(data.val_dataloader())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_lightning_may_replace_the_sampler(waymo_root):
    module, _ = fitted(WaymoDataModule(waymo_root, batch_size=2), overfit_batches=1)
    assert (
        module.trained[0][1] == module.trained[1][1] == ("segment-a/1000000", "segment-a/1100000")
    )


def test_validation_alone_needs_no_training_files(root):
    shutil.rmtree(root / "training")
    module = Listener()
    L.Trainer(**FAST).validate(module, datamodule=WaymoDataModule(root), verbose=False)
    assert len(module.validated) == 3
    with pytest.raises(DatasetError, match=r"no file matches the pattern 'training/\*.tfrecord'"):
        fitted(WaymoDataModule(root))


def test_missing_root_names_the_option():
    with pytest.raises(DatasetError, match=r"data.root: there is no dataset root. .*simulate"):
        WaymoDataModule().prepare_data()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("frame_interval", 0),
        ("val_frame_interval", -1),
        ("max_frames", 0),
        ("val_max_frames", 0),
        ("batch_size", 0),
        ("val_batch_size", 0),
        ("num_workers", -1),
        ("on_error", "ignore"),
        ("classes", ["Sign"]),
        ("object_range", [1, 2]),
    ],
)
def test_impossible_options_are_named_at_once(option, value):
    with pytest.raises(ConfigError, match=rf"^data.{option}: "):
        WaymoDataModule("nowhere", **{option: value})


def test_too_few_validation_frames_for_the_processes(waymo_root):
    data = WaymoDataModule(waymo_root, val_max_frames=2)
    data._share = lambda: (0, 3)
    with pytest.raises(ConfigError, match=r"2 validation frames are too few for 3 processes"):
        data.val_dataloader()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_record_arrives_as_it_was_raised(root, damage, num_workers):
    damage(root / "training" / "segment-b.tfrecord", 2)
    data = WaymoDataModule(root, batch_size=12, num_workers=num_workers)
    with pytest.raises(RecordError) as caught:
        list(data.train_dataloader())
    path = root / "training" / "segment-b.tfrecord"
    assert caught.value.where == f"{path}, record 2"
    assert str(caught.value).startswith(f"{path}, record 2: the checksum")
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipping_puts_the_next_frame_in_and_counts(root, damage, num_workers):
    for record in (2, 3, 6):
        damage(root / "training" / "segment-b.tfrecord", record)
    damage(root / "validation" / "segment-c.tfrecord", 0)
    data = WaymoDataModule(
        root, batch_size=3, val_batch_size=1, num_workers=num_workers, on_error="skip"
    )
    with pytest.warns(UserWarning, match="left out, as on_error=skip asks") as told:
        module, _ = fitted(data)
    seen = Counter(name for epoch, names, *_ in module.trained if epoch == 0 for name in names)
    stood_in = {"segment-b/1400000": 3, "segment-a/1000000": 2}
    assert sum(seen.values()) == 12
    assert {name: count for name, count in seen.items() if count > 1} == stood_in
    assert [names for epoch, names, *_ in module.validated if epoch == 0] == [
        (f"segment-c/1{number}00000",) for number in range(1, 5)
    ]
    assert sum("left out" in str(warning.message) for warning in told) == 2
    assert data.skipped_frames == 4
    assert sorted(data.skipped_by_file.values()) == [1, 3]


def test_skipping_counts_what_is_lost_to_truncation(root):
    path = root / "training" / "segment-b.tfrecord"
    path.write_bytes(path.read_bytes()[:-10])
    data = WaymoDataModule(root, on_error="skip")
    with pytest.warns(UserWarning, match="record 6: .* truncated"):
        assert len(data.train_frames) == 11
    assert data.skipped_by_file == {str(path): 1}


def test_skipping_gives_up_on_a_dataset_that_is_all_bad(tmp_path, write):
    write(tmp_path / "training" / "void.tfrecord", 3, ranges=0.0)
    data = WaymoDataModule(tmp_path, on_error="skip")
    with (
        pytest.warns(UserWarning, match="no points"),
        pytest.raises(
            DatasetError, match=r"3 records in a row cannot be used; the last one: .* has no points"
        ),
    ):
        next(iter(data.train_dataloader()))


def test_vanished_file_stops_the_run_even_when_skipping(root):
    data = WaymoDataModule(root, on_error="skip", num_workers=1)
    loader = data.train_dataloader()
    shutil.rmtree(root / "training")
    with pytest.raises(DatasetError, match=r"tfrecord: cannot be opened") as caught:
        next(iter(loader))
    assert "Traceback" not in str(caught.value)


class Reporter(Listener):
    """Writes what its process saw to a file."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.norm = torch.nn.BatchNorm1d(5)  # buffers, which DDP keeps alike in training

    def training_step(self, batch, index):
        return super().training_step(batch, index) + 0 * self.norm(batch.points).sum()

    def validation_step(self, batch, index):
        super().validation_step(batch, index)
        self.norm(batch.points)

    def on_fit_end(self):
        seen = {"train": self.trained, "val": self.validated}
        torch.save(seen, self.folder / f"{self.global_rank}.pt")


@pytest.mark.usefixtures("one_thread")
def test_two_processes_share_the_frames(waymo_root, tmp_path):
    data = WaymoDataModule(waymo_root, batch_size=1, val_batch_size=1, max_frames=5)
    data = pickle.loads(pickle.dumps(data))  # as ddp_spawn does
    trainer = L.Trainer(max_epochs=2, devices=2, strategy="ddp_fork", **FAST)
    trainer.fit(Reporter(tmp_path), datamodule=data)
    alone, _ = fitted(WaymoDataModule(waymo_root, batch_size=2, max_frames=5))
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for epoch in (0, 1):
        parts = [[e[1][0] for e in rank["train"] if e[0] == epoch] for rank in ranks]
        expected = [entry[1] for entry in alone.trained if entry[0] == epoch]
        assert list(zip(*parts, strict=True)) == expected
        names = [e[1][0] for rank in ranks for e in rank["val"] if e[0] == epoch]
        assert sorted(names) == [f"segment-c/1{number}00000" for number in range(5)]
    assert [len(rank["val"]) for rank in ranks] == [6, 4]
