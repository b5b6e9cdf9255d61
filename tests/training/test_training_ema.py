"""Averaged weights: Lightning's own callback in a distilled run, in either order, with resume."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_training import (
    Data,
    batch,
    copy_of,
    distils,
    killed_and_resumed,
    same,
    tiny_detector,
    trainer,
    whole_run,
)

from kd3d import Detector, DetectorModule
from kd3d.training import ResumeCheckpoint

averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
DECAY = 0.5

pytestmark = pytest.mark.filterwarnings("ignore:.*using the WeightAveraging callback")


def make_module():
    return DetectorModule(tiny_detector(score_threshold=0.0), total_steps=5)


def ema():
    return averaging.EMAWeightAveraging(decay=DECAY)


ORDERS = {
    "average first": lambda: [ema(), distils()],
    "teacher first": lambda: [distils(), ema()],
}


class Watch(Callback):
    """Keeps the weights after every step, what is validated, and with what."""

    def __init__(self):
        self.trained, self.validated, self.values = [], [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.trained.append(copy_of(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validated.append(copy_of(pl_module))

    def on_validation_end(self, trainer, pl_module):
        self.values.append(trainer.callback_metrics["val/L2_mAPH"].item())


def averages_of(trained):
    """The exponential moving average of weights, written out."""
    average, averages = dict(trained[0]), []
    for step, state in enumerate(trained):
        if step:
            average = {
                name: (DECAY * average[name] + (1 - DECAY) * value).to(value.dtype)
                for name, value in state.items()
            }
        averages.append(average)
    return averages


@pytest.mark.parametrize("order", ORDERS)
def test_validation_checkpoint_and_result_have_the_average(tmp_path, order):
    watch, saves = Watch(), ResumeCheckpoint(tmp_path, every_n_train_steps=100)
    fit = trainer(
        tmp_path,
        *ORDERS[order](),
        watch,
        saves,
        max_steps=4,
        check_val_every_n_epoch=None,
        val_check_interval=2,
    )
    module = make_module()
    fit.fit(module, Data())
    averages = averages_of(watch.trained)
    for seen, expected in zip(watch.validated, (averages[1], averages[3]), strict=True):
        assert same(seen, expected) == seen.keys()
        assert same(seen, watch.trained[3]) != seen.keys()
    assert same(module.state_dict(), averages[3]) == averages[3].keys()
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert same(stored["state_dict"], averages[3]) == averages[3].keys()
    assert same(stored["current_model_state"], watch.trained[3]) == averages[3].keys()
    rebuilt = Detector.from_checkpoint(tmp_path / "last.ckpt")
    for name, value in rebuilt.state_dict().items():
        assert torch.equal(value, averages[3][f"detector.{name}"]), name


def test_both_orders_give_the_same_numbers(tmp_path):
    results = [whole_run(make_module, tmp_path, make) for make in ORDERS.values()]
    (first, one), (second, other) = results
    assert same(first.state_dict(), second.state_dict()) == first.state_dict().keys()
    assert one.callback_metrics["kd/total"] == other.callback_metrics["kd/total"] > 0


@pytest.mark.parametrize("order", ORDERS)
def test_a_resumed_run_equals_the_whole_one(tmp_path, order):
    whole, _ = whole_run(make_module, tmp_path, ORDERS[order])
    plain, _ = whole_run(make_module, tmp_path, lambda: [distils()])
    rest, _ = killed_and_resumed(make_module, tmp_path, ORDERS[order])
    assert same(whole.state_dict(), rest.state_dict()) == whole.state_dict().keys()
    assert same(whole.state_dict(), plain.state_dict()) != whole.state_dict().keys()


def test_a_run_that_is_stopped_keeps_the_weights_that_train_beside_their_average(tmp_path):
    class Stops(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == 2

    def parts(*others):
        watch, saves = Watch(), ResumeCheckpoint(tmp_path, every_n_train_steps=100)
        return watch, trainer(tmp_path, ema(), *others, watch, saves, max_steps=5)

    whole, _ = whole_run(make_module, tmp_path, lambda: [ema()])
    watch, fit = parts(Stops())
    fit.fit(make_module(), Data())
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 2
    assert same(stored["current_model_state"], watch.trained[1]) == watch.trained[1].keys()
    rest = make_module()
    parts()[1].fit(rest, Data(), ckpt_path=tmp_path / "last.ckpt")
    assert same(whole.state_dict(), rest.state_dict()) == whole.state_dict().keys()


def test_the_best_checkpoint_has_the_average_that_was_validated(tmp_path):
    watch = Watch()
    best = ModelCheckpoint(
        tmp_path,
        filename="best",
        monitor=DetectorModule.monitor,
        mode=DetectorModule.mode,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    fit = trainer(
        tmp_path,
        distils(),
        ema(),
        watch,
        best,
        max_steps=5,
        check_val_every_n_epoch=None,
        val_check_interval=1,
    )
    fit.fit(make_module(), Data())
    at = watch.values.index(max(watch.values))
    stored = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    assert same(stored, watch.validated[at]) == stored.keys()
    assert best.best_model_score == max(watch.values)


def test_a_frozen_part_is_its_own_average(tmp_path):
    module = DetectorModule(tiny_detector(), total_steps=5, freeze=["backbone_2d.*"])
    before = copy_of(module)
    trainer(tmp_path, ema(), max_steps=5).fit(module, Data())
    changed = before.keys() - same(before, module.state_dict())
    assert changed
    assert not any(name.startswith("detector.backbone_2d.") for name in changed)
    assert len(module.eval()(batch())) == 2
