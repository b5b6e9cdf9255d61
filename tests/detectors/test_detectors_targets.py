import math

import pytest
import torch

from kd3d.detectors.targets import assign_center_targets
from kd3d.errors import InputError
from kd3d.geometry.grid import BEVGrid
from kd3d.geometry.heat import gaussian_radius

GRID = BEVGrid(x_min=-10.0, y_min=-8.0, cell_x=0.5, cell_y=0.5, width=40, height=32)


def box(x=0.0, y=0.0, length=4.0, width=2.0, heading=0.0, *extra):
    return [x, y, 1.0, length, width, 1.5, heading, *extra]


def assign(boxes, labels, **options):
    return assign_center_targets(torch.tensor([boxes]), torch.tensor([labels]), GRID, 3, **options)


def heat_one_by_one(boxes, labels, classes):
    """The heatmap of one frame, one object and one cell after the other, in Python floats."""
    heat = torch.zeros(classes, GRID.height, GRID.width)
    for (x, y, _, length, width, *_), label in zip(boxes, labels, strict=True):
        column = int(min(max((x - GRID.x_min) / GRID.cell_x, 0), GRID.width - 0.5))
        row = int(min(max((y - GRID.y_min) / GRID.cell_y, 0), GRID.height - 0.5))
        size = torch.tensor(length / GRID.cell_x), torch.tensor(width / GRID.cell_y)
        radius = max(2, int(gaussian_radius(*size, 0.1)))
        sigma = (2 * radius + 1) / 6
        for down in range(-radius, radius + 1):
            for right in range(-radius, radius + 1):
                r, c = row + down, column + right
                if 0 <= r < GRID.height and 0 <= c < GRID.width:
                    value = math.exp(-(down**2 + right**2) / (2 * sigma**2))
                    heat[label, r, c] = max(float(heat[label, r, c]), value)
    return heat


def test_heat_equals_a_loop_over_objects():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([24.0, 20, 2, 11, 5, 2, 6])
    low = torch.tensor([-12.0, -10, 0, 0.3, 0.3, 0.5, -3])
    boxes = torch.rand(40, 7, generator=generator) * spread + low
    labels = torch.randint(0, 3, (40,), generator=generator)
    targets = assign_center_targets(boxes[None], labels[None], GRID, 3)
    expected = heat_one_by_one(boxes.tolist(), labels.tolist(), 3)
    torch.testing.assert_close(targets.heatmap[0], expected, rtol=1e-6, atol=1e-7)
    assert (targets.heatmap[0, labels].flatten(1).gather(1, targets.indices[0, :, None]) == 1).all()


def test_codes_of_a_box():
    targets = assign([box(x=1.3, y=-2.1, heading=0.3)], [1])
    assert targets.indices.tolist() == [[11 * 40 + 22]]
    assert targets.mask.tolist() == [[True]]
    expected = [
        0.6,
        0.8,
        1.0,
        math.log(4),
        math.log(2),
        math.log(1.5),
        math.cos(0.3),
        math.sin(0.3),
    ]
    torch.testing.assert_close(targets.codes[0, 0], torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_centres_outside_move_to_the_border_cell():
    targets = assign([box(x=-50), box(x=50), box(y=50)], [0, 0, 0])
    rows, columns = targets.indices[0] // 40, targets.indices[0] % 40
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(16, 0), (16, 39), (31, 20)]
    assert targets.codes[0, :, 0].tolist() == [0, 0.5, 0]


def test_empty_and_degenerate_slots_are_masked():
    boxes = [box(), box(length=0), box(width=-1), box(), [0.0] * 7]
    targets = assign(boxes, [0, 0, 1, -1, -1])
    assert targets.mask.tolist() == [[True, False, False, False, False]]
    assert targets.labels.tolist() == [[0, -1, -1, -1, -1]]
    assert targets.weight.tolist() == [[1, 0, 0, 0, 0]]
    assert (targets.heatmap == 1).sum() == 1
    assert targets.codes[0, 1:].abs().sum() == 0


def test_no_boxes_at_all():
    targets = assign_center_targets(
        torch.zeros(2, 0, 7), torch.zeros(2, 0, dtype=torch.int64), GRID, 3
    )
    assert targets.heatmap.shape == (2, 3, 32, 40)
    assert targets.heatmap.sum() == 0
    assert targets.codes.shape == (2, 0, 8)


def test_weights_and_the_limit_of_objects():
    heat, weight = torch.tensor([[0.5, 1.0, 0.0]]), torch.tensor([[0.2, 1.0, 3.0]])
    boxes, labels = [box(), box(x=5), box(x=-5)], [0, 1, 2]
    targets = assign(boxes, labels, heat_weight=heat, box_weight=weight)
    assert targets.heatmap[0].flatten(1).amax(1).tolist() == [0.5, 1, 0]
    assert targets.weight.tolist() == weight.tolist()
    first = assign(boxes, labels, heat_weight=heat, box_weight=weight, max_objects=1)
    assert first.labels.tolist() == [[0]]
    assert first.heatmap[0, 1:].sum() == 0


def test_extra_columns_are_regressed_as_they_are():
    targets = assign([box(0.0, 0.0, 4.0, 2.0, 0.0, 3.5, -1.5)], [0], extra_columns=2)
    assert targets.codes[0, 0, 8:].tolist() == [3.5, -1.5]


def test_inputs_stay_as_they_are():
    boxes, labels = torch.tensor([[box(), box(length=0)]]), torch.tensor([[0, 1]])
    copies = boxes.clone(), labels.clone()
    assign_center_targets(boxes, labels, GRID, 3)
    assert torch.equal(boxes, copies[0])
    assert torch.equal(labels, copies[1])


def test_bad_boxes_are_named():
    with pytest.raises(InputError, match=r"box 1 of frame 0.*label 3 of 3 classes"):
        assign([box(), box()], [0, 3])
    with pytest.raises(InputError, match=r"box 0 of frame 0.*nan"):
        assign([box(x=float("nan"))], [0])
    with pytest.raises(InputError, match=r"\[B, M, 9 or more\]"):
        assign([box()], [0], extra_columns=2)
    assert assign([box(x=float("nan"))], [-1]).mask.sum() == 0


def test_float32_under_autocast():
    expected = assign([box(x=5.3, heading=1.0)], [0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        targets = assign([box(x=5.3, heading=1.0)], [0])
    assert torch.equal(targets.codes, expected.codes)
    assert torch.equal(targets.heatmap, expected.heatmap)
