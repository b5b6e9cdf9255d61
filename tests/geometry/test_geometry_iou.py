"""Rotated overlap against shapely, the stored reference, and cases with a known answer."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from kd3d.errors import InputError
from kd3d.geometry import corners_bev, iou_3d, iou_3d_aligned, iou_bev, iou_bev_aligned
from kd3d.geometry.overlap import overlap_bev_aligned

FAR = 100.0


def random_boxes(count, seed=0, spread=4.0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.tensor([-spread, -spread, -1, 0.3, 0.3, 0.5, -7])
    high = torch.tensor([spread, spread, 1, 6, 3, 3, 7])
    return low + torch.rand(count, 7, generator=generator) * (high - low)


def shapely_iou(first, second):
    """[N, M] bird's-eye-view IoU and intersection, double precision."""
    polygons = [[Polygon(c) for c in corners_bev(b.double()).numpy()] for b in (first, second)]
    shared = np.array([[p.intersection(q).area for q in polygons[1]] for p in polygons[0]])
    union = np.array([[p.area + q.area for q in polygons[1]] for p in polygons[0]]) - shared
    return shared / union, shared


def test_equal_to_the_stored_reference(shared_data):
    stored = np.load(shared_data / "parity" / "iou_nms.npz")
    first, second = torch.tensor(stored["boxes_a"]), torch.tensor(stored["boxes_b"])
    np.testing.assert_allclose(iou_bev(first, second), stored["iou_bev_exact"], atol=1e-5)
    np.testing.assert_allclose(iou_3d(first, second), stored["iou_3d_exact"], atol=1e-5)


def test_equal_to_shapely():
    first, second = random_boxes(60, seed=1), random_boxes(50, seed=2)
    expected, shared = shapely_iou(first, second)
    ours = iou_bev(first, second)
    assert ours.dtype == torch.float32
    assert (expected > 0.01).mean() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-6)

    top = np.minimum.outer(first[:, 2] + first[:, 5] / 2, second[:, 2] + second[:, 5] / 2)
    bottom = np.maximum.outer(first[:, 2] - first[:, 5] / 2, second[:, 2] - second[:, 5] / 2)
    volume = shared * np.clip(top - bottom, 0, None)
    sizes = np.add.outer(first[:, 3:6].prod(1).numpy(), second[:, 3:6].prod(1).numpy())
    np.testing.assert_allclose(iou_3d(first, second), volume / (sizes - volume), atol=2e-6)


side = st.floats(0.05, 20)
place = st.floats(-6, 6)
turn = st.floats(-10, 10) | st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi, math.pi / 4])
box = st.tuples(place, place, st.just(0.0), side, side, st.just(1.0), turn)


@settings(max_examples=300, deadline=None)
@given(box, box, st.floats(-200, 200))
def test_property_equal_to_shapely(first, second, shift):
    pair = torch.tensor([first, second], dtype=torch.float64)
    pair[:, :2] += shift
    _, expected = shapely_iou(pair[:1], pair[1:])
    shared = float(overlap_bev_aligned(pair[:1], pair[1:]))
    assert shared == pytest.approx(float(expected[0, 0]), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(box, st.floats(0.1, 0.95), st.sampled_from([3, 4]), st.sampled_from([-1, 0, 1]))
def test_property_coincident_sides(outer, share, axis, end):
    """One box inside another, sharing two or three of its sides exactly."""
    outer = torch.tensor([outer], dtype=torch.float64)
    inner = outer.clone()
    inner[0, axis] *= share
    move = end * (outer[0, axis] - inner[0, axis]) / 2
    angle = outer[0, 6] + (math.pi / 2 if axis == 4 else 0)
    inner[0, 0] += move * angle.cos()
    inner[0, 1] += move * angle.sin()
    for turned in (0, math.pi):
        inner[0, 6] += turned
        assert float(iou_bev_aligned(outer, inner)) == pytest.approx(share, rel=1e-6)
        assert float(iou_bev_aligned(inner, outer)) == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, FAR, 1e4])
@pytest.mark.parametrize("iou", [iou_bev_aligned, iou_3d_aligned])
def test_identical_boxes_give_exactly_one(iou, offset):
    boxes = random_boxes(500)
    boxes[:, :2] += offset
    assert (iou(boxes, boxes.clone()) == 1).all()


@pytest.mark.parametrize("iou", [iou_bev_aligned, iou_3d_aligned])
def test_a_box_turned_by_pi_is_the_same_box(iou):
    boxes = random_boxes(500).double()
    turned = boxes + torch.tensor([0, 0, 0, 0, 0, 0, math.pi], dtype=torch.float64)
    torch.testing.assert_close(iou(boxes, turned), torch.ones(500), atol=1e-6, rtol=0)


@pytest.mark.parametrize("heading", [0.0, 0.3, math.pi / 2, 2.5])
def test_touching_boxes_give_exactly_zero(heading):
    box = torch.tensor([[3.0, -7.0, 1.0, 4.0, 2.0, 1.5, heading]], dtype=torch.float64)
    beside, ahead, above = box.clone(), box.clone(), box.clone()
    beside[:, :2] += 2 * torch.tensor([-math.sin(heading), math.cos(heading)], dtype=box.dtype)
    ahead[:, :2] += 4 * torch.tensor([math.cos(heading), math.sin(heading)], dtype=box.dtype)
    above[0, 2] += 1.5
    for other in (beside, ahead):
        assert float(iou_bev_aligned(box, other)) == 0
        assert float(iou_bev_aligned(other, box)) == 0
    assert float(iou_3d_aligned(box, above)) == 0
    assert float(iou_bev_aligned(box, above)) == 1


@pytest.mark.parametrize("axis", [3, 4, 5])
@pytest.mark.parametrize("length", [0.0, -1.0, math.nan])
def test_degenerate_boxes_give_zero(axis, length):
    box = random_boxes(1)
    flat = box.clone()
    flat[0, axis] = length
    for first, second in ((box, flat), (flat, box), (flat, flat)):
        assert float(iou_3d_aligned(first, second)) == 0
        assert float(iou_3d(first, second)) == 0
        if axis < 5:
            assert float(iou_bev_aligned(first, second)) == 0


def test_distance_from_the_origin_costs_no_precision():
    near = torch.tensor([[0.0, 0.0, 0.0, 4.5, 2.0, 1.5, 0.5], [0.25, 0.125, 0.25, 4, 2, 1.5, 0.75]])
    far = near + torch.tensor([1024.0, -2048.0, 64.0, 0, 0, 0, 0])  # exact in float32
    for iou in (iou_bev_aligned, iou_3d_aligned):
        assert torch.equal(iou(near[:1], near[1:]), iou(far[:1], far[1:]))


def test_crossing_bars():
    bars = torch.tensor([[0.0, 0, 0, 10, 1, 1, 0], [0.0, 0, 0, 10, 1, 1, math.pi / 2]])
    assert float(iou_bev(bars[:1], bars[1:])) == pytest.approx(1 / 19)


def test_height_enters_only_in_3d():
    pair = torch.tensor([[0.0, 0, 0, 4, 2, 2, 0.7], [0.0, 0, 1, 4, 2, 2, 0.7]])
    assert float(iou_bev(pair[:1], pair[1:])) == 1
    assert float(iou_3d(pair[:1], pair[1:])) == pytest.approx(1 / 3)


def test_chunks_give_what_one_block_gives(monkeypatch):
    first, second = random_boxes(40, seed=3), random_boxes(30, seed=4)
    whole = iou_3d(first, second)
    monkeypatch.setattr("kd3d.geometry.iou._PAIRS_AT_ONCE", {"cpu": 7, "cuda": 7})
    monkeypatch.setattr("kd3d.geometry.iou._CENTRES_AT_ONCE", {"cpu": 50, "cuda": 50})
    assert torch.equal(iou_3d(first, second), whole)
    rows, columns = torch.arange(30), torch.arange(30)
    assert torch.equal(iou_3d_aligned(first[rows], second[columns]), whole[rows, columns])


def test_inputs_are_not_changed_and_gradients_flow():
    first, second = random_boxes(20), random_boxes(20, seed=5)
    copies = first.clone(), second.clone()
    first.requires_grad_()
    iou_bev_aligned(first, second).sum().backward()
    assert torch.equal(first.detach(), copies[0])
    assert torch.equal(second, copies[1])
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.abs().sum() > 0


def test_empty_sets():
    assert iou_bev(torch.zeros(0, 7), random_boxes(3)).shape == (0, 3)
    assert iou_3d(random_boxes(3), torch.zeros(0, 7)).shape == (3, 0)
    assert iou_3d_aligned(torch.zeros(0, 7), torch.zeros(0, 7)).shape == (0,)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="3 boxes against 2"):
        iou_bev_aligned(random_boxes(3), random_boxes(2))
    with pytest.raises(InputError, match="second boxes"):
        iou_3d(random_boxes(3), torch.zeros(3, 6))
