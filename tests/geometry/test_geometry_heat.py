import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd3d.geometry.grid import BEVGrid
from kd3d.geometry.heat import _bus_radius, draw_gaussians, gaussian_radius, owners_within


def draw(rows, columns, radii, peaks, shape=(1, 9, 9)):
    rows, columns, radii = (torch.tensor(values) for values in (rows, columns, radii))
    planes = torch.zeros_like(rows)
    return draw_gaussians(shape, planes, rows, columns, radii, torch.tensor(peaks))


@pytest.mark.parametrize(
    ("length", "width", "cell", "radius"),
    [(4.7, 2.1, 0.32, 4), (4.7, 2.1, 0.4, 3), (4.7, 2.1, 0.64, 2), (12.0, 3.0, 0.32, 7),
     (12.0, 3.0, 0.4, 6), (12.0, 3.0, 0.48, 5), (12.0, 3.0, 0.64, 3)],
)  # fmt: skip
def test_radii_of_the_paper(length, width, cell, radius):
    found = gaussian_radius(torch.tensor(length / cell), torch.tensor(width / cell), 0.1)
    assert max(int(found), 2) == radius


@given(
    length=st.floats(0.1, 100),
    width=st.floats(0.1, 100),
    overlap=st.floats(0.05, 0.95),
)
def test_radius_is_the_smallest_root_of_the_three_cases(length, width, overlap):
    total, area = length + width, length * width
    linear = (total, 2 * total, -2 * overlap * total)
    quadratic = (1, 4, 4 * overlap)
    constant = (
        area * (1 - overlap) / (1 + overlap),
        (1 - overlap) * area,
        (overlap - 1) * area,
    )
    roots = [
        (b + math.sqrt(b * b - 4 * a * c)) / 2
        for a, b, c in zip(quadratic, linear, constant, strict=True)
    ]
    sizes = torch.tensor([length, width], dtype=torch.float64)
    assert gaussian_radius(*sizes, overlap).item() == pytest.approx(min(roots), rel=1e-9)
    assert gaussian_radius(*sizes.flip(0), overlap).item() == pytest.approx(min(roots), rel=1e-9)


def test_the_window_is_cropped_at_the_borders():
    heat = draw([0, 8], [8, 0], [3, 3], [1.0, 1.0])
    assert heat[0, 0, 8] == heat[0, 8, 0] == 1
    assert (heat > 0).sum() == 2 * 16
    assert torch.equal(heat[0], heat[0].T)


def test_a_weaker_object_does_not_cover_a_stronger_one():
    together = draw([4, 4], [4, 4], [2, 4], [1.0, 0.3])
    assert together[0, 4, 4] == 1
    assert 0 < together[0, 4, 0] < 0.3  # only the wide one reaches here


def test_nothing_to_draw():
    none = torch.zeros(0, dtype=torch.int64)
    heat = draw_gaussians((2, 3, 4), none, none, none, none, torch.zeros(0))
    assert heat.shape == (2, 3, 4)
    assert heat.sum() == 0


def test_a_window_far_larger_than_the_map():
    heat = draw([1], [1], [400], [0.5], shape=(1, 3, 3))
    assert heat.max() == heat[0, 1, 1] == 0.5
    assert heat.min() > 0.49


def test_a_window_that_misses_the_map_draws_nothing():
    assert draw([-4, 12], [4, 4], [3, 3], [1.0, 1.0]).sum() == 0
    assert draw([-4], [4], [4], [1.0])[0, 0].sum() > 0


def test_agrees_with_plain_loops_wherever_the_peak_is():
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        row, column, radius = torch.randint(-3, 12, (3,), generator=random).abs().tolist()
        row -= 3
        found = draw([row], [column], [radius], [0.7])
        sigma = (2 * radius + 1) / 6
        for y in range(9):
            for x in range(9):
                near = max(abs(y - row), abs(x - column)) <= radius
                height = 0.7 * math.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
                assert found[0, y, x].item() == pytest.approx(height * near, rel=1e-5)


@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=20),
    spare=st.integers(0, 30),
)
def test_owners_within_a_capacity_equal_repeated_indices(counts, spare):
    counts = torch.tensor(counts)
    total = int(counts.sum())
    owners = owners_within(counts, total + spare)
    assert owners[:total].tolist() == torch.repeat_interleave(counts).tolist()
    assert (owners[total:] == len(counts) - 1).all()


def test_too_small_a_capacity_is_an_error():
    with pytest.raises(RuntimeError, match="usual_radius"):
        owners_within(torch.tensor([3, 4]), 6)


def test_drawing_within_a_capacity_gives_the_same_heat(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    count = 40
    arguments = {
        "planes": torch.randint(3, (count,), generator=generator),
        "rows": torch.randint(20, (count,), generator=generator),
        "columns": torch.randint(30, (count,), generator=generator),
        "radii": torch.randint(-1, 6, (count,), generator=generator),
        "peaks": torch.rand(count, generator=generator),
    }
    expected = draw_gaussians((3, 20, 30), **arguments)
    monkeypatch.setattr(torch, "repeat_interleave", lambda cells: owners_within(cells, 10_000))
    assert torch.equal(draw_gaussians((3, 20, 30), **arguments), expected)


def test_a_negative_radius_draws_nothing():
    heat = draw_gaussians(
        (1, 5, 5),
        planes=torch.tensor([0]),
        rows=torch.tensor([2]),
        columns=torch.tensor([2]),
        radii=torch.tensor([-1]),
        peaks=torch.tensor([1.0]),
    )
    assert not heat.any()


@pytest.mark.parametrize(("cell", "radius"), [(0.32, 7), (0.4, 6), (0.48, 5), (0.64, 3)])
def test_the_radius_of_a_bus(cell, radius):
    assert _bus_radius(BEVGrid(0.0, 0.0, cell, cell, 10, 10)) == radius
    assert _bus_radius(BEVGrid(0.0, 0.0, 100.0, 100.0, 10, 10)) == 2
