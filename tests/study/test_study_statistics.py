"""Means and intervals against an independent, plain computation."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd3d.study import estimate, paired

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


def student_quantile(probability, freedom):
    """Invert Student's distribution: its density by Simpson's rule, its quantile by bisection."""
    scale = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)

    def density(x):
        return scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2)

    def below(x, parts=2000):
        width = x / parts
        inner = sum((4 if k % 2 else 2) * density(k * width) for k in range(1, parts))
        return 0.5 + width / 3 * (density(0) + inner + density(x))

    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < probability else (low, middle)
    return low


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.4, 0.3, 0.25), (3.0, -1.0), (0.5, 0.5, 0.6)])
def test_an_interval_is_that_of_a_plain_computation(values):
    found = estimate(values)
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    reach = student_quantile(0.975, len(values) - 1) * spread / math.sqrt(len(values))
    assert found.mean == pytest.approx(mean)
    assert found.spread == pytest.approx(spread)
    assert found.low == pytest.approx(mean - reach, abs=1e-6)
    assert found.high == pytest.approx(mean + reach, abs=1e-6)


def test_five_seeds_have_the_tabulated_quantile():
    found = estimate([0.0, 1.0, 2.0, 3.0, 4.0])  # mean 2, spread sqrt(2.5)
    assert found.high == pytest.approx(2 + 2.776445 * math.sqrt(2.5 / 5), abs=1e-5)


@given(VALUES, st.floats(-2, 2))
def test_moving_all_values_moves_mean_and_ends(values, shift):
    before, after = estimate(values), estimate([value + shift for value in values])
    for name in ("mean", "low", "high"):
        assert getattr(after, name) == pytest.approx(getattr(before, name) + shift, abs=1e-9)
    assert before.low <= before.mean <= before.high


def test_the_interval_holds_the_true_mean_nineteen_times_in_twenty():
    draw = random.Random(0)
    found = [estimate([draw.gauss(1.0, 0.5) for _ in range(5)]) for _ in range(2000)]
    share = sum(one.low <= 1.0 <= one.high for one in found) / len(found)
    assert 0.93 < share < 0.97


def test_pairs_are_made_by_seed_and_lonely_seeds_are_left_out():
    found = paired({0: 0.5, 1: 0.9, 7: 3.0}, {1: 0.4, 0: 0.2, 8: 1.0})
    assert (found.count, found.mean) == (2, pytest.approx(0.4))


def test_pairing_removes_what_the_seeds_share():
    base = {seed: 0.1 * seed for seed in range(5)}
    row = {seed: value + 0.01 for seed, value in base.items()}
    assert paired(row, base).spread == pytest.approx(0.0, abs=1e-12)
    assert estimate(list(row.values())).spread > 0.1


def test_one_value_has_no_interval_and_none_has_no_mean():
    one, none = estimate([0.4]), estimate([])
    assert (one.mean, one.spread, one.low, one.high) == (0.4, None, None, None)
    assert math.isnan(none.mean)
    assert none.count == 0
