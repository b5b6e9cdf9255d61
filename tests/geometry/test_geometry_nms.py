"""Suppression without a loop gives what the greedy loop gives."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import ConfigError, InputError
from kd3d.geometry import iou_bev, nms_circle, nms_per_class, nms_rotated


def greedy(boxes, scores, threshold, pre=4096, post=500):
    """The textbook loop."""
    overlap = iou_bev(boxes, boxes)
    order = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i))[:pre]
    kept: list[int] = []
    for i in order:
        if all(float(overlap[i, j]) <= np.float32(threshold) for j in kept):
            kept.append(i)
    return kept[:post]


def crowd(count, seed, spread=10.0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.tensor([0, 0, 0, 2.0, 1.0, 1.5, 0])
    high = torch.tensor([spread, spread, 0.1, 5.0, 2.5, 2.0, 6.3])
    boxes = low + torch.rand(count, 7, generator=generator) * (high - low)
    return boxes, torch.rand(count, generator=generator)


def test_keep_lists_of_the_reference(shared_data):
    stored = np.load(shared_data / "parity" / "iou_nms.npz")
    cases = json.loads((shared_data / "parity" / "iou_nms.json").read_text())["settings"]["nms"]
    boxes, scores = torch.tensor(stored["nms_boxes"]), torch.tensor(stored["nms_scores"])
    for number, case in enumerate(cases):
        lowest = case["score_thresh"]
        rows = (scores >= (-1 if lowest is None else lowest)).nonzero()[:, 0]
        kept = nms_rotated(
            boxes[rows],
            scores[rows],
            case["thresh"],
            pre=case["pre_maxsize"],
            post=case["post_maxsize"],
        )
        assert kept.dtype == torch.int64
        assert rows[kept].tolist() == stored[f"nms{number}_keep"].tolist(), case


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 60),
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.7]),
    st.sampled_from([3.0, 8.0, 30.0]),
)
def test_property_equal_to_the_greedy_loop(count, seed, threshold, spread):
    boxes, scores = crowd(count, seed, spread)
    scores = (scores * 8).round() / 8  # with ties
    assert nms_rotated(boxes, scores, threshold).tolist() == greedy(boxes, scores, threshold)
    limited = nms_rotated(boxes, scores, threshold, pre=20, post=7)
    assert limited.tolist() == greedy(boxes, scores, threshold, pre=20, post=7)


def test_a_dropped_box_drops_nobody():
    """Each box overlaps its neighbour only: every other one stays, down a long chain."""
    count = 101
    boxes = torch.zeros(count, 7)
    boxes[:, 0] = torch.arange(count) * 1.2
    boxes[:, 3:6] = 2.0
    scores = torch.linspace(1, 0, count)
    assert nms_rotated(boxes, scores, 0.1).tolist() == list(range(0, count, 2))


def test_equal_scores_keep_their_order():
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1.5, 0]]).repeat(5, 1)
    boxes[3:, 0] = 50
    assert nms_rotated(boxes, torch.full((5,), 0.5), 0.5).tolist() == [0, 3]


def test_a_threshold_of_one_or_more_drops_none():
    boxes, scores = crowd(50, seed=1, spread=2)
    assert sorted(nms_rotated(boxes, scores, 1.1).tolist()) == list(range(50))


def test_overlap_equal_to_the_threshold_stays():
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0], [2.0, 0, 0, 4, 2, 1, 0]])  # IoU 1 / 3
    scores = torch.tensor([0.9, 0.8])
    assert nms_rotated(boxes, scores, 1 / 3).tolist() == [0, 1]
    assert nms_rotated(boxes, scores, 0.333).tolist() == [0]


def test_nothing_in_nothing_out():
    assert nms_rotated(torch.zeros(0, 7), torch.zeros(0), 0.5).tolist() == []
    boxes, scores = crowd(5, seed=2)
    assert nms_rotated(boxes, scores, 0.5, pre=0).tolist() == []
    assert nms_rotated(boxes, scores, 0.5, post=0).tolist() == []


def test_bad_input_is_refused():
    boxes, scores = crowd(5, seed=3)
    with pytest.raises(InputError, match=r"5 boxes but scores of shape \(4,\)"):
        nms_rotated(boxes, scores[:4], 0.5)
    with pytest.raises(ConfigError, match="must not be negative"):
        nms_rotated(boxes, scores, -0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 10_000))
def test_property_per_class_is_each_class_by_itself(count, seed):
    boxes, scores = crowd(count, seed, spread=6.0)
    scores = (scores * 8).round() / 8  # with ties
    labels = torch.randint(3, (count,), generator=torch.Generator().manual_seed(seed))
    thresholds = (0.0, 0.2, 1.0)
    kept = nms_per_class(boxes, scores, labels, thresholds, pre=15, post=5)
    expected = []
    for label, threshold in enumerate(thresholds):
        rows = (labels == label).nonzero()[:, 0]
        expected += rows[greedy(boxes[rows], scores[rows], threshold, pre=15, post=5)].tolist()
    assert kept.tolist() == sorted(expected, key=lambda i: (-float(scores[i]), i))


def test_one_threshold_for_all_classes():
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1.5, 0]]).repeat(4, 1)
    scores, labels = torch.tensor([0.5, 0.6, 0.7, 0.8]), torch.tensor([7, 7, 2, 2])
    assert nms_per_class(boxes, scores, labels, 0.3).tolist() == [3, 1]
    assert nms_per_class(boxes, scores, labels.clamp(max=2), [0.3] * 3).tolist() == [3]
    assert nms_per_class(boxes[:0], scores[:0], labels[:0], [0.3]).tolist() == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 2.0, 30.0]))
def test_property_circle_equal_to_the_greedy_loop(count, seed, radius):
    boxes, scores = crowd(count, seed)
    scores = (scores * 8).round() / 8
    boxes[:, :2] = boxes[:, :2].round()
    kept: list[int] = []
    for i in sorted(range(count), key=lambda i: (-float(scores[i]), i))[:40]:
        if all(math.dist(boxes[i, :2].tolist(), boxes[j, :2].tolist()) > radius for j in kept):
            kept.append(i)
    assert nms_circle(boxes, scores, radius, pre=40, post=9).tolist() == kept[:9]


def test_circles_in_blocks_give_what_one_block_gives(monkeypatch):
    boxes, scores = crowd(50, seed=4)
    whole = nms_circle(boxes, scores, 1.5)
    assert 5 < len(whole) < 45
    monkeypatch.setattr("kd3d.geometry.nms._DISTANCES_AT_ONCE", 120)
    assert torch.equal(nms_circle(boxes[:, :2], scores, 1.5), whole)


def test_bad_input_of_the_others_is_refused():
    boxes, scores = crowd(5, seed=3)
    labels = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(InputError, match=r"nms_circle: 5 boxes but scores of shape \(4,\)"):
        nms_circle(boxes, scores[:4], 1.0)
    with pytest.raises(InputError, match=r"centres must be floating \[N, 2\]"):
        nms_circle(boxes[:, :1], scores, 1.0)
    with pytest.raises(ConfigError, match=r"radius -1.* must not be negative"):
        nms_circle(boxes, scores, -1.0)
    with pytest.raises(InputError, match=r"5 boxes need int64 labels \[N\], not torch.float32"):
        nms_per_class(boxes, scores, labels.float(), 0.5)
    with pytest.raises(InputError, match="labels from 0 to 2, but thresholds for 2"):
        nms_per_class(boxes, scores, labels + torch.tensor([0, 0, 0, 0, 2]), [0.5, 0.5])
    with pytest.raises(ConfigError, match="must not be negative"):
        nms_per_class(boxes, scores, labels, [0.5, -0.1])
