"""Capturing outputs by path, and noticing what happens to them."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kd3d.distill.captured import Stamp, describe_output, tensors_in, untouched
from kd3d.distill.first_run import is_compiled
from kd3d.distill.taps import Taps
from kd3d.errors import TapError


def make_network():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU())


def listen(network, *paths, owner="student"):
    taps = Taps(network, paths, owner)
    taps.attach()
    taps.listen()
    return taps


def hooks_of(network):
    return [
        hook
        for module in network.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


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
    assert taps.module("0") is network[0]


def test_forgets_between_steps():
    network = make_network()
    taps = listen(network, "")
    network(torch.ones(1, 2))
    taps.listen()
    with pytest.raises(TapError, match="did not run"):
        taps.collect()


def test_direct_forward_is_noticed():
    network = make_network()
    taps = listen(network, "1", owner="teacher")
    network[1].forward(torch.ones(1, 3))
    with pytest.raises(TapError, match=r"1: the teacher's ReLU did not run.*not its .forward"):
        taps.collect()


def test_direct_forward_of_the_whole_network_is_noticed():
    network = make_network()
    taps = listen(network, "")
    network.forward(torch.ones(1, 2))
    with pytest.raises(TapError, match=r"the student itself: .* '0' inside it did run: call the"):
        taps.collect()


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.neck = nn.Linear(2, 2)
        self.head_near = nn.Linear(2, 2)
        self.head_far = nn.Sequential(nn.Linear(2, 2))

    def forward(self, values, far=False):
        head = self.head_far if far else self.head_near
        return head(self.neck(values))


def test_a_branch_that_is_not_taken_names_the_nearest_that_ran():
    network = Branches()
    taps = listen(network, "head_far")
    network(torch.ones(1, 2))
    with pytest.raises(TapError, match=r"did not run.*Nearest that did run: 'head_near', 'neck'"):
        taps.collect()
    taps = listen(network, "head_far")
    network.head_far[0](torch.ones(1, 2))
    with pytest.raises(TapError, match=r"'head_far\.0' inside it did run.*tap one of those"):
        taps.collect()


def test_two_runs_are_ambiguous():
    network = make_network()
    taps = listen(network, "0")
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
    taps = listen(network, "0", "")
    assert hooks_of(network)
    taps.detach()
    assert not hooks_of(network)


def test_modules_are_watched_until_one_step_was_read():
    network = make_network()
    taps = listen(network, "0")
    everywhere = len(hooks_of(network))
    taps.listen()  # the step before gave nothing to read
    assert len(hooks_of(network)) == everywhere == 1 + 2 * 3
    network(torch.ones(1, 2))
    taps.collect()
    taps.listen()
    assert len(hooks_of(network)) == 1


class Residual(nn.Module):
    """``x += y`` after its last layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.tail = nn.Identity()

    def forward(self, values):
        found = self.first(values)
        other = self.second(values)
        found += other
        return self.tail(found)


@pytest.mark.parametrize("gradient", [True, False])
def test_an_inplace_module_is_named(gradient):
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True))
    taps = listen(network, "0", "1", owner="teacher")
    with torch.set_grad_enabled(gradient):
        network(torch.ones(4, 2))
    with pytest.raises(
        TapError,
        match=r"1: what the teacher's BatchNorm1d gave, \[4, 3\] float32, was overwritten in place "
        r"by '2', a ReLU\(inplace=True\)\. Set inplace=False",
    ):
        taps.collect()
    assert len(hooks_of(network)) == 2


def test_an_inplace_module_does_no_harm_to_what_it_gives_itself():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
    taps = listen(network, "1", "")
    result = network(torch.ones(4, 2))
    assert taps.collect()["1"] is result


def test_inplace_code_between_modules_is_placed():
    network = Residual()
    taps = listen(network, "first")
    network(torch.ones(4, 2))
    with pytest.raises(
        TapError, match=r"first: .* after 'second' had run and before 'tail' ran.*y = y \+ x"
    ):
        taps.collect()


def test_inplace_code_in_a_forward_is_placed():
    network = nn.Sequential(Residual(), nn.Linear(2, 2))
    network[0].tail = nn.Sequential()
    network[0].forward = lambda values: network[0].first(values).sigmoid_()
    taps = listen(network, "0.first")
    network(torch.ones(4, 2))
    with pytest.raises(TapError, match=r"in the forward\(\) of '0', a Residual, after '0.first'"):
        taps.collect()


def test_inplace_code_after_the_network_is_placed():
    network = make_network()
    taps = listen(network, "")
    network(torch.ones(4, 2)).detach()[:1].mul_(2.0)  # a view of a view
    with pytest.raises(TapError, match="outside its modules, after the network itself had run"):
        taps.collect()


def test_in_later_steps_too():
    network = make_network()
    taps = listen(network, "0")
    network(torch.ones(4, 2))
    taps.collect()
    network[1].inplace = True
    taps.listen()
    network(torch.ones(4, 2))
    with pytest.raises(TapError, match=r"0: .* was overwritten in place in this step"):
        taps.collect()


def test_a_part_of_an_output_is_named():
    class Heads(nn.Module):
        def forward(self, values):
            return {"hm": values * 1, "box": [values * 2]}

    network = nn.Sequential(Heads())
    taps = listen(network, "0")
    network(torch.ones(4, 2))["box"][0].exp_()
    with pytest.raises(TapError, match=r"0: 'box.0' of what the student's Heads gave, \[4, 2\]"):
        taps.collect()


def test_compiled_modules_are_not_watched_inside():
    compiled = torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="eager")
    network = nn.Sequential(nn.Linear(2, 2), compiled, nn.ReLU())
    assert [is_compiled(module) for module in network.children()] == [False, True, False]
    taps = listen(network, "1")
    assert not compiled._orig_mod[0]._forward_hooks
    assert network[2]._forward_hooks
    network(torch.ones(4, 2))
    taps.collect()


def test_inference_tensors_have_no_version():
    network = make_network()
    taps = listen(network, "0")
    with torch.inference_mode():
        network(torch.ones(1, 2))
        assert taps.collect()["0"].is_inference()


@dataclass(frozen=True, slots=True)
class Pair:
    one: torch.Tensor
    rest: tuple


def test_tensors_in_outputs():
    zero = torch.zeros(2, 1, dtype=torch.float16)
    sparse = SimpleNamespace(features=zero)
    found = dict(tensors_in({"a": Pair(zero, ([zero], 3)), "s": sparse, "n": None}))
    assert list(found) == ["a.one", "a.rest.0.0", "s.features"]
    assert all(tensor is zero for tensor in found.values())
    assert describe_output(zero) == "[2, 1] float16"
    assert describe_output({"a": zero, "b": [zero]}) == "a [2, 1] float16, b.0 [2, 1] float16"
    assert describe_output([zero] * 8).endswith("5 [2, 1] float16, and 2 more")
    assert describe_output(7) == "a int without tensors"


def test_stamps():
    values = torch.zeros(3)
    stamp = Stamp({"hm": values})
    values + 1
    assert stamp.changed() is None
    values.view(1, 3)[0].add_(1)
    name, tensor = stamp.changed()
    assert name == "hm"
    assert tensor is values


def test_untouched():
    values = {"hm": torch.zeros(3)}
    with untouched("view", values, "Do not."):
        values["hm"].sigmoid()
    with (
        pytest.raises(TapError, match=r"view: hm \[3\] float32 was overwritten in place.*Do not"),
        untouched("view", values, "Do not."),
    ):
        values["hm"].sigmoid_()
