"""The files that a killed run goes on from."""

import os
import signal

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from kd3d.errors import CheckpointError, ConfigError
from kd3d.training import ResumeCheckpoint, find_checkpoint, resume_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*num_workers:UserWarning")


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Saves(pl.Callback):
    """Notes after which batches, and which optimiser steps, a checkpoint was written."""

    def __init__(self):
        self.batches = []

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        progress = trainer.fit_loop.epoch_loop.batch_progress
        self.batches.append((progress.total.processed, trainer.global_step))


def fit(folder, *, every=3, more=(), **options):
    saves, module = Saves(), Line()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*more, saves, ResumeCheckpoint(folder, every_n_train_steps=every)],
        **{"max_epochs": 2, **options},
    )
    trainer.fit(module, DataLoader(torch.ones(5, 1)))
    return saves.batches, module


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_checkpoints_come_after_so_many_steps_and_after_the_last(tmp_path):
    batches, module = fit(tmp_path)
    assert batches == [(3, 3), (6, 6), (9, 9), (10, 10)]
    assert step_of(tmp_path / "last.ckpt") == 10
    assert step_of(tmp_path / "previous.ckpt") == 9
    weights = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(weights["layer.weight"], module.layer.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_no_checkpoint_holds_half_an_accumulated_gradient(tmp_path):
    batches, _ = fit(tmp_path, every=1, accumulate_grad_batches=2, max_epochs=1)
    assert batches == [(2, 1), (4, 2), (5, 3)]


def test_checkpoints_come_with_time_too(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr(resume_checkpoint.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(resume_checkpoint, "_CLOCK_STEPS", 2)
    callback = ResumeCheckpoint(tmp_path, every_n_train_steps=1000, every_n_minutes=2)
    saves = Saves()
    pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saves, callback],
        max_steps=20,
    ).fit(Line(), DataLoader(torch.ones(50, 1)))
    # every second step asks for the time, which moves by 40 s; a checkpoint is due after 120 s
    assert [step for _, step in saves.batches] == [6, 12, 18, 20]


def test_a_run_that_is_stopped_early_keeps_its_last_weights(tmp_path):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == 4

    saves, module = Saves(), Line()
    pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Stop(), saves, ResumeCheckpoint(tmp_path)],
        max_epochs=2,
    ).fit(module, DataLoader(torch.ones(5, 1)))
    weights = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(weights["layer.weight"], module.layer.weight)


class Terminate(pl.Callback):
    """Sends this process SIGTERM in the fourth batch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 3:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("accumulated", "kept"), [(1, 4), (2, 2), (3, None)])
def test_a_terminated_run_keeps_the_step_that_it_was_in(tmp_path, accumulated, kept):
    """Between the batches of an accumulated gradient there is no step to keep."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        fit(tmp_path, every=100, more=[Terminate()], accumulate_grad_batches=accumulated)
    assert signal.getsignal(signal.SIGTERM) is before
    found = find_checkpoint(tmp_path)
    assert (found and step_of(found)) == kept


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path, monkeypatch):
    fit(tmp_path, max_epochs=1)
    before = (tmp_path / "last.ckpt").read_bytes()

    def break_off(self, path, *_, **__):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", break_off)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, max_epochs=1)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert find_checkpoint(tmp_path) == tmp_path / "last.ckpt"


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert find_checkpoint(tmp_path / "checkpoints") is None


def test_a_damaged_file_gives_way_to_the_one_before(tmp_path):
    fit(tmp_path)
    content = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match=r"going on from previous\.ckpt: .*last\.ckpt"):
        assert find_checkpoint(tmp_path) == tmp_path / "previous.ckpt"


def test_a_run_that_was_killed_between_two_names_goes_on(tmp_path):
    fit(tmp_path)
    (tmp_path / "last.ckpt").unlink()
    assert find_checkpoint(tmp_path) == tmp_path / "previous.ckpt"


def test_damaged_files_alone_are_an_error(tmp_path):
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"no checkpoint can be read.*last\.ckpt.*Remove"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("options", [{"every_n_train_steps": 0}, {"every_n_minutes": 0}])
def test_wrong_options_are_refused(tmp_path, options):
    with pytest.raises(ConfigError, match=r"callbacks\.checkpoint"):
        ResumeCheckpoint(tmp_path, **options)
