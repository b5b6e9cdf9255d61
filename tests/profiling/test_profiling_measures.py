"""Latency, memory, the ratio of cost and performance, the simulated frame."""

import pytest
import torch
from torch import nn

from kd3d.errors import InputError
from kd3d.profiling import Latency, cost_performance, profile, simulated_frame, time_passes
from kd3d.profiling import latency as latency_module


def test_percentiles_are_between_the_nearest_ranks():
    assert Latency.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Latency(3.0, 1.2, 4.8)


def test_stages_are_the_times_between_marks(monkeypatch):
    now = iter([0.0, 0.1, 0.4, 10.0, 10.2, 10.3, 20.0, 20.3, 20.6])
    monkeypatch.setattr(latency_module.time, "perf_counter", lambda: next(now))

    def run(mark):
        mark("first")
        mark("second")

    times = time_passes(run, torch.device("cpu"), repeats=2, warmup=1)
    assert list(times) == ["first", "second", "total"]
    assert times["first"].median == pytest.approx(250.0)  # the warm-up's 100 ms are left out
    assert times["second"].median == pytest.approx(200.0)
    assert times["total"].p5 == pytest.approx(315.0)


class FakeEvent:
    """An event of a device whose clock moves 10 ms with each record."""

    clock = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self, stream):
        assert stream == "stream of cuda:1"
        FakeEvent.clock += 10.0
        self.time = FakeEvent.clock

    def synchronize(self):
        self.waited = True

    def elapsed_time(self, end):
        return end.time - self.time


def test_on_cuda_the_stages_lie_between_events(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")

    def run(mark):
        mark("first")
        FakeEvent.clock += 5.0
        mark("second")

    times = time_passes(run, torch.device("cuda:1"), repeats=3, warmup=1)
    assert {stage: latency.median for stage, latency in times.items()} == {
        "first": 10.0,
        "second": 15.0,
        "total": 25.0,
    }
    assert waits == [torch.device("cuda:1")] * 4


class Chain(nn.Module):
    """Holds at most two maps at once, whatever its depth."""

    def __init__(self, depth):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Keeper(Chain):
    """Keeps every map until the end."""

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return torch.stack(maps[1:]).sum()


MAP = 2 * 32 * 32 * 4


def test_peak_memory_is_what_lives_at_once():
    batch = torch.randn(1, 2, 32, 32)
    for depth in (2, 5):
        memory = profile(Chain(depth), batch, repeats=0).memory
        assert memory.method == "live tensors"
        assert memory.activations == 2 * MAP
        assert memory.weights == depth * (2 * 2 * 9 + 2) * 4
        assert memory.total == memory.weights + memory.activations
        kept = profile(Keeper(depth), batch, repeats=0).memory
        assert kept.activations == 2 * depth * MAP + 4  # all maps, their stack and its sum


def test_views_and_changes_in_place_need_no_memory():
    class Inplace(nn.Module):
        def forward(self, x):
            return x.view(-1).relu_()[:5].detach()

    assert profile(Inplace(), torch.randn(2, 8), repeats=0).memory.activations == 0


def test_what_is_not_asked_for_is_not_measured():
    found = profile(nn.Linear(2, 2), torch.zeros(1, 2), repeats=0, memory=False)
    assert (found.memory, found.latency, found.latency_ms) == (None, {}, None)
    assert found.to_dict()["memory_bytes"] is None
    assert "latency" not in str(found)
    assert "memory" not in str(found)


#: L2 mAPH and activations (M), and the ratio that a fit of the paper's formula gives.
PUBLISHED = [
    ((62.23, 64.29, 65.7, 101.9), 0.631),
    ((61.14, 64.29, 58.4, 101.9), 0.643),
    ((56.26, 64.29, 33.1, 101.9), 0.673),
    ((57.55, 59.09, 197.7, 303.0), 0.636),
    ((56.27, 59.09, 142.3, 303.0), 0.697),
    ((52.81, 59.09, 88.0, 303.0), 0.712),
]


@pytest.mark.parametrize(("numbers", "ratio"), PUBLISHED)
def test_cost_performance_of_the_six_students(numbers, ratio):
    assert round(cost_performance(*numbers), 3) == ratio


def test_cost_performance_s_parameters():
    assert cost_performance(1.0, 1.0, 7.0, 7.0) == 0.5
    assert cost_performance(0.5, 1.0, 1.0, 4.0, exponent=2.0, weight=0.2) == pytest.approx(0.35)
    assert cost_performance(0.5, 1.0, 1.0, 4.0, weight=1.0) == 0.75


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        ((1, 0, 1, 1), {}, "teacher_accuracy: 0 is out of range"),
        ((-1, 1, 1, 1), {}, "accuracy: -1 is out of range. It must be 0 or more"),
        ((1, 1, 1, 0), {}, "teacher_activations: 0 is out of range"),
        ((1, 1, -2, 1), {}, "activations: -2 is out of range"),
        ((1, 1, 1, 1), {"exponent": 0}, "exponent: 0 is out of range"),
        ((1, 1, 1, 1), {"weight": 1.5}, "weight: 1.5 is out of range"),
        ((float("nan"), 1, 1, 1), {}, "accuracy: nan"),
    ],
)
def test_cost_performance_refuses(numbers, options, message):
    with pytest.raises(InputError, match=message):
        cost_performance(*numbers, **options)


def test_the_simulated_frame_follows_its_seed():
    one, same, other = (simulated_frame(seed, resolution=0.02, extent=20.0) for seed in (0, 0, 1))
    assert torch.equal(one.points, same.points)
    assert len(one) == 1
    assert one.points.shape[1] == 5
    assert len(one.points) > 1000
    assert not torch.equal(one.points[:100], other.points[:100])
