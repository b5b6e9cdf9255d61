import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd3d.geometry.heat import draw_gaussians, gaussian_radius


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
