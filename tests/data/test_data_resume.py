"""Runs that go on in the middle of an epoch."""

import random

import lightning.pytorch as pl
import pytest
import torch

from kd3d.data import WaymoDataModule
from kd3d.errors import ConfigError
from kd3d.training import ResumeCheckpoint

FRAMES, BATCH, STEPS = 12, 2, 6  # of an epoch of `waymo_root`


def loader_of(root, *, epoch=0, **options):
    loader = WaymoDataModule(root, **{"batch_size": BATCH, **options}).train_dataloader()
    loader.sampler.set_epoch(epoch)
    return loader


def seen(batches):
    """What tells batches apart: frames, their changes, and their points."""
    return [(batch.frame_ids, batch.world.tolist(), batch.points.sum().item()) for batch in batches]


def state_after(loader, count):
    """The loader's state when a training loop has used so many batches, as a file keeps it."""
    iterator = iter(loader)
    for _ in range(count):
        next(iterator)
    return loader.state_dict()


@pytest.mark.parametrize("count", range(STEPS + 1))
def test_a_loader_goes_on_with_the_next_batch(waymo_root, count, tmp_path):
    torch.save(state_after(loader_of(waymo_root, epoch=1), count), tmp_path / "state.pt")
    again = loader_of(waymo_root, epoch=1)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert len(again) == STEPS
    assert seen(again) == seen(loader_of(waymo_root, epoch=1))[count:]


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (0, 2), (2, 0)])
def test_what_workers_read_ahead_does_not_count(waymo_root, before, after):
    whole = [seen(loader_of(waymo_root, epoch=epoch)) for epoch in (1, 2)]
    state = state_after(loader_of(waymo_root, epoch=1, num_workers=before), 3)
    again = loader_of(waymo_root, epoch=1, num_workers=after)
    again.load_state_dict(state)
    assert seen(again) == whole[0][3:]
    again.sampler.set_epoch(2)
    later = iter(again)  # the workers persist
    assert seen([next(later) for _ in range(4)]) == whole[1][:4]
    third = loader_of(waymo_root, epoch=2, num_workers=0)
    third.load_state_dict(again.state_dict())
    assert seen(third) == whole[1][4:]


def test_asking_for_the_state_starts_no_workers(waymo_root):
    loader = loader_of(waymo_root, num_workers=2)
    assert loader.state_dict()["batches"] == 0
    loader.load_state_dict(state_after(loader_of(waymo_root), 2))
    assert loader.state_dict()["batches"] == 2
    assert loader._iterator is None


@pytest.mark.parametrize("count", [3, STEPS])
def test_a_state_is_good_for_its_own_epoch(waymo_root, count):
    again = loader_of(waymo_root, epoch=2)
    again.load_state_dict(state_after(loader_of(waymo_root, epoch=1), count))
    assert seen(again) == seen(loader_of(waymo_root, epoch=2))


def test_other_batches_are_refused_in_the_middle_of_an_epoch(waymo_root):
    state = state_after(loader_of(waymo_root), 2)
    again = loader_of(waymo_root, batch_size=3)
    again.load_state_dict(state)
    with pytest.raises(ConfigError, match=r"epoch 0 with 2 frames per step .* now there are 3"):
        next(iter(again))


def test_validation_loaders_go_on_with_the_workers_they_had(waymo_root):
    data = WaymoDataModule(waymo_root, val_batch_size=1)
    state = state_after(data.val_dataloader(), 2)
    again = data.val_dataloader()
    again.load_state_dict(state)
    assert seen(again) == seen(data.val_dataloader())[2:]
    other = WaymoDataModule(waymo_root, val_batch_size=1, num_workers=1).val_dataloader()
    other.load_state_dict(state)
    with pytest.raises(ConfigError, match=r"had 0 workers .* Go on with num_workers=0"):
        next(iter(other))


class Killed(Exception):
    pass


class Fit(pl.LightningModule):
    """Notes what every step sees and does; may die before a step."""

    def __init__(self, dies_at=None, *, estimates=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.dies_at, self.estimates = dies_at, estimates
        self.steps, self.validations, self.epochs = {}, set(), []

    def on_train_epoch_start(self):
        self.epochs.append(self.current_epoch)

    def training_step(self, batch, batch_idx):
        if self.global_step == self.dies_at:
            raise Killed
        loss = ((self.weight * batch.points[:, -5:-2].mean(0) - 1) ** 2).sum()
        rate = self.optimizers().param_groups[0]["lr"]
        self.steps[self.current_epoch, batch_idx] = (batch.frame_ids, loss.item(), rate)
        return loss

    def validation_step(self, batch, batch_idx):
        self.validations.add(self.global_step)

    def configure_optimizers(self):
        if self.estimates:
            assert self.trainer.estimated_stepping_batches
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 12)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def fit(root, folder, dies_at=None, *, every=1, estimates=False, data=None, **options):
    module = Fit(dies_at, estimates=estimates)
    data = data or WaymoDataModule(root, batch_size=4)  # epochs of three steps
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[ResumeCheckpoint(folder, every_n_train_steps=every)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"max_epochs": 3, **options},
    )
    last = folder / "last.ckpt"
    try:
        trainer.fit(module, data, ckpt_path=last if last.is_file() else None)
    except Killed:
        assert dies_at is not None
    return module


def fit_with_kills(root, folder, deaths, **options):
    """All that the parts of a run that was killed before these steps saw, and the last part."""
    steps, validations, epochs = {}, set(), []
    for dies_at in [*deaths, None]:
        module = fit(root, folder, dies_at, **options)
        for key, step in module.steps.items():
            assert steps.setdefault(key, step) == step, key  # a step that is repeated is the same
        validations |= module.validations
        epochs += module.epochs
    return steps, validations, epochs, module


SETTINGS = [
    {},
    {"max_epochs": 4, "check_val_every_n_epoch": 2},
    {"max_epochs": -1, "max_steps": 8, "check_val_every_n_epoch": None, "val_check_interval": 2},
    {"accumulate_grad_batches": 2},
    {"estimates": True},  # what lightning#20550 is about: this builds the loader early
    {"limit_train_batches": 1},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: ",".join(setting) or "default")
def test_a_run_that_is_killed_again_and_again_equals_the_whole_one(waymo_root, tmp_path, setting):
    whole = fit(waymo_root, tmp_path / "whole", every=100, **setting)
    draws = random.Random(str(setting))
    last = max(2, len(whole.steps) // setting.get("accumulate_grad_batches", 1))
    for number in range(5):
        deaths = sorted(draws.choices(range(1, last), k=1 + number % 3))
        every = 1 + number % 2
        steps, validations, epochs, module = fit_with_kills(
            waymo_root, tmp_path / str(number), deaths, every=every, **setting
        )
        assert steps == whole.steps, (deaths, every)
        assert validations == whole.validations, (deaths, every)
        assert set(epochs) == set(whole.epochs), (deaths, every)
        assert torch.equal(module.weight, whole.weight), (deaths, every)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [3, 4])
def test_a_finished_run_can_be_made_longer(waymo_root, tmp_path, first):
    options = {"max_epochs": -1, "check_val_every_n_epoch": 10}
    whole = fit(waymo_root, tmp_path / "whole", max_steps=9, **options)
    start = fit(waymo_root, tmp_path / "parts", max_steps=first, **options)
    rest = fit(waymo_root, tmp_path / "parts", max_steps=9, **options)
    assert {**start.steps, **rest.steps} == whole.steps
    assert len(start.steps) + len(rest.steps) == len(whole.steps)
    assert torch.equal(rest.weight, whole.weight)


@pytest.mark.filterwarnings("ignore")
def test_evaluating_a_checkpoint_does_not_move_a_later_fit(waymo_root, tmp_path):
    fit(waymo_root, tmp_path / "first", 2)
    data = WaymoDataModule(waymo_root, batch_size=4)
    pl.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", devices=1).validate(
        Fit(), data, ckpt_path=tmp_path / "first" / "last.ckpt"
    )
    fresh = fit(waymo_root, tmp_path / "second", data=data, max_epochs=1)
    assert list(fresh.steps) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.filterwarnings("ignore")
def test_records_left_out_before_the_interruption_are_counted(write, damage, tmp_path):
    write(tmp_path / "training" / "a.tfrecord", 6)
    write(tmp_path / "validation" / "b.tfrecord", 1)
    damage(tmp_path / "training" / "a.tfrecord", 2)

    def data():
        return WaymoDataModule(tmp_path, batch_size=2, on_error="skip", shuffle="none")

    first = data()
    fit(None, tmp_path, 2, data=first, max_epochs=1)
    assert first.skipped_frames == 1
    rest = data()
    assert list(fit(None, tmp_path, data=rest, max_epochs=1).steps) == [(0, 2)]
    assert rest.skipped_by_file == first.skipped_by_file


def test_the_data_module_takes_the_order_and_counts_repeated_frames(waymo_root):
    data = WaymoDataModule(waymo_root, batch_size=5, shuffle="segment_blocks", block_frames=3)
    assert data.repeated_frames() == 3
    frames = [name for batch in data.train_dataloader() for name in batch.frame_ids]
    assert len(frames) == 15
    assert len(set(frames)) == FRAMES
    assert frames[12:] == frames[:3]
    in_order = WaymoDataModule(waymo_root, shuffle="none").train_dataloader()
    assert next(iter(in_order)).frame_ids == ("segment-a/1000000", "segment-a/1100000")
    with pytest.raises(ConfigError, match=r"data\.shuffle"):
        WaymoDataModule(waymo_root, shuffle="blocks")
