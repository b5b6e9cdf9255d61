"""A student computes what its teacher computes if the channels it lacks are silent."""

import re
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inherit_networks import (
    calibrate,
    maps_of,
    pillars,
    pointpillar,
    randomise,
    second,
    voxels,
)
from torch import Tensor, nn

from kd3d.distill import inherit_weights

STRATEGIES = ("prefix", "bn_scale", "l1_norm")


def norms(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            yield name, module


def layer_before(norm: str) -> str:
    """The path of the layer whose outputs a norm scales, by the names of the detectors."""
    if norm.endswith("norm"):
        return norm.removesuffix("norm") + "linear"
    if re.search(r"bn\d$", norm):
        return norm.replace("bn", "conv")
    head, _, last = norm.rpartition(".")
    return f"{head}.{int(last) - 1}"


def what_is_added_up(norm: str) -> str:
    """Norms whose outputs are added, or pass through such sums, have one name."""
    stage = re.fullmatch(r"backbone_3d\.conv(\d)\.(\d+\.bn2|0\.1)", norm)
    if norm == "backbone_3d.conv_input.1":
        return "stage 1"
    return f"stage {stage[1]}" if stage else norm


def filters(layer: nn.Module) -> Tensor:
    """The layer's weight with its outputs first, sharing memory."""
    return layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight


@torch.no_grad()
def silence(teacher: nn.Module, student: nn.Module, strategy: str, seed: int) -> None:
    """Silence as many channels as the student lacks, so that `strategy` must find the others."""
    random = torch.Generator().manual_seed(seed)
    silent: dict[str, Tensor] = {}
    for name, norm in norms(teacher):
        width, key = norm.num_features, what_is_added_up(name)
        fewer = dict(norms(student))[name].num_features
        if key not in silent:
            order = torch.randperm(width, generator=random)
            silent[key] = torch.arange(width)[fewer:] if strategy == "prefix" else order[fewer:]
        norm.bias[silent[key]] = 0
        layer = teacher.get_submodule(layer_before(name))
        if strategy == "l1_norm":  # large scales would mislead the other criterion
            norm.weight[silent[key]] *= 10
            filters(layer)[silent[key]] = 0
            if layer.bias is not None:
                layer.bias[silent[key]] = 0
        else:  # large filters would mislead the other criterion
            norm.weight[silent[key]] = 0
            filters(layer)[silent[key]] *= 10
    calibrate(teacher)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_pillar_students(strategy, seed):
    teacher, student = pillars(), pillars(0.25, 0.125, 0.125)
    randomise(teacher, seed)
    silence(teacher, student, strategy, seed)
    expected = maps_of(teacher)
    assert not torch.allclose(maps_of(student), expected, atol=0.1)
    report = inherit_weights(student, teacher, strategy)
    torch.testing.assert_close(maps_of(student), expected, rtol=1e-4, atol=1e-4)
    assert report.names("skipped") == []


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "widths", [(0.375, 0.0625, 0.125), (0.5, 0.0625, 0.125), (0.25, 0.125, 0.25)]
)
def test_voxel_students(strategy, widths):
    teacher, student = voxels(), voxels(*widths)
    randomise(teacher, 2)
    silence(teacher, student, strategy, 2)
    expected = maps_of(teacher)
    report = inherit_weights(student, teacher, strategy)
    torch.testing.assert_close(maps_of(student), expected, rtol=1e-4, atol=1e-4)
    assert report.names("skipped") == []


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("make", "widths"), [(second, (0.25, 0.0625)), (pointpillar, (0.25, 0.125))]
)
def test_anchor_students(make, widths, strategy):
    teacher, student = make(), make(*widths)
    randomise(teacher, 5)
    silence(teacher, student, strategy, 5)
    expected = maps_of(teacher)
    report = inherit_weights(student, teacher, strategy)
    torch.testing.assert_close(maps_of(student), expected, rtol=1e-4, atol=1e-4)
    assert report.names("skipped") == []


@settings(max_examples=8)
@given(
    strategy=st.sampled_from(STRATEGIES),
    widths=st.tuples(*[st.integers(2, 8)] * 3),
    depth_3d=st.tuples(*[st.integers(0, 2)] * 4),
    seed=st.integers(0, 1000),
)
def test_voxel_students_of_any_width(strategy, widths, depth_3d, seed):
    factors = [count * full / 8 for count, full in zip(widths, (0.25, 0.125, 0.125), strict=True)]
    teacher = voxels(0.25, 0.125, 0.125, depth_3d=depth_3d, depth=(0, 1))
    student = voxels(*factors, depth_3d=depth_3d, depth=(0, 1))
    randomise(teacher, seed)
    silence(teacher, student, strategy, seed)
    expected = maps_of(teacher)
    inherit_weights(student, teacher, strategy)
    torch.testing.assert_close(maps_of(student), expected, rtol=1e-4, atol=1e-4)


def test_the_published_remapping_is_another_function():
    teacher, student = voxels(), voxels(0.375, 0.0625, 0.125)
    randomise(teacher, 3)
    silence(teacher, student, "prefix", 3)
    inherit_weights(student, teacher, "reference_prefix")
    assert not torch.allclose(maps_of(student), maps_of(teacher), atol=0.1)


@torch.no_grad()
def pass_through(norm: nn.Module) -> None:
    norm.weight.fill_(1)
    norm.bias.zero_()
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_layers_that_do_nothing_may_be_missing(strategy):
    # the teacher's last layer of the block changes nothing, so the student may go without it
    teacher, student = pillars(depth=(2, 1, 1)), pillars(0.25, 0.125, depth=(1, 1, 1))
    randomise(teacher, 4)
    wide = pillars(depth=(1, 1, 1))
    inherit_weights(wide, teacher, "prefix")
    silence(wide, student, strategy, 4)
    inherit_weights(teacher, wide, "prefix")
    last = teacher.get_submodule("backbone_2d.blocks.0")
    nn.init.dirac_(last[7].weight)
    pass_through(last[8])
    expected = maps_of(teacher)
    report = inherit_weights(student, teacher, strategy)
    torch.testing.assert_close(maps_of(student), expected, rtol=1e-4, atol=1e-4)
    assert {name.rsplit(".", 1)[0] for name in report.names("skipped")} == {
        "backbone_2d.blocks.0.7",
        "backbone_2d.blocks.0.8",
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_residual_blocks_that_do_nothing_may_be_missing(strategy):
    teacher, student = voxels(depth_3d=(2, 2, 1, 1)), voxels(0.375, depth_3d=(1, 1, 1, 1))
    randomise(teacher, 5)
    wide = voxels(depth_3d=(1, 1, 1, 1))
    inherit_weights(wide, teacher, "prefix")
    silence(wide, student, strategy, 5)
    inherit_weights(teacher, wide, "prefix")
    for block in ("conv1.1", "conv2.2"):
        norm = teacher.get_submodule(f"backbone_3d.{block}.bn2")
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)
        if strategy == "l1_norm":
            nn.init.zeros_(teacher.get_parameter(f"backbone_3d.{block}.conv2.weight"))
    expected = maps_of(teacher)
    inherit_weights(student, teacher, strategy)
    torch.testing.assert_close(maps_of(student), expected, rtol=1e-4, atol=1e-4)
