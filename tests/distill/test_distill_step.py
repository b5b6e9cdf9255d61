"""Wrapping methods of a module, and taking the wrappers away."""

import inspect

import pytest
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from kd3d.distill.step import unwrap_training_step, when_complete, wrap_training_step


class Module(nn.Module):
    def training_step(self, batch, batch_idx, dataloader_idx=0):
        return batch * 10

    def setup(self, stage):
        self.stage = stage

    def configure_model(self):
        self.made = True


class Adds:
    def __init__(self, number):
        self.number = number

    def before_step(self, batch):
        return batch + self.number

    def after_step(self, output):
        return output + 1000 * self.number


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_amenders_share_a_wrapper_and_leave_in_any_order(order):
    module, amenders = Module(), [Adds(1), Adds(2)]
    for _ in range(2):  # twice is once
        for amender in amenders:
            wrap_training_step(module, amender)
    assert module.training_step(1, 0) == 3040
    parameters = list(inspect.signature(module.training_step).parameters)
    assert parameters == ["batch", "batch_idx", "dataloader_idx"]
    first, second = (amenders[index] for index in order)
    unwrap_training_step(module, first)
    assert module.training_step(1, 0) == (1 + second.number) * 10 + 1000 * second.number
    unwrap_training_step(module, second)
    unwrap_training_step(module, second)
    assert "training_step" not in vars(module)


def test_when_complete_calls_once_after_both_hooks():
    module, called = Module(), []
    when_complete(module, lambda: called.append(module.made))
    module.setup(stage="fit")
    assert called == []
    assert "setup" not in vars(module)
    module.configure_model()
    module.configure_model()
    assert called == [True]
    assert vars(module).keys() - vars(Module()).keys() == {"stage", "made"}


@pytest.mark.parametrize("called", [(), ("setup",)])
def test_when_complete_can_be_taken_back(called):
    module, seen = Module(), []
    cancels = [when_complete(module, lambda: seen.append(1)) for _ in range(2)]
    for _ in called:
        module.setup("fit")
    for cancel in cancels:
        cancel()
    module.configure_model()
    assert seen == []
    assert {"setup", "configure_model"}.isdisjoint(vars(module))


def test_lightning_takes_a_watched_configure_model_for_an_own_one():
    module = LightningModule()
    assert not is_overridden("configure_model", module)
    cancel = when_complete(module, lambda: None)
    module.setup("fit")
    assert is_overridden("configure_model", module)
    cancel()
    assert not is_overridden("configure_model", module)
