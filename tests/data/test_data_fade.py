"""Pasting and strong augmentation off for the last epochs of a run."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch

from kd3d.data import Fade, ObjectPaste, WaymoDataModule, WorldAugmentation, build_objects
from kd3d.errors import ConfigError

FAST = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_val_batches": 0,
}


class Listener(L.LightningModule):
    """Remembers epoch, frames, points and boxes of every training batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, _):
        sums = batch.points.double().sum().item(), batch.boxes.double().sum().item()
        scale = batch.world[:, 2, 2].tolist()  # only scaling changes this entry
        mirrored = (batch.world[:, :3, :3].det() < 0).tolist()
        self.seen.append((self.current_epoch, batch.frame_ids, sums, scale, mirrored))
        return self.weight * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def fitted(data, *, checkpoint=None, **options):
    module, trainer = Listener(), L.Trainer(**{**FAST, **options})
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return module.seen, trainer


def strong_epochs(seen):
    """The epochs in which scenes were scaled."""
    return sorted({epoch for epoch, _, _, scale, _ in seen if any(one != 1 for one in scale)})


def module_for(root, **options):
    return WaymoDataModule(root, **{"batch_size": 4, "fade_epochs": 2, **options})


@pytest.mark.parametrize("workers", [0, 1])
def test_the_last_epochs_are_as_recorded_but_for_flips(waymo_root, workers):
    seen, _ = fitted(module_for(waymo_root, num_workers=workers), max_epochs=5)
    assert strong_epochs(seen) == [0, 1, 2]
    assert any(any(mirrored) for epoch, *_, mirrored in seen if epoch >= 3)
    by_hand = WorldAugmentation(last_epoch={"rotation": 2, "scaling": 2})
    same, _ = fitted(WaymoDataModule(waymo_root, batch_size=4, augmentation=by_hand), max_epochs=5)
    assert seen == same


def test_what_fades_can_be_chosen(waymo_root):
    seen, _ = fitted(module_for(waymo_root, fade=["flip_x", "flip_y"]), max_epochs=4)
    assert strong_epochs(seen) == [0, 1, 2, 3]
    assert {epoch for epoch, *_, mirrored in seen if any(mirrored)} == {0, 1}


def test_pasting_fades(waymo_root, tmp_path):
    source = WaymoDataModule(waymo_root).train_frames.source
    build_objects(source, tmp_path / "objects", workers=1, progress=False)
    paste = ObjectPaste(tmp_path / "objects", limits={"Vehicle": 6}, min_points=0)
    plain = {"augmentation": None, "shuffle": "none"}
    recorded, _ = fitted(WaymoDataModule(waymo_root, batch_size=4, **plain), max_epochs=3)
    data = module_for(waymo_root, paste=paste, fade_epochs=1, **plain)
    pasted, _ = fitted(data, max_epochs=3)
    differ = {one[0] for one, other in zip(pasted, recorded, strict=True) if one != other}
    assert differ == {0, 1}
    assert paste.last_epoch is None


@pytest.mark.parametrize(
    ("options", "strong"),
    [
        ({"max_epochs": 4}, [0, 1]),
        ({"max_epochs": 10_000, "max_steps": 12}, [0, 1]),  # 3 steps an epoch
        ({"max_epochs": 10_000, "max_steps": 10}, [0]),  # ends within the fourth
        ({"max_epochs": 6, "limit_train_batches": 2, "max_steps": 10}, [0, 1, 2]),
        ({"max_epochs": 6, "accumulate_grad_batches": 3, "max_steps": 4}, [0, 1]),
        ({"max_epochs": 4, "limit_train_batches": 0.4}, [0, 1]),
    ],
)
def test_epochs_are_counted_from_the_steps_that_the_run_has(waymo_root, options, strong):
    seen, _ = fitted(module_for(waymo_root), **options)
    assert strong_epochs(seen) == strong


def test_a_resumed_run_fades_where_the_whole_one_does(waymo_root, tmp_path):
    class Stops(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 5:  # in the second of four epochs
                trainer.save_checkpoint(tmp_path / "half.ckpt")
                raise RuntimeError("killed")

    whole, _ = fitted(module_for(waymo_root), max_epochs=4)
    with pytest.raises(RuntimeError, match="killed"):
        fitted(module_for(waymo_root), max_epochs=4, callbacks=[Stops()])
    for workers in (0, 1):
        rest, _ = fitted(
            module_for(waymo_root, num_workers=workers),
            max_epochs=4,
            checkpoint=tmp_path / "half.ckpt",
        )
        assert rest == whole[5:]


def test_an_earlier_last_epoch_stays(waymo_root):
    augmentation = WorldAugmentation(last_epoch={"scaling": 0})
    seen, _ = fitted(module_for(waymo_root, augmentation=augmentation), max_epochs=4)
    assert strong_epochs(seen) == [0]
    ended, paste = Fade(1).apply(WorldAugmentation(last_epoch=7), None, 3)
    assert ended.last_epoch == {"flip_x": 7, "flip_y": 7, "rotation": 3, "scaling": 3}
    assert paste is None


def test_a_second_fit_of_another_length_fades_elsewhere(waymo_root):
    data = module_for(waymo_root, fade_epochs=1)
    assert strong_epochs(fitted(data, max_epochs=2)[0]) == [0]
    assert strong_epochs(fitted(data, max_epochs=3)[0]) == [0, 1]


def test_without_a_trainer_nothing_fades(waymo_root):
    batch = next(iter(module_for(waymo_root).train_dataloader()))
    assert (batch.world[:, 2, 2] != 1).all()


def test_a_run_without_a_known_end(waymo_root):
    with pytest.raises(ConfigError, match=r"data\.fade_epochs: the length of the run is unknown"):
        fitted(module_for(waymo_root), max_epochs=-1, max_time={"seconds": 1})


@pytest.mark.parametrize("fade_epochs", [2, 3])
def test_a_run_that_would_fade_from_its_start(waymo_root, fade_epochs):
    message = r"the run has 2 epochs \(6 steps, 3 an epoch\).*Give at most 1"
    with pytest.raises(ConfigError, match=message):
        fitted(module_for(waymo_root, fade_epochs=fade_epochs), max_epochs=2)


def test_wrong_options():
    with pytest.raises(ConfigError, match=r"data\.fade_epochs: -1 is below 0"):
        WaymoDataModule(fade_epochs=-1)
    with pytest.raises(ConfigError, match=r"data\.fade: \['turn'\] .*Name some of paste, flip_x"):
        WaymoDataModule(fade=["turn"])
    with pytest.raises(ConfigError, match=r"data\.fade: 'paste' is not a list"):
        WaymoDataModule(fade="paste")


def test_the_end_is_that_of_each_process_share():
    trainer = SimpleNamespace(
        max_steps=-1, max_epochs=30, limit_train_batches=1.0, accumulate_grad_batches=4
    )
    assert Fade(5).last_epoch(trainer, batches=10) == 24
