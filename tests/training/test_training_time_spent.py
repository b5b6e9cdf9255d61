"""Time of a training over several calls."""

import pytest

from kd3d.training import TimeSpent
from kd3d.training import time_spent as module


@pytest.fixture
def clocks(monkeypatch):
    """Clocks that stand still until a test moves them."""
    now = {"wall": 100.0, "cpu": 10.0}
    monkeypatch.setattr(module.time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(module.time, "process_time", lambda: now["cpu"])

    def move(wall, cpu):
        now["wall"] += wall
        now["cpu"] += cpu

    return move


def test_a_fit_is_counted_from_its_start_to_its_end(clocks):
    spent = TimeSpent()
    clocks(5.0, 5.0)
    assert (spent.seconds, spent.cpu_seconds) == (0.0, 0.0)
    spent.on_fit_start(None, None)
    clocks(3.0, 2.0)
    assert (spent.seconds, spent.cpu_seconds) == (3.0, 2.0)
    spent.on_fit_end(None, None)
    clocks(9.0, 9.0)
    assert (spent.seconds, spent.cpu_seconds) == (3.0, 2.0)


@pytest.mark.parametrize("loads_first", [True, False])
def test_what_led_to_a_checkpoint_is_counted_and_what_was_lost_is_not(clocks, loads_first):
    first = TimeSpent()
    first.on_fit_start(None, None)
    clocks(30.0, 20.0)
    state = first.state_dict()
    clocks(7.0, 7.0)  # lost: the process is killed here
    second = TimeSpent()
    if loads_first:
        second.load_state_dict(state)
        second.on_fit_start(None, None)
    else:
        second.on_fit_start(None, None)
        second.load_state_dict(state)
    clocks(5.0, 4.0)
    second.on_fit_end(None, None)
    assert (second.seconds, second.cpu_seconds) == (35.0, 24.0)
