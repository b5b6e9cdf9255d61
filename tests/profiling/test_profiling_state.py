"""A profiled model is the model it was; bad inputs are refused."""

import copy

import pytest
import torch
from torch import nn

from kd3d.errors import ConfigError, InputError
from kd3d.profiling import profile
from kd3d.structures import PointBatch


class Counter(nn.Module):
    """Changes one buffer in place and replaces another, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2, 3))
        self.kept = None

    def forward(self, x):
        self.seen += 1
        self.last = self.kept = self.layer(x)
        return self.last


def hooks(model):
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in model.modules()
    ]


def test_modes_buffers_hooks_and_gradients_stay():
    model = Counter().train()
    model.layer[2].eval()
    model.layer[0].register_forward_hook(lambda *_: None)
    before, modes = copy.deepcopy(model.state_dict()), [one.training for one in model.modules()]
    counted, last = hooks(model), model.last
    profile(model, torch.randn(2, 3), repeats=2, warmup=1)
    assert [one.training for one in model.modules()] == modes
    assert hooks(model) == counted
    assert model.last is last
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(one.grad is None for one in model.parameters())
    (model.kept * model.layer[0](torch.ones(2, 3))).sum().backward()  # what it keeps can be used


class Faulty(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        self.layer(x)
        raise ZeroDivisionError("the model's own fault")


def test_a_model_that_raises_is_left_as_it_was():
    model = Faulty().train()
    before = hooks(model)
    with pytest.raises(ZeroDivisionError, match="own fault"):
        profile(model, torch.zeros(1, 3))
    assert hooks(model) == before
    assert model.training
    assert model.layer.training


def test_a_rule_that_raises_leaves_no_hook():
    def rule(module, inputs, output):
        raise KeyError("the rule's own fault")

    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(KeyError, match="own fault"):
        profile(model, torch.zeros(1, 3), rules={nn.Linear: rule})
    assert hooks(model) == [(0, 0, 0)] * 2


LINEAR = nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"convention": "thop"},
            ConfigError,
            r"convention: 'thop' is not one of \['true', 'paper'\]",
        ),
        ({"repeats": -1}, InputError, "repeats: cannot be -1"),
        ({"warmup": -2}, InputError, "warmup: cannot be -2"),
    ],
)
def test_options_that_cannot_work(options, error, message):
    with pytest.raises(error, match=message):
        profile(LINEAR, torch.zeros(1, 3), **options)


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="batch: holds no frame"):
        profile(LINEAR, torch.zeros(0, 3))
    with pytest.raises(InputError, match="batch: holds no point"):
        profile(LINEAR, PointBatch.from_points([torch.zeros(0, 5)]))


def test_a_lazy_model_without_shapes_is_refused():
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(InputError, match=r"0\.weight: has no shape yet\. Run the model once"):
        profile(model, torch.zeros(1, 3))


def test_nothing_is_timed_on_the_meta_device():
    model = nn.Linear(3, 3, device="meta")
    with pytest.raises(InputError, match="meta device"):
        profile(model, torch.zeros(1, 3))
    assert profile(model, torch.zeros(1, 3), repeats=0).macs == 9  # the batch is moved there


def test_an_unknown_module_is_named_with_those_that_are_there():
    found = profile(nn.Sequential(nn.Linear(3, 3)), torch.zeros(1, 3), repeats=0)
    with pytest.raises(InputError, match=r"no module 'head' was counted.*There are 0"):
        found["head"]
