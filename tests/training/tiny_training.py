"""A tiny detector, tiny batches and a quiet trainer for the tests of training controls."""

from contextlib import nullcontext

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from kd3d import KDCallback, LabelKD, PivotalLogitKD, PointBatch, create_detector
from kd3d.training import ResumeCheckpoint

RANGE = (-5.12, -5.12, -2.0, 5.12, 5.12, 4.0)
TINY = {"encoder": 0.125, "backbone_2d": 0.0625, "head": 0.125}


def tiny_detector(seed=0, **changes):
    torch.manual_seed(seed)
    options = {"point_cloud_range": RANGE, "width": TINY, "depth": (0, 0, 0), **changes}
    return create_detector("cp_pillar_v064", **options)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(200, 5, generator=generator) * torch.tensor([10, 10, 3, 1, 1])
    points -= torch.tensor([5.0, 5, 1, 0, 0])
    boxes = torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0.3], [-2, -2, 0, 1, 1, 1.7, 2]])
    return PointBatch.from_points(
        [points, points + 0.01],
        boxes=[boxes, boxes[:1]],
        labels=[torch.tensor([0, 1]), torch.tensor([2])],
    )


def loader(count=4):
    return DataLoader([batch(seed) for seed in range(count)], batch_size=None)


class Data(pl.LightningDataModule):
    """The same few batches every epoch, which a resumed run takes up where it stopped."""

    def __init__(self, batches=3):
        super().__init__()
        self.batches = batches

    def train_dataloader(self):
        return StatefulDataLoader([batch(seed) for seed in range(self.batches)], batch_size=None)

    def val_dataloader(self):
        return loader(1)


def distils(**options):
    objectives = {"logit": PivotalLogitKD(5.0), "label": LabelKD(0.2)}
    settings = {"teacher_mode": "batch_stats", "teacher_check_frames": 0, **options}
    return KDCallback(tiny_detector(1), objectives, **settings)


def trainer(folder, *callbacks, **changes):
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 3,
        "logger": False,
        "callbacks": list(callbacks),
        "enable_checkpointing": any(isinstance(one, pl.callbacks.Checkpoint) for one in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(**{**options, **changes})


class Dies(pl.Callback):
    """Ends the fit after so many steps, as a kill would: without a last checkpoint."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.steps:
            raise RuntimeError("killed")


def killed_and_resumed(make_module, folder, make_callbacks=tuple, *, steps=5, **options):
    """Fit a module that dies a step after its checkpoint, and have another one go on from there."""
    at = {"max_steps": steps, **options}
    for last in (None, folder / "last.ckpt"):
        module = make_module()
        saves = ResumeCheckpoint(folder, every_n_train_steps=2)
        dies = [Dies(3)] if last is None else []
        fit = trainer(folder, *make_callbacks(), saves, *dies, **at)
        with pytest.raises(RuntimeError, match="killed") if dies else nullcontext():
            fit.fit(module, Data(), ckpt_path=last)
    return module, fit


def whole_run(make_module, folder, make_callbacks=tuple, *, steps=5, **options):
    """Fit a module without interruption."""
    module = make_module()
    fit = trainer(folder, *make_callbacks(), **{"max_steps": steps, **options})
    fit.fit(module, Data())
    return module, fit


def copy_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first, second):
    """Names of the tensors that are equal to the bit."""
    assert first.keys() == second.keys()
    return {name for name in first if torch.equal(first[name], second[name])}
