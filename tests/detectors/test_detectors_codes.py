"""Boxes and the codes of a center head, both ways."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kd3d.detectors import assign_center_targets, decode_codes, read_codes
from kd3d.geometry import BEVGrid
from kd3d.structures import HeadMaps

GRID = BEVGrid(-8.0, -4.0, 0.5, 0.25, 32, 32)
boxes_in_the_grid = st.tuples(
    st.floats(-7.9, 7.7), st.floats(-3.9, 3.8), st.floats(-2, 3),
    st.floats(0.3, 12), st.floats(0.3, 4), st.floats(0.3, 4), st.floats(-3.1, 3.1),
    st.floats(-20, 20),
)  # fmt: skip


@given(st.lists(boxes_in_the_grid, min_size=1, max_size=4))
def test_targets_decode_to_the_boxes_that_they_are_of(boxes):
    boxes = torch.tensor([boxes])
    labels = torch.zeros(1, boxes.shape[1], dtype=torch.int64)
    targets = assign_center_targets(boxes, labels, GRID, 1, extra_columns=1)
    found = decode_codes(targets.codes, targets.indices, GRID)
    torch.testing.assert_close(found, boxes, atol=1e-4, rtol=1e-4)


def test_codes_are_read_at_their_cells_and_pass_gradients_on():
    torch.manual_seed(0)
    sizes = {"heatmap": 1, "center": 2, "center_z": 1, "dim": 3, "rot": 2}
    maps = {name: torch.randn(2, size, 32, 32) for name, size in sizes.items()}
    maps["dim"].requires_grad_()
    speed = torch.randn(2, 2, 32, 32)
    cells = torch.tensor([[33, 5], [1023, 0]])
    codes = read_codes(HeadMaps(**maps, grid=GRID, extra={"speed": speed}), cells)
    assert codes.shape == (2, 2, 10)
    for frame, slot in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = divmod(int(cells[frame, slot]), 32)
        parts = [maps[name] for name in ("center", "center_z", "dim", "rot")] + [speed]
        expected = torch.cat([part[frame, :, row, column] for part in parts])
        torch.testing.assert_close(codes[frame, slot], expected)
    decode_codes(codes, cells, GRID)[..., 3:6].sum().backward()
    touched = maps["dim"].grad.abs().sum(dim=1).flatten(1).nonzero()
    assert {tuple(place) for place in touched.tolist()} == {(0, 33), (0, 5), (1, 1023), (1, 0)}
