"""Capturing outputs by path."""

import pytest
import torch
from torch import nn

from kd3d.distill.taps import Taps
from kd3d.errors import TapError


def make_network():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU())


def test_captures_the_output_of_one_step():
    network = make_network()
    taps = Taps(network, ["0", ""], "student")
    taps.attach()
    taps.attach()  # twice is once
    network(torch.ones(1, 2))  # before the step: not listened to
    taps.listen()
    result = network(torch.full((1, 2), 2.0))
    captured = taps.collect()
    assert captured[""] is result
    assert torch.equal(captured["0"], network[0](torch.full((1, 2), 2.0)))


def test_forgets_between_steps():
    network = make_network()
    taps = Taps(network, [""], "student")
    taps.attach()
    taps.listen()
    network(torch.ones(1, 2))
    taps.listen()
    with pytest.raises(TapError, match="did not run"):
        taps.collect()


def test_direct_forward_is_noticed():
    network = make_network()
    taps = Taps(network, ["1"], "teacher")
    taps.attach()
    taps.listen()
    network[1].forward(torch.ones(1, 3))
    with pytest.raises(TapError, match=r"1: the teacher's ReLU did not run.*not its .forward"):
        taps.collect()


def test_two_runs_are_ambiguous():
    network = make_network()
    taps = Taps(network, ["0"], "student")
    taps.attach()
    taps.listen()
    network(torch.ones(1, 2))
    network(torch.ones(1, 2))
    with pytest.raises(TapError, match="ran 2 times"):
        taps.collect()


def test_a_missing_path_names_the_nearest():
    network = nn.ModuleDict({"backbone": nn.Linear(1, 1), "heatmap": nn.Linear(1, 1)})
    with pytest.raises(TapError, match=r"heat_map: the student .* 'heatmap'"):
        Taps(network, ["heat_map"], "student")


def test_detach_removes_every_hook():
    network = make_network()
    taps = Taps(network, ["0", ""], "student")
    taps.attach()
    taps.detach()
    assert not network._forward_hooks
    assert not network[0]._forward_hooks
