import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from kd3d.detectors.pillar_encoder import PillarEncoder, scatter_pillars
from kd3d.detectors.voxelize import Voxelizer

SOURCE = Path(__file__).resolve().parents[2] / "benchmarks" / "_padded_pillars.py"
RANGE = (-4.0, -2.0, -2.0, 4.0, 2.0, 4.0)
PILLAR = (1.0, 0.5, 6.0)
MAX_POINTS = 6


@pytest.fixture(scope="module")
def peer():
    spec = importlib.util.spec_from_file_location("padded_pillars", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_encoder(filters=(16, 16)):
    torch.manual_seed(0)
    encoder = PillarEncoder(5, filters, PILLAR, RANGE[:3], MAX_POINTS)
    with torch.no_grad():
        for layer in encoder.pfn_layers:
            layer.norm.weight.uniform_(-1.5, 1.5)  # a negative scale turns maxima around
            layer.norm.bias.normal_()
            layer.norm.running_mean.normal_()
            layer.norm.running_var.uniform_(0.5, 1.5)
    return encoder


def make_pillars(count=300, frames=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 5, generator=generator) * torch.tensor([2.0, 1, 1, 1, 1])
    points[: count // 3] = points[0] + 0.01 * points[: count // 3]  # some full pillars
    points[count // 3 + 1] = points[count // 3]  # and a repeated point
    index = torch.arange(count) * frames // count
    return Voxelizer(RANGE, PILLAR, MAX_POINTS, 1000)(points, index, frames)


@pytest.mark.parametrize("filters", [(16, 16), (8,), (13, 7, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_padded_form(peer, filters, training):
    encoder = make_encoder(filters).train(training)
    padded = peer.PaddedPillarEncoder(encoder)
    pillars = make_pillars()
    assert pillars.counts.min() < MAX_POINTS
    assert (pillars.counts == MAX_POINTS).any()

    ours = encoder(pillars)
    theirs = padded(peer.pad(pillars, MAX_POINTS), pillars.counts, pillars.coords)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()

    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for buffer, expected in zip(encoder.buffers(), padded.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, rtol=1e-5, atol=1e-6)
    for own, other in zip(encoder.parameters(), padded.parameters(), strict=True):
        scale = other.grad.abs().max()
        torch.testing.assert_close(own.grad / scale, other.grad / scale, rtol=1e-4, atol=1e-5)


def test_padding_changes_the_function():
    """Without its padding a pillar of negative features would not end at the padded row's."""
    encoder = make_encoder().eval()
    pillars = make_pillars()
    wide = copy.deepcopy(encoder)
    wide.max_points = int(pillars.counts.max())
    narrow = copy.deepcopy(encoder)
    narrow.max_points = 10_000
    full = pillars.counts == wide.max_points
    assert not torch.equal(wide(pillars)[full], narrow(pillars)[full])


def test_cumulative_running_statistics(peer):
    encoder = make_encoder()
    for layer in encoder.pfn_layers:
        layer.norm.momentum = None
    padded = peer.PaddedPillarEncoder(encoder)
    for layer in padded.pfn_layers:
        layer.norm.momentum = None
    for seed in (1, 2):
        pillars = make_pillars(seed=seed)
        encoder(pillars)
        padded(peer.pad(pillars, MAX_POINTS), pillars.counts, pillars.coords)
    for buffer, expected in zip(encoder.buffers(), padded.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, rtol=1e-5, atol=1e-6)


def test_batch_statistics_without_running_ones():
    encoder = make_encoder()
    pillars = make_pillars()
    expected = encoder(pillars)
    for layer in encoder.pfn_layers:
        layer.norm.running_mean = layer.norm.running_var = None
    torch.testing.assert_close(encoder.eval()(pillars), expected)


@pytest.mark.parametrize("training", [True, False])
def test_no_points_and_one_point(training):
    encoder = make_encoder().train(training)
    before = copy.deepcopy(encoder.state_dict())
    voxelizer = Voxelizer(RANGE, PILLAR, MAX_POINTS, 1000)
    none = voxelizer(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), 2)
    features = encoder(none)
    features.sum().backward()
    assert features.shape == (0, 16)
    assert scatter_pillars(features, none, (8, 8)).shape == (2, 16, 8, 8)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())

    one = voxelizer(torch.ones(1, 5), torch.zeros(1, dtype=torch.int64), 2)
    features = encoder(one)
    features.sum().backward()
    assert features.shape == (1, 16)
    assert all(value.isfinite().all() for value in encoder.state_dict().values())
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_one_point_per_pillar_at_most():
    encoder = make_encoder()
    encoder.max_points = 1
    one = Voxelizer(RANGE, PILLAR, 1, 1000)(torch.ones(1, 5), torch.zeros(1, dtype=torch.int64), 1)
    encoder(one)
    assert all(value.isfinite().all() for value in encoder.state_dict().values())


def test_scatter_puts_each_pillar_in_its_cell():
    pillars = make_pillars()
    features = torch.arange(1.0, len(pillars) + 1)[:, None].repeat(1, 3).requires_grad_()
    maps = scatter_pillars(features, pillars, (8, 8))
    frame, _, y, x = pillars.coords.unbind(1)
    assert torch.equal(maps[frame, :, y, x], features)
    assert (maps != 0).sum() == features.numel()
    maps.sum().backward()
    assert torch.equal(features.grad, torch.ones_like(features))


def test_buffers_rest_when_they_are_not_tracked():
    """How a teacher runs on batch statistics without a drift of its running ones."""
    encoder = make_encoder()
    pillars = make_pillars()
    before = copy.deepcopy(encoder.state_dict())
    for layer in encoder.pfn_layers:
        layer.norm.track_running_stats = False
    quiet = encoder(pillars)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    for layer in encoder.pfn_layers:
        layer.norm.track_running_stats = True
    assert torch.equal(encoder(pillars), quiet)
    assert int(encoder.pfn_layers[0].norm.num_batches_tracked) == 1


def test_float32_under_autocast():
    encoder = make_encoder().eval()
    pillars = make_pillars()
    expected = encoder(pillars)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(pillars)
    assert features.dtype == torch.float32
    assert torch.equal(features, expected)
