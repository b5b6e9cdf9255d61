"""Metres to cells and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd3d.errors import ConfigError
from kd3d.geometry.constants import constant
from kd3d.geometry.grid import BEVGrid

PILLAR = BEVGrid.from_range((-75.2, -75.2, -2.0, 75.2, 75.2, 4.0), (0.32, 0.32, 6.0))
ODD = BEVGrid(-3.7, 11.3, 0.1, 0.7, 7, 5)


def positions(dtype, count=4000):
    return (torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * 200 - 100).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grid", [PILLAR, ODD])
def test_cells_and_metres_are_those_of_copied_constants_to_the_last_bit(grid, dtype):
    xy = positions(dtype)
    origin = torch.tensor((grid.x_min, grid.y_min), dtype=dtype)
    cell = torch.tensor((grid.cell_x, grid.cell_y), dtype=dtype)
    assert torch.equal(grid.to_cells(xy), (xy - origin) / cell)
    assert torch.equal(grid.to_metres(xy), xy * cell + origin)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_a_constant_is_the_copied_one(values):
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.int64):
        like = torch.zeros(2, dtype=dtype)
        assert torch.equal(constant(values, like), like.new_tensor(values))


@given(st.floats(-75.0, 75.0), st.floats(-75.0, 75.0))
def test_there_and_back(x, y):
    xy = torch.tensor([x, y], dtype=torch.float64)
    assert torch.allclose(PILLAR.to_metres(PILLAR.to_cells(xy)), xy, atol=1e-9)


def test_a_cell_holds_its_lower_border():
    grid = BEVGrid(0.0, -2.0, 1.0, 2.0, 3, 2)
    xy = torch.tensor([[0.0, -2.0], [2.99, 1.99], [3.0, 0.0], [1.0, 2.0], [-0.01, 0.0]])
    assert grid.contains(xy).tolist() == [True, True, False, False, False]
    assert grid.to_cells(xy[0]).tolist() == [0.0, 0.0]
    assert grid.shape == (2, 3)


def test_centers_are_rows_of_y_and_columns_of_x():
    grid = BEVGrid(0.0, -2.0, 1.0, 2.0, 3, 2)
    centers = grid.centers()
    assert centers.shape == (2, 3, 2)
    assert centers[1, 2].tolist() == [2.5, 1.0]
    assert grid.contains(centers).all()
    assert torch.equal(grid.to_cells(centers) % 1, torch.full((2, 3, 2), 0.5))


def test_no_gradient_is_lost():
    xy = torch.rand(3, 2, requires_grad=True)
    ODD.to_cells(xy).sum().backward()
    assert torch.allclose(xy.grad, torch.tensor([1 / 0.1, 1 / 0.7]).expand(3, 2))


def test_a_range_that_is_no_whole_number_of_cells():
    with pytest.raises(ConfigError, match=r"nearest symmetric range along x is ±3\.2 m"):
        BEVGrid.from_range((-3.1, -3.2, 0.0, 3.1, 3.2, 1.0), (0.32, 0.32), 2)
    with pytest.raises(ConfigError, match="not a whole number"):
        BEVGrid.from_range((0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (0.0, 0.5))
