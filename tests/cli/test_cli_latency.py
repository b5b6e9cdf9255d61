import time

import pytest
import torch
from torch import nn

from kd3d.cli.latency import measure_latency
from kd3d.errors import InputError
from kd3d.structures import PointBatch


class Sleeper(nn.Module):
    """A detector that takes a known time and remembers how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls: list[tuple[bool, bool]] = []
        self.decoded = 0

    def forward(self, batch: PointBatch) -> torch.Tensor:
        self.calls.append((self.training, torch.is_grad_enabled()))
        time.sleep(0.02)
        return batch.points * self.weight

    def decode(self, maps: torch.Tensor) -> list[torch.Tensor]:
        self.decoded += 1
        return [maps]


@pytest.fixture
def batch() -> PointBatch:
    return PointBatch.from_points([torch.zeros(3, 5), torch.zeros(2, 5)])


def test_latency_is_per_frame_and_includes_decoding(batch):
    detector = Sleeper()
    latency = measure_latency(detector, batch, repeats=3, warmup=1)
    assert 10.0 <= latency < 100.0  # 20 ms for two frames, on a machine that may be busy
    assert detector.decoded == len(detector.calls) == 4
    assert set(detector.calls) == {(False, False)}


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_given_back(batch, training):
    detector = Sleeper().train(training)
    measure_latency(detector, batch, repeats=1, warmup=0)
    assert detector.training is training


def test_nothing_to_measure(batch):
    with pytest.raises(InputError, match="0 repeats"):
        measure_latency(Sleeper(), batch, repeats=0)
