"""Every rule, counted by hand or by another counter."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kd3d.profiling import Cost, Tally, profile, summarise

COUNT = {"repeats": 0, "memory": False}


def cost_of(model, batch, **options):
    return profile(model, batch, **COUNT, **options).root.cost


def test_a_convolution_by_hand():
    layer = nn.Conv2d(4, 6, kernel_size=(3, 5), stride=2, padding=1, groups=2)
    cost = cost_of(layer, torch.zeros(2, 4, 9, 11))
    elements = 2 * 6 * 5 * 5  # rows (9 + 2 - 3) / 2 + 1, columns (11 + 2 - 5) / 2 + 1
    assert cost.true == Tally(elements * (2 * 15), elements)
    assert cost.paper == Tally(elements * (2 * 15 + 1), elements)


def test_a_transposed_convolution_by_hand():
    layer = nn.ConvTranspose2d(8, 3, 4, stride=4)
    cost = cost_of(layer, torch.zeros(1, 8, 5, 6))
    outputs = 3 * 20 * 24
    assert cost.true == Tally(outputs * 8, outputs)  # one input cell per output cell
    assert cost.paper == Tally(outputs * (8 * 16 + 1), outputs)  # as often as the kernel has taps


def test_a_transposed_convolution_with_overlap_and_groups():
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
    cost = cost_of(layer, torch.zeros(1, 4, 5, 5))
    assert cost.true.macs == 4 * 25 * 3 * 9  # every input element, 3 channels of its group, 9 taps
    assert cost.paper.macs == 6 * 81 * (2 * 9)


def test_a_linear_layer_and_norms_by_hand():
    assert cost_of(nn.Linear(7, 3), torch.zeros(4, 5, 7)) == Cost(Tally(420, 60), Tally(420, 60))
    for norm, shape in ((nn.BatchNorm1d(3), (4, 3)), (nn.BatchNorm2d(3), (4, 3, 2, 2))):
        assert cost_of(norm, torch.zeros(shape)) == Cost(
            Tally(0, 0), Tally(2 * math.prod(shape), 0)
        )


LAYERS = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


@given(
    dims=st.integers(1, 3),
    transposed=st.booleans(),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    size=st.integers(3, 6),
    frames=st.integers(1, 3),
)
def test_dense_counts_are_those_of_torch(
    dims, transposed, channels, kernel, stride, padding, size, frames
):
    kind = LAYERS[dims][transposed]
    layer = kind(*channels, kernel, stride=stride, padding=min(padding, kernel // 2)).to("meta")
    batch = torch.zeros(frames, channels[0], *[size] * dims, device="meta")
    with FlopCounterMode(display=False) as counter:
        layer(batch)
    once = cost_of(layer, batch)
    assert 2 * once.true.macs == once.true.flops == counter.get_total_flops()
    twice = cost_of(layer, torch.cat([batch, batch]))
    assert twice.true == once.true + once.true
    assert twice.paper == once.paper + once.paper


class Twice(nn.Module):
    """Calls one layer twice, and holds it at two places."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = self.first
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x):
        return self.tied(self.second(self.first(x)))


def test_a_shared_module_counts_each_call_and_its_parameters_once():
    found = profile(Twice(), torch.zeros(1, 4), **COUNT)
    assert found.macs == 3 * 16
    assert found.parameters == 16
    assert found["first"].calls == 2
    assert found["tied"].parameters == 0
    assert found.gaps == {}


class Foreign(nn.Module):
    """Parameters that no rule covers, a layer that is never called, nested containers."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.stages = nn.ModuleDict({"a": nn.Sequential(nn.Linear(4, 8), nn.ReLU())})
        self.norm = nn.LayerNorm(8)
        self.unused = nn.Linear(8, 8)

    def forward(self, x):
        return self.norm(self.stages["a"](x * self.scale))


def test_what_is_not_counted_is_named():
    found = profile(Foreign(), torch.zeros(2, 4), **COUNT)
    assert found.macs == 2 * 8 * 4
    assert found["stages.a.0"].cost == found["stages"].cost == found.root.cost
    assert found.gaps == {
        "": "no rule for its parameters",
        "norm": "no rule for its parameters",
        "unused": "never called",
    }
    text = str(found)
    for gap in ("Foreign (no rule", "norm (no rule", "unused (never called)"):
        assert gap in text


def test_names_are_shown_as_they_are():
    found = profile(Foreign(), torch.zeros(2, 4), name="net classes=[Car]", **COUNT)
    assert "net classes=[Car] on cpu, batch of 2" in str(found)
    assert "net classes=[Car] (no rule" in str(found)
    assert "net classes=[Car] " in rendered(summarise([found, found]))


def test_the_tree_shows_levels_and_sums():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 1000))
    lines = str(profile(model, torch.zeros(500, 4), **COUNT)).splitlines()
    rows = [line.split() for line in lines[2:6]]
    assert lines[1].split()[:5] == ["module", "kind", "parameters", "MMACs", "true"]
    assert rows == [
        ["total", "Sequential", "9,040", "4.016", "4.016", "504.000", "504.000"],
        ["├─", "0", "Sequential", "40", "0.016", "0.016", "4.000", "4.000"],
        ["│", "└─", "0", "Linear", "40", "0.016", "0.016", "4.000", "4.000"],
        ["└─", "1", "Linear", "9,000", "4.000", "4.000", "500.000", "500.000"],
    ]
    assert lines[6].startswith("FLOPs (2 x MACs): 8.032 M true, 8.032 M paper")


def rendered(table):
    console = Console(width=120, color_system=None)
    with console.capture() as text:
        console.print(table)
    return text.get()


def test_attention_is_not_silently_free():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    found = profile(layer, torch.zeros(1, 3, 8), call=lambda net, x: net(x, x, x), **COUNT)
    assert set(found.gaps) == {"", "out_proj"}


def test_own_rules_come_first_and_close_what_they_count():
    def rule(module, inputs, output):
        return Cost(Tally(1000, len(output)), Tally(2000, len(inputs[0])))

    found = profile(Foreign(), torch.zeros(2, 4), rules={Foreign: rule}, **COUNT)
    assert found.root.cost == Cost(Tally(1000, 2), Tally(2000, 2))
    assert found.gaps == {}
    assert found.parameters == sum(p.numel() for p in Foreign().parameters())
    own = profile(nn.Linear(2, 2), torch.zeros(1, 2), rules={nn.Linear: rule}, **COUNT)
    assert own.macs == 1000


def test_keyword_inputs_are_seen():
    layer = nn.ConvTranspose1d(2, 3, 2, stride=2)
    found = profile(layer, torch.zeros(1, 2, 5), call=lambda net, x: net(input=x), **COUNT)
    assert found.macs == 2 * 5 * 3 * 2


def test_layers_of_a_derived_class_follow_the_rule_of_their_parent():
    class Padded(nn.Conv2d):
        pass

    layer = nn.utils.parametrizations.weight_norm(Padded(2, 2, 3))
    found = profile(layer, torch.zeros(1, 2, 5, 5), **COUNT)
    assert found.macs == 2 * 9 * 2 * 9
    assert found.parameters == sum(p.numel() for p in layer.parameters())
    assert found.gaps == {}


@pytest.mark.parametrize("convention", ["true", "paper"])
def test_the_convention_chooses_what_a_profile_s_numbers_are(convention):
    layer = nn.ConvTranspose2d(1, 1, 2, stride=2, bias=False)
    found = profile(layer, torch.zeros(1, 1, 3, 3), convention=convention, **COUNT)
    assert found.macs == {"true": 36, "paper": 144}[convention]
    assert found.flops == 2 * found.macs
    assert found.activations == 36
    assert found.root.cost == Cost(Tally(36, 36), Tally(144, 36))
