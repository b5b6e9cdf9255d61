"""Generalised overlap against shapely, and cases with a known answer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon

from kd3d.errors import InputError
from kd3d.geometry import (
    corners_bev,
    giou_3d,
    giou_3d_aligned,
    giou_bev,
    giou_bev_aligned,
    iou_3d_aligned,
    iou_bev_aligned,
)


def random_boxes(count, seed=0, spread=4.0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.tensor([-spread, -spread, -1, 0.3, 0.3, 0.5, -7])
    high = torch.tensor([spread, spread, 1, 6, 3, 3, 7])
    return low + torch.rand(count, 7, generator=generator) * (high - low)


def shapely_giou(first, second):
    """GIoU in bird's-eye view and in 3D of one pair, double precision."""
    one, two = (Polygon(corners_bev(box[None].double())[0].numpy()) for box in (first, second))
    shared, hull = one.intersection(two).area, MultiPolygon([one, two]).convex_hull.area
    union = one.area + two.area - shared
    flat = shared / union - (hull - union) / hull
    spans = [(float(b[2] - b[5] / 2), float(b[2] + b[5] / 2)) for b in (first, second)]
    tall = max(s[1] for s in spans) - min(s[0] for s in spans)
    shared *= max(min(s[1] for s in spans) - max(s[0] for s in spans), 0)
    hull *= tall
    union = one.area * float(first[5]) + two.area * float(second[5]) - shared
    return flat, shared / union - (hull - union) / hull


side = st.floats(0.05, 20)
place = st.floats(-6, 6)
turn = st.floats(-10, 10) | st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi, math.pi / 4])
box = st.tuples(place, place, st.floats(-1, 1), side, side, st.floats(0.1, 3), turn)


@settings(max_examples=200, deadline=None)
@given(box, box, st.sampled_from([0.0, 100.0, -173.5]))
def test_property_equal_to_shapely(first, second, shift):
    pair = torch.tensor([first, second], dtype=torch.float64)
    pair[:, :2] += shift
    flat, solid = shapely_giou(*pair)
    assert float(giou_bev_aligned(pair[:1], pair[1:])) == pytest.approx(flat, abs=1e-6)
    assert float(giou_3d_aligned(pair[:1], pair[1:])) == pytest.approx(solid, abs=1e-6)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_identical_boxes_give_one(offset):
    boxes = random_boxes(300)
    boxes[:, :2] += offset
    for giou in (giou_bev_aligned, giou_3d_aligned):
        assert (giou(boxes, boxes.clone()) == 1).all()


def test_touching_boxes_in_a_row_give_zero():
    # Side by side the hull is just the two boxes: nothing shared, nothing wasted.
    pair = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0], [4.0, 0, 0, 4, 2, 1, 0]])
    assert float(giou_bev_aligned(pair[:1], pair[1:])) == 0
    assert float(giou_3d_aligned(pair[:1], pair[1:])) == 0
    pair[1, 0] = 12  # a gap of 8 m between boxes of 4 m: half of the hull is empty
    assert float(giou_bev_aligned(pair[:1], pair[1:])) == pytest.approx(-0.5)
    pair[1, 2] = 3  # and 1 m boxes in 4 m of height: 7/8 of the prism is empty
    assert float(giou_3d_aligned(pair[:1], pair[1:])) == pytest.approx(-7 / 8)


def test_a_box_inside_another_has_the_iou():
    outer, inner = (
        torch.tensor([[5.0, 3, 0, 4, 2, 2, 0.6]]),
        torch.tensor([[5.0, 3, 0, 2, 1, 1, 0.6]]),
    )
    for giou, iou in ((giou_bev_aligned, iou_bev_aligned), (giou_3d_aligned, iou_3d_aligned)):
        torch.testing.assert_close(giou(outer, inner), iou(outer, inner))


@pytest.mark.parametrize("length", [0.0, -1.0, math.nan])
def test_degenerate_boxes_give_the_lowest_value(length):
    box, flat = random_boxes(1), random_boxes(1)
    flat[0, 3] = length
    for giou in (giou_bev, giou_3d):
        assert float(giou(box, flat)) == float(giou(flat, box)) == float(giou(flat, flat)) == -1


def test_every_pair_is_that_of_aligned_boxes(monkeypatch):
    first, second = random_boxes(9, seed=1), random_boxes(7, seed=2)
    tables = giou_bev(first, second), giou_3d(first, second)
    monkeypatch.setattr("kd3d.geometry.iou._PAIRS_AT_ONCE", {"cpu": 64, "cuda": 64})
    for table, pairwise, aligned in zip(
        tables, (giou_bev, giou_3d), (giou_bev_aligned, giou_3d_aligned), strict=True
    ):
        assert table.dtype == torch.float32
        assert torch.equal(pairwise(first, second), table)
        assert torch.equal(aligned(first[:7], second), table.diag())
    assert giou_bev(first[:0], second).shape == (0, 7)
    assert giou_3d(first, second[:0]).shape == (9, 0)


def test_gradients_flow_also_without_overlap():
    first = torch.tensor([[9.0, 1, 0, 4, 2, 1, 0.3]], requires_grad=True)
    giou_3d_aligned(first, torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]])).backward()
    assert first.grad.isfinite().all()
    assert first.grad[0, 0] < 0  # nearer is better


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="3 boxes against 2"):
        giou_bev_aligned(random_boxes(3), random_boxes(2))
    with pytest.raises(InputError, match="second boxes"):
        giou_3d(random_boxes(3), torch.zeros(3, 6))
