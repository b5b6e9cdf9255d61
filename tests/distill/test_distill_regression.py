"""Regression distillation at object centres."""

import math

import pytest
import torch
from distill_fakes import make_grid, random_maps

from kd3d.distill.functional import regression_kd_loss
from kd3d.errors import ConfigError
from kd3d.geometry.grid import BEVGrid
from kd3d.structures import HeadMaps


def box_at(x: float, y: float) -> list[float]:
    return [x, y, 0.5, 4.0, 2.0, 1.5, 0.3]


BOXES = torch.tensor(
    [
        [box_at(-7.9, 3.2), box_at(0.1, 0.1), box_at(5.0, -6.0)],
        [box_at(2.0, 7.0), [0.0] * 7, [0.0] * 7],
    ]
)
LABELS = torch.tensor([[0, 1, 2], [0, -1, -1]])


def read_slowly(maps, frame, x, y, space):
    grid = maps.grid
    column = min(max(math.floor((x - grid.x_min) / grid.cell_x), 0), grid.width - 1)
    row = min(max(math.floor((y - grid.y_min) / grid.cell_y), 0), grid.height - 1)
    branches = (maps.center, maps.center_z, maps.dim, maps.rot)
    code = [float(v) for branch in branches for v in branch[frame, :, row, column]]
    if space == "metres":
        code[0] = grid.x_min + (column + code[0]) * grid.cell_x
        code[1] = grid.y_min + (row + code[1]) * grid.cell_y
    return code


def slow_loss(student, teacher, space, weights=(1.0,) * 8):
    total, objects = 0.0, 0
    for frame in range(2):
        for box, label in zip(BOXES[frame].tolist(), LABELS[frame].tolist(), strict=True):
            if label < 0:
                continue
            objects += 1
            mine = read_slowly(student, frame, box[0], box[1], space)
            theirs = read_slowly(teacher, frame, box[0], box[1], space)
            total += sum(w * abs(a - b) for w, a, b in zip(weights, mine, theirs, strict=True))
    return total / objects


@pytest.mark.parametrize(
    ("space", "cells"), [("code", (16, 16)), ("metres", (16, 16)), ("metres", (16, 40))]
)
def test_agrees_with_plain_loops(space, cells):
    student, teacher = random_maps(cells[0], seed=1), random_maps(cells[1], seed=2)
    loss = regression_kd_loss(student, teacher, BOXES, LABELS, space=space)
    assert loss.item() == pytest.approx(slow_loss(student, teacher, space), rel=1e-5)


def test_code_weights():
    student, teacher = random_maps(16, seed=1), random_maps(16, seed=2)
    weights = (1.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.5, 0.0)
    loss = regression_kd_loss(student, teacher, BOXES, LABELS, code_weights=weights)
    assert loss.item() == pytest.approx(slow_loss(student, teacher, "metres", weights), rel=1e-5)


def constant(grid, cells_off, box):
    """Maps that predict one and the same box shape at an offset, whichever cell is read."""

    def fill(*values):
        channels = torch.tensor(values, dtype=torch.float32)
        return channels[None, :, None, None].expand(1, -1, *grid.shape)

    return HeadMaps(
        fill(0.0), fill(*cells_off), fill(box[0]), fill(*box[1:4]), fill(*box[4:]), grid
    )


def test_hand_computed_across_grids():
    # Object at (0.3, 0.3): student cells of 1 m -> cell (8, 8), teacher cells of 0.5 m -> (16, 16).
    student = constant(make_grid(16), (0.5, 0.5), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    teacher = constant(make_grid(32), (0.5, 0.5), (1.2, 0.1, 0.0, 0.0, 0.0, 1.0))
    boxes, labels = torch.tensor([[box_at(0.3, 0.3)]]), torch.tensor([[0]])
    loss = regression_kd_loss(student, teacher, boxes, labels)
    # x and y: 0.5 against 0.25 m; z 0.2 m; log length 0.1; cosine and sine 1 each
    assert loss.item() == pytest.approx(0.25 + 0.25 + 0.2 + 0.1 + 2.0, rel=1e-5)


def test_objects_outside_either_range_do_not_count_in_metres():
    near, far = random_maps(16, seed=1), random_maps(16, seed=2, half=4.0)
    inside = (BOXES[..., :2].abs() < 4).all(dim=-1)
    loss = regression_kd_loss(near, far, BOXES, LABELS)
    only = regression_kd_loss(near, far, BOXES, LABELS.masked_fill(~inside, -1))
    assert loss.item() == only.item() > 0


@pytest.mark.parametrize("boxes", [torch.zeros(2, 0, 7), torch.full((2, 3, 7), torch.nan)])
def test_no_object_gives_zero_and_no_gradient(boxes):
    student, teacher = random_maps(16, seed=1), random_maps(16, seed=2)
    student.center.requires_grad_()
    labels = torch.full(boxes.shape[:2], -1)
    loss = regression_kd_loss(student, teacher, boxes, labels)
    loss.backward()
    assert loss.item() == 0.0
    assert student.center.grad.abs().sum() == 0


def test_gradient_reaches_the_student_at_object_cells_only():
    student, teacher = random_maps(16, seed=1), random_maps(16, seed=2)
    student.dim.requires_grad_()
    teacher.dim.requires_grad_()
    regression_kd_loss(student, teacher, BOXES, LABELS).backward()
    assert (student.dim.grad.abs().sum(dim=1) > 0).sum() == 4
    assert teacher.dim.grad is None


def predicting(grid, box):
    """Maps that predict one box (x, y, z, length, width, height, heading) from every cell."""
    rows, columns = torch.meshgrid(
        torch.arange(grid.height), torch.arange(grid.width), indexing="ij"
    )
    corner = torch.stack((columns, rows)).double()
    position = torch.tensor(
        [(box[0] - grid.x_min) / grid.cell_x, (box[1] - grid.y_min) / grid.cell_y]
    )
    center = (position.double()[:, None, None] - corner).float()[None]

    def fill(*values):
        return torch.tensor(values)[None, :, None, None].expand(1, -1, *grid.shape)

    heading = (math.cos(box[6]), math.sin(box[6]))
    size = [math.log(value) for value in box[3:6]]
    return HeadMaps(fill(0.0), center, fill(box[2]), fill(*size), fill(*heading), grid)


@pytest.mark.parametrize(
    "grid",
    [
        make_grid(16),
        make_grid(40),
        make_grid(23),
        BEVGrid(-9.3, -8.1, 0.37, 0.59, 60, 31),
    ],
)
def test_one_box_in_metres_is_no_difference_on_any_grid(grid):
    box = box_at(1.3, -2.2)
    loss = regression_kd_loss(
        predicting(make_grid(20), box),
        predicting(grid, box),
        torch.tensor([[box, box_at(-3.0, 4.0)]]),
        torch.tensor([[0, 1]]),
    )
    assert loss.item() < 1e-4


@pytest.mark.parametrize("cells", [16, 40])
def test_objects_at_the_border(cells):
    # The lower borders are cells of the range, the upper ones are outside; a corner cell is read.
    student, teacher = random_maps(16, seed=1), random_maps(cells, seed=2)
    on = [box_at(-8.0, -8.0), box_at(7.999, 7.999), box_at(-8.0, 7.5)]
    off = [box_at(8.0, 0.0), box_at(0.0, 8.0), box_at(-8.001, 0.0)]
    labels = torch.tensor([[0, 1, 2], [-1, -1, -1]])
    boxes = torch.tensor([on, off])
    assert regression_kd_loss(student, teacher, boxes, labels).item() == pytest.approx(
        sum(
            abs(a - b)
            for box in on
            for a, b in zip(
                read_slowly(student, 0, box[0], box[1], "metres"),
                read_slowly(teacher, 0, box[0], box[1], "metres"),
                strict=True,
            )
        )
        / 3,
        rel=1e-5,
    )
    outside = regression_kd_loss(student, teacher, boxes.flip(0), labels)
    assert outside.item() == 0.0
    if cells == 16:  # the paper's code reads the border cell
        assert regression_kd_loss(student, teacher, boxes.flip(0), labels, space="code") > 0


def test_boxes_without_a_size_do_not_count():
    student, teacher = random_maps(16, seed=1), random_maps(16, seed=2)
    flat = BOXES.clone()
    flat[0, 1, 3] = 0.0
    expected = regression_kd_loss(student, teacher, BOXES, torch.tensor([[0, -1, 2], [0, -1, -1]]))
    assert regression_kd_loss(student, teacher, flat, LABELS).item() == expected.item()


def test_a_frame_without_boxes_has_no_part():
    student, teacher = random_maps(16, seed=1), random_maps(16, seed=2)
    student.center.requires_grad_()
    labels = torch.tensor([[0, 1, 2], [-1, -1, -1]])
    regression_kd_loss(student, teacher, BOXES, labels).backward()
    assert student.center.grad[0].abs().sum() > 0
    assert student.center.grad[1].abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("space", ["metres", "code"])
def test_half_precision_is_computed_in_float32(dtype, space):
    student, teacher = (random_maps(16, seed=seed)._map(lambda t: t.to(dtype)) for seed in (1, 2))
    single = [maps._map(lambda t: t.float()) for maps in (student, teacher)]
    loss = regression_kd_loss(student, teacher, BOXES, LABELS, space=space)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, regression_kd_loss(*single, BOXES, LABELS, space=space))


def test_bad_input():
    maps, other = random_maps(16), random_maps(32)
    with pytest.raises(ConfigError, match="equal grids only"):
        regression_kd_loss(maps, other, BOXES, LABELS, space="code")
    with pytest.raises(ConfigError, match="'feet' is not one of"):
        regression_kd_loss(maps, maps, BOXES, LABELS, space="feet")
    with pytest.raises(ConfigError, match="3 weights for the 8 values"):
        regression_kd_loss(maps, maps, BOXES, LABELS, code_weights=(1.0, 1.0, 1.0))
