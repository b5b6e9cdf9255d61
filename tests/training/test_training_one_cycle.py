"""The schedule against the formula, written out with numpy."""

import numpy as np
import pytest
import torch
from torch.optim import AdamW

from kd3d.training import OneCycle, one_cycle


def slow_one_cycle(step: int, total: int) -> tuple[float, float]:
    """Two half cosines, as tables over all steps."""
    up = int(0.4 * total)
    rise = (1 - np.cos(np.pi * np.arange(up) / max(up, 1))) / 2
    fall = (1 + np.cos(np.pi * np.arange(total - up + 1) / (total - up))) / 2
    rate = np.concatenate((3e-4 + rise * 2.7e-3, 3e-8 + fall * (3e-3 - 3e-8)))
    momentum = np.concatenate((0.95 - rise * 0.1, 0.95 - fall * 0.1))
    return float(rate[step]), float(momentum[step])


@pytest.mark.parametrize("total", [5, 10, 101, 1000])
def test_every_step_equals_the_formula(total):
    for step in range(total):
        rate, momentum = one_cycle(step, total, max_rate=3e-3)
        slow_rate, slow_momentum = slow_one_cycle(step, total)
        assert rate == pytest.approx(slow_rate, rel=1e-9)
        assert momentum == pytest.approx(slow_momentum, rel=1e-9)


def test_landmarks_of_the_published_recipe():
    assert one_cycle(0, 1000, max_rate=3e-3) == pytest.approx((3e-4, 0.95))
    assert one_cycle(400, 1000, max_rate=3e-3) == pytest.approx((3e-3, 0.85))
    assert one_cycle(1000, 1000, max_rate=3e-3) == pytest.approx((3e-8, 0.95))
    assert one_cycle(2000, 1000, max_rate=3e-3) == pytest.approx((3e-8, 0.95))


def test_the_optimiser_gets_rate_and_momentum_before_each_step():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = AdamW([weight], lr=1.0, betas=(0.5, 0.99))
    schedule = OneCycle(optimizer, total_steps=10, max_rate=3e-3)
    for step in range(10):
        group = optimizer.param_groups[0]
        rate, momentum = one_cycle(step, 10, max_rate=3e-3)
        assert group["lr"] == pytest.approx(rate)
        assert group["betas"] == pytest.approx((momentum, 0.99))
        weight.grad = torch.ones(1)
        optimizer.step()
        schedule.step()


def test_a_restored_schedule_goes_on_where_it_was():
    def fresh():
        optimizer = AdamW([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        return optimizer, OneCycle(optimizer, total_steps=10, max_rate=3e-3)

    optimizer, schedule = fresh()
    for _ in range(4):
        optimizer.step()
        schedule.step()
    other_optimizer, other = fresh()
    other.load_state_dict(schedule.state_dict())
    other_optimizer.load_state_dict(optimizer.state_dict())
    other.step()
    schedule.step()
    assert other_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert other_optimizer.param_groups[0]["betas"] == optimizer.param_groups[0]["betas"]


def test_the_end_can_be_held():
    whole = [one_cycle(step, 80, max_rate=1.0) for step in range(80)]
    held = [one_cycle(step, 100, max_rate=1.0, hold_fraction=0.2) for step in range(100)]
    rates = [rate for rate, _ in held]
    assert rates[32] == max(rates) == 1.0
    assert rates[80:] == pytest.approx([0.01] * 20)
    assert rates[79] > 0.01
    assert [momentum for _, momentum in held[:80]] == [momentum for _, momentum in whole]
    assert rates[:33] == [rate for rate, _ in whole[:33]]
