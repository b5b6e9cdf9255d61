"""Rotated grids of points in boxes, and maps sampled there."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import ConfigError, InputError
from kd3d.geometry import BEVGrid, corners_bev, pool_rois, roi_points

GRID = BEVGrid(x_min=-4.0, y_min=-3.0, cell_x=0.5, cell_y=0.75, width=16, height=8)

angles = st.floats(-math.pi, math.pi)
boxes = st.tuples(
    st.floats(-6, 6), st.floats(-5, 5), st.just(0.0), st.floats(0.1, 5), st.floats(0.1, 3),
    st.just(1.0), angles,
)  # fmt: skip


def draw_maps(frames=2, channels=3, grid=GRID, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(frames, channels, *grid.shape, generator=random, dtype=torch.float64)


def boxed(*values):
    return torch.tensor([[list(one) for one in values]], dtype=torch.float64)


def brute_force(plane, grid, x, y):
    """Bilinear between cell centres, the outermost values at the border, zero outside."""
    column, row = (x - grid.x_min) / grid.cell_x, (y - grid.y_min) / grid.cell_y
    if not (0 <= column < grid.width and 0 <= row < grid.height):
        return 0.0
    total = 0.0
    for i in range(-1, grid.height + 1):
        for j in range(-1, grid.width + 1):
            across, down = 1 - abs(column - (j + 0.5)), 1 - abs(row - (i + 0.5))
            if across > 0 and down > 0:
                value = plane[min(max(i, 0), grid.height - 1)][min(max(j, 0), grid.width - 1)]
                total += across * down * value
    return total


@settings(max_examples=25, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=3), st.integers(1, 4))
def test_it_is_a_brute_force_bilinear_sampler(found, size):
    maps = draw_maps(1)
    pooled = pool_rois(maps, boxed(*found), GRID, size)
    assert pooled.shape == (1, len(found), 3, size, size)
    planes = maps[0].tolist()
    for m, (x, y, _, length, width, _, heading) in enumerate(found):
        for row in range(size):
            for column in range(size):
                along = ((column + 0.5) / size - 0.5) * length
                across = ((row + 0.5) / size - 0.5) * width
                at_x = x + along * math.cos(heading) - across * math.sin(heading)
                at_y = y + along * math.sin(heading) + across * math.cos(heading)
                edges = (
                    (at_x - GRID.x_min) / GRID.cell_x % GRID.width,
                    (at_y - GRID.y_min) / GRID.cell_y % GRID.height,
                )
                if min(edges) < 1e-9:
                    continue  # on the border of the range, rounding says whether it is inside
                for channel, plane in enumerate(planes):
                    expected = brute_force(plane, GRID, at_x, at_y)
                    assert pooled[0, m, channel, row, column].item() == pytest.approx(
                        expected, abs=1e-9
                    )


def test_a_box_over_one_cell_reads_its_centre():
    """The convention itself: cell (3, 5) has its centre at (5.5, 3.5) cells."""
    maps = draw_maps()
    x, y = -4.0 + 5.5 * 0.5, -3.0 + 3.5 * 0.75
    pooled = pool_rois(maps, boxed([x, y, 0, 0.5, 0.75, 1, 0]).repeat(2, 1, 1), GRID, 1)
    torch.testing.assert_close(pooled[:, 0, :, 0, 0], maps[:, :, 3, 5])


def test_a_box_over_whole_cells_reads_them_in_order():
    maps = draw_maps(1)
    x, y = -4.0 + 6.5 * 0.5, -3.0 + 3.5 * 0.75
    pooled = pool_rois(maps, boxed([x, y, 0, 3 * 0.5, 3 * 0.75, 1, 0]), GRID, 3)
    torch.testing.assert_close(pooled[0, 0], maps[0, :, 2:5, 5:8])


@given(boxes)
def test_half_a_turn_flips_the_grid(box):
    turned = (*box[:6], box[6] + math.pi)
    points = roi_points(boxed(box, turned), 5)
    torch.testing.assert_close(points[0, 1], points[0, 0].flip(0, 1), atol=1e-9, rtol=0)


@given(boxes)
def test_points_are_inside_the_box_and_even(box):
    points = roi_points(boxed(box), 7)[0, 0]
    corners = corners_bev(boxed(box)[0])[0]
    torch.testing.assert_close(points.mean(dim=(0, 1)), corners.mean(dim=0), atol=1e-9, rtol=0)
    step, other = points[:, 1:] - points[:, :-1], points[1:] - points[:-1]
    for steps, side in ((step, box[3]), (other, box[4])):
        length = torch.linalg.vector_norm(steps, dim=-1)
        torch.testing.assert_close(length, torch.full_like(length, side / 7), atol=1e-9, rtol=0)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-1.2, 1.2), st.floats(-0.8, 0.8), st.floats(0.1, 1.2), st.floats(0.1, 1.0), angles,
    st.integers(-2, 2), st.integers(-1, 1),
)  # fmt: skip
def test_translation_by_whole_cells(x, y, length, width, heading, right, down):
    maps = draw_maps(1)
    shifted = maps.roll((down, right), dims=(2, 3))
    box = boxed([x, y, 0, length, width, 1, heading])
    moved = boxed([x + right * 0.5, y + down * 0.75, 0, length, width, 1, heading])
    torch.testing.assert_close(pool_rois(shifted, moved, GRID), pool_rois(maps, box, GRID))


@settings(max_examples=50, deadline=None)
@given(boxes)
def test_a_constant_map_gives_the_constant_inside_and_zero_outside(box):
    found = boxed(box)
    pooled = pool_rois(torch.full((1, 2, *GRID.shape), 2.5, dtype=torch.float64), found, GRID)
    inside = GRID.contains(roi_points(found))[:, :, None]
    torch.testing.assert_close(pooled, torch.where(inside, 2.5, 0.0).double().expand_as(pooled))


@settings(max_examples=50, deadline=None)
@given(st.floats(-1, 1), st.floats(-0.7, 0.7), st.floats(0.1, 3), st.floats(0.1, 2), angles)
def test_a_linear_map_is_sampled_exactly(x, y, length, width, heading):
    centers = GRID.centers().double()
    plane = 0.7 * centers[..., 0] - 1.3 * centers[..., 1] + 0.2
    box = boxed([x, y, 0, length, width, 1, heading])
    points = roi_points(box)
    expected = 0.7 * points[..., 0] - 1.3 * points[..., 1] + 0.2
    pooled = pool_rois(plane[None, None], box, GRID)
    torch.testing.assert_close(pooled[:, :, 0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layouts_and_batches_do_not_matter(layout):
    maps = draw_maps(3).contiguous(memory_format=layout)
    found = torch.rand(3, 4, 7, dtype=torch.float64) + torch.tensor([-1.0, -1, 0, 1, 1, 1, 0])
    whole = pool_rois(maps, found, GRID)
    for frame in range(3):
        for m in range(4):
            one = pool_rois(maps[frame : frame + 1], found[frame : frame + 1, m : m + 1], GRID)
            torch.testing.assert_close(whole[frame, m], one[0, 0])


def test_it_is_differentiable_in_maps_and_boxes():
    maps = draw_maps(1, 2).requires_grad_()
    found = boxed([0.31, 0.17, 0, 2.1, 1.3, 1, 0.4], [-1.2, 0.9, 0, 1.7, 0.6, 1, -2.0])
    assert torch.autograd.gradcheck(
        lambda m, b: pool_rois(m, b, GRID, 3), (maps, found.requires_grad_())
    )


def test_only_cells_around_the_points_get_a_gradient():
    maps = draw_maps(1).requires_grad_()
    box = boxed([-4.0 + 5.5 * 0.5, -3.0 + 3.5 * 0.75, 0, 0.5, 0.75, 1, 0])
    pool_rois(maps, box, GRID, 2).sum().backward()
    assert (maps.grad[0, :, 2:5, 4:7] != 0).all()
    touched = (maps.grad[0] != 0).any(dim=0)
    touched[2:5, 4:7] = False
    assert not touched.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    maps = draw_maps(1).to(dtype).requires_grad_()
    box = boxed([0.31, 0.17, 0, 2.1, 1.3, 1, 0.4])
    pooled = pool_rois(maps, box.float(), GRID)
    assert pooled.dtype == dtype
    expected = pool_rois(maps.detach().double(), box, GRID)
    torch.testing.assert_close(pooled.double(), expected, atol=0.03, rtol=0)
    pooled.float().sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_boxes_that_are_nowhere_give_zero(bad):
    box = boxed([0.3, 0.1, 0, 2.0, 1.0, 1, 0.4])
    box[..., 0] = bad
    assert (pool_rois(draw_maps(1), box, GRID) == 0).all()


def test_no_boxes():
    maps = draw_maps().requires_grad_()
    pooled = pool_rois(maps, torch.zeros(2, 0, 7), GRID)
    assert pooled.shape == (2, 0, 3, 7, 7)
    pooled.sum().backward()
    assert (maps.grad == 0).all()


def test_bad_input():
    maps, box = draw_maps(1), boxed([0, 0, 0, 1, 1, 1, 0])
    with pytest.raises(InputError, match=r"\[B, C, 8, 16\] to lie on the grid, not .*\(1, 3, 16"):
        pool_rois(maps.transpose(2, 3), box, GRID)
    with pytest.raises(InputError, match=r"1 frames need boxes \[1, M, 7\], not \(2, 1, 7\)"):
        pool_rois(maps, box.repeat(2, 1, 1), GRID)
    with pytest.raises(InputError, match=r"boxes must be floating \[\.\.\., 7\]"):
        pool_rois(maps, box[..., :6], GRID)
    with pytest.raises(ConfigError, match="a grid of 0 points"):
        pool_rois(maps, box, GRID, 0)
