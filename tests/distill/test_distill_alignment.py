"""Heatmaps of different cells: sampled at the pivots, stretched, or averaged."""

import pytest
import torch
import torch.nn.functional as F
from distill_fakes import make_grid
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.distill.functional import (
    average_over_cells,
    pivot_weights,
    pivotal_logit_loss,
    probability,
    sample_at_centers,
)
from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid

# ratios 1.25, 1.5, 2 and 2.5 of the paper's pairs, and cells that do not divide each other
CELLS = [(16, 20), (16, 24), (16, 32), (16, 40), (20, 16), (15, 31), (368, 460), (232, 464)]


@pytest.mark.parametrize("cells", CELLS)
def test_sampling_on_a_shared_range_is_the_bilinear_resize(cells):
    own, other = cells
    maps = torch.rand(1, 2, own, own, generator=torch.Generator().manual_seed(0))
    sampled, inside = sample_at_centers(maps, make_grid(own), make_grid(other))
    # in float64, because torch finds its positions in the map's dtype: 1e-5 off at 460 cells
    resized = F.interpolate(maps.double(), size=(other, other), mode="bilinear")
    assert (sampled - resized).abs().max() < 1e-6
    assert inside.all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 9),
    st.integers(2, 9),
    st.floats(0.3, 2.0),
    st.floats(0.3, 2.0),
    st.floats(-1.0, 1.0),
)
def test_sampling_reads_a_plane_exactly(own, other, own_cell, other_cell, shift):
    # On a map that is linear in metres, bilinear sampling is exact between outermost centres.
    source = BEVGrid(-1.0, 0.0, own_cell, own_cell, own, own + 1)
    target = BEVGrid(-1.0 + shift * own_cell / 3, 0.0, other_cell, other_cell, other, other)
    centers = source.centers()
    plane = (0.5 * centers[..., 0] - 0.2 * centers[..., 1])[None, None]
    sampled, inside = sample_at_centers(plane, source, target)
    wanted = target.centers()
    x = wanted[..., 0].clamp(centers[..., 0].min(), centers[..., 0].max())
    y = wanted[..., 1].clamp(centers[..., 1].min(), centers[..., 1].max())
    assert torch.allclose(sampled[0, 0], 0.5 * x - 0.2 * y, atol=1e-4)
    edge = source.to_cells(wanted)
    clear = ((edge - edge.round()).abs() > 1e-3).all(dim=-1)  # no tie on the border
    assert torch.equal(inside[clear], source.contains(wanted)[clear])


def test_alignments_agree_on_a_shared_range():
    student, teacher = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 16, 16)
    heat = torch.rand(1, 3, 16, 16)
    grids = {"student_grid": make_grid(8), "teacher_grid": make_grid(16)}
    pivot = pivotal_logit_loss(student, teacher, heat, **grids)
    resize = pivotal_logit_loss(student, teacher, heat, alignment="resize")
    assert pivot.item() == pytest.approx(resize.item(), abs=1e-6)


def test_cells_outside_the_students_range_do_not_count():
    own, wide = make_grid(4, half=2.0), make_grid(8, half=4.0)
    student, teacher = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 8, 8)
    loss = pivotal_logit_loss(student, teacher, pivots="all", student_grid=own, teacher_grid=wide)
    cropped = pivotal_logit_loss(student, teacher[..., 2:6, 2:6], pivots="all")
    assert loss.item() == pytest.approx(cropped.item(), rel=1e-5)


@pytest.mark.parametrize("own", [(16, 20), (16, 24), (16, 32), (16, 40)])
def test_the_loss_on_a_shared_range_is_that_of_the_stretched_map(own):
    cells, other = own
    random = torch.Generator().manual_seed(0)
    student = torch.randn(2, 3, cells, cells, generator=random)
    teacher, heat = (torch.rand(2, 3, other, other, generator=random) for _ in range(2))
    grids = {"student_grid": make_grid(cells), "teacher_grid": make_grid(other)}
    gradients = []
    for alignment in ("pivot", "resize"):
        student.requires_grad_().grad = None
        loss = pivotal_logit_loss(student, teacher, heat, alignment=alignment, **grids)
        loss.backward()
        gradients.append((loss.detach(), student.grad))
    assert abs(gradients[0][0] - gradients[1][0]) < 1e-6
    assert (gradients[0][1] - gradients[1][1]).abs().max() < 1e-6


def bump(grid):
    """Logits of a smooth field over the ground, at the centres of a grid."""
    x, y = grid.centers().unbind(dim=-1)
    return (torch.sin(0.3 * x) - torch.cos(0.2 * y) + 0.05 * x)[None, None]


def test_foreign_ranges_compare_the_same_places():
    # Both see one field; the student's grid is shifted, narrower and coarser than the teacher's.
    own, other = BEVGrid(-5.0, -7.0, 0.25, 0.25, 60, 44), BEVGrid(-9.0, -8.0, 0.2, 0.2, 80, 90)
    loss = {
        alignment: pivotal_logit_loss(
            bump(own), bump(other), pivots="all", alignment=alignment,
            student_grid=own, teacher_grid=other,
        ).item()
        for alignment in ("pivot", "pool", "resize")
    }  # fmt: skip
    assert loss["pivot"] < 1e-6
    assert loss["pool"] < 1e-5  # averages over cells that are cut at the border
    assert loss["resize"] > 1e-3


def test_what_is_sampled_is_the_probability_not_the_logit():
    own, other = BEVGrid(0.0, 0.0, 2.0, 1.0, 2, 1), BEVGrid(0.0, 0.0, 1.0, 1.0, 4, 1)
    student = torch.tensor([-20.0, 2.0]).view(1, 1, 1, 2)
    sampled, _ = sample_at_centers(probability(student), own, other)
    high = 1 / (1 + torch.tensor(-2.0).exp())
    expected = torch.stack([torch.tensor(1e-4), 0.75e-4 + 0.25 * high, 0.25e-4 + 0.75 * high, high])
    assert torch.allclose(sampled.flatten(), expected)
    teacher = torch.logit(expected).view(1, 1, 1, 4)
    loss = pivotal_logit_loss(student, teacher, pivots="all", student_grid=own, teacher_grid=other)
    assert loss.item() < 1e-12


def slow_average(maps, source, target):
    """The definition, cell by cell."""
    means = torch.zeros(*maps.shape[:2], target.height, target.width, dtype=torch.float64)

    def shared(lower, size, i, other_lower, other_size, j):
        start = max(lower + i * size, other_lower + j * other_size)
        stop = min(lower + (i + 1) * size, other_lower + (j + 1) * other_size)
        return max(stop - start, 0.0)

    for row in range(target.height):
        for column in range(target.width):
            area, total = 0.0, torch.zeros(maps.shape[:2], dtype=torch.float64)
            for i in range(source.height):
                for j in range(source.width):
                    part = shared(
                        target.y_min, target.cell_y, row, source.y_min, source.cell_y, i
                    ) * shared(target.x_min, target.cell_x, column, source.x_min, source.cell_x, j)
                    area += part
                    total += part * maps[:, :, i, j].double()
            means[:, :, row, column] = total / area if area > 0 else 0.0
    return means


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)),
    st.floats(0.2, 1.5),
    st.floats(0.2, 3.0),
    st.floats(-0.9, 0.9),
)
def test_averaging_agrees_with_plain_loops(cells, own_cell, other_cell, shift):
    source = BEVGrid(0.0, 1.0, own_cell, 1.1 * own_cell, cells[0], cells[1])
    target = BEVGrid(
        shift * min(own_cell, other_cell), 1.0, other_cell, other_cell, cells[2], cells[3]
    )
    maps = torch.rand(2, 1, *source.shape, generator=torch.Generator().manual_seed(0))
    means, inside = average_over_cells(maps, source, target)
    slow = slow_average(maps, source, target)
    where = inside.expand_as(means)
    assert torch.allclose(means[where].double(), slow[where], atol=1e-5)


def test_averaging_a_whole_number_of_cells_is_average_pooling():
    maps = torch.rand(2, 3, 24, 24)
    means, inside = average_over_cells(maps, make_grid(24), make_grid(8))
    assert torch.allclose(means, F.avg_pool2d(maps, 3), atol=1e-6)
    assert inside.all()
    assert average_over_cells(maps, make_grid(24), make_grid(24))[0] is maps


@pytest.mark.parametrize("pivots", ["gaussian", "confidence", "rank", "all"])
@pytest.mark.parametrize(("own", "other"), [(4, 8), (5, 8), (8, 4), (8, 5)])
def test_pooling_compares_at_the_coarser_cells(pivots, own, other):
    random = torch.Generator().manual_seed(own)
    student = torch.randn(2, 3, own, own, generator=random, requires_grad=True)
    teacher = torch.randn(2, 3, other, other, generator=random)
    heat = torch.rand(2, 3, other, other, generator=random)
    heat *= heat > 0.9
    options = {"pivots": pivots, "threshold": 0.55, "top_k": 5}
    grids = {"student_grid": make_grid(own), "teacher_grid": make_grid(other)}
    loss = pivotal_logit_loss(student, teacher, heat, alignment="pool", **options, **grids)

    mine, theirs = probability(student).detach(), probability(teacher)
    if own < other:
        theirs = slow_average(theirs, make_grid(other), make_grid(own)).float()
        heat = slow_average(heat, make_grid(other), make_grid(own)).float()
    else:
        mine = slow_average(mine, make_grid(own), make_grid(other)).float()
    weights = pivot_weights(theirs, heat, **options)
    expected = (weights * (mine - theirs).square().sum(dim=1)).sum() / (weights.sum() + 1e-6)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert loss.item() > 0
    loss.backward()
    touched = student.grad.abs().sum(dim=1) > 0
    assert torch.equal(touched, weights > 0) if own < other else touched.any()


@pytest.mark.parametrize("alignment", ["pivot", "pool"])
def test_equal_grids_compare_cell_by_cell(alignment):
    student, teacher = torch.randn(1, 3, 6, 6), torch.randn(1, 3, 6, 6)
    grids = {"student_grid": make_grid(6), "teacher_grid": make_grid(6)}
    loss = pivotal_logit_loss(student, teacher, pivots="all", alignment=alignment, **grids)
    assert torch.equal(loss, pivotal_logit_loss(student, teacher, pivots="all"))


@pytest.mark.parametrize("alignment", ["pivot", "pool"])
def test_gradient_stays_near_the_pivots_inside_both_ranges(alignment):
    own, wide = make_grid(6, half=3.0), make_grid(20, half=5.0)
    student = torch.randn(1, 2, 6, 6, requires_grad=True)
    heat = torch.zeros(1, 2, 20, 20)
    heat[0, 0, 1, 1] = heat[0, 1, 11, 10] = 1.0  # one outside the student's range, one inside
    options = {"alignment": alignment, "student_grid": own, "teacher_grid": wide}
    pivotal_logit_loss(student, torch.randn(1, 2, 20, 20), heat, **options).backward()
    rows, columns = student.grad.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    assert 0 < len(rows) <= 4
    assert set(rows.tolist()) <= {3, 4}
    assert set(columns.tolist()) <= {2, 3}


@pytest.mark.parametrize("alignment", ["pivot", "resize", "pool"])
def test_no_pivot_is_zero_with_zero_gradient(alignment):
    student = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = pivotal_logit_loss(
        student, torch.randn(2, 3, 8, 8), torch.zeros(2, 3, 8, 8), alignment=alignment,
        student_grid=make_grid(4), teacher_grid=make_grid(8),
    )  # fmt: skip
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize("alignment", ["pivot", "pool"])
def test_ranges_that_do_not_meet(alignment):
    far = BEVGrid(50.0, -8.0, 1.0, 1.0, 8, 8)
    with pytest.raises(ConfigError, match=r"share no range along x.*50 to 58.*-8 to 8 m"):
        pivotal_logit_loss(
            torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 16, 16), pivots="all",
            alignment=alignment, student_grid=far, teacher_grid=make_grid(16),
        )  # fmt: skip
