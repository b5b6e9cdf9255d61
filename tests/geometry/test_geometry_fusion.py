"""Fusion in rounds gives what the paper's loop gives."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import ConfigError, InputError
from kd3d.geometry import fuse_boxes, iou_3d, iou_bev, move_boxes


def plain_fusion(boxes, scores, labels, num_sources, threshold, overlap="bev", weights=None):
    """The loop of the paper, box by box."""
    measure = iou_bev if overlap == "bev" else iou_3d
    boxes, scores = boxes.double(), scores.double()
    scores = scores if weights is None else scores * weights.double()
    clusters: list[dict] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        best, best_share = None, threshold
        for cluster in clusters:
            if cluster["label"] == int(labels[i]):
                share = float(measure(boxes[i : i + 1], cluster["mean"][None]))
                if share > best_share:
                    best, best_share = cluster, share
        if best is None:
            best = {"label": int(labels[i]), "members": []}
            clusters.append(best)
        best["members"].append(i)
        best["mean"] = plain_mean(boxes[best["members"]], scores[best["members"]])
    results = []
    for cluster in clusters:
        members = cluster["members"]
        share = min(len(members), num_sources) / num_sources
        results.append((float(scores[members].mean()) * share, cluster["label"], cluster["mean"]))
    return sorted(results, key=lambda result: -result[0])


def plain_mean(boxes, scores):
    weights = scores.clamp(min=1e-12).tolist()
    mean = sum(w * box[:6] for w, box in zip(weights, boxes, strict=True)) / sum(weights)
    x = y = 0.0
    for weight, heading in zip(weights, boxes[:, 6].tolist(), strict=True):
        sign = -1 if math.cos(heading - float(boxes[0, 6])) < 0 else 1
        x, y = x + sign * weight * math.cos(heading), y + sign * weight * math.sin(heading)
    return torch.cat((mean, torch.tensor([math.atan2(y, x)], dtype=torch.float64)))


def crowd(objects, copies, seed, spread):
    """Several noisy sightings of some objects, some of them reversed, and a few strays."""
    random = np.random.default_rng(seed)
    low, high = np.array([0, 0, 0, 2.0, 1.0, 1.5, 0]), np.array([spread, spread, 0.5, 5, 2.5, 2, 6])
    truth = low + random.random((objects, 7)) * (high - low)
    boxes = np.repeat(truth, copies, axis=0)
    boxes += random.normal(0, 1, boxes.shape) * [0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]
    boxes[:, 6] += math.pi * random.integers(0, 2, len(boxes))
    labels = np.repeat(random.integers(0, 2, objects), copies)
    scores = random.random(len(boxes))
    return (
        torch.tensor(boxes),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 8),
    st.integers(1, 4),
    st.integers(0, 10_000),
    st.sampled_from([0.1, 0.3, 0.55, 0.8]),
    st.sampled_from([4.0, 15.0, 60.0]),
    st.sampled_from(["bev", "3d"]),
)
def test_property_equal_to_the_plain_loop(objects, copies, seed, threshold, spread, overlap):
    boxes, scores, labels = crowd(objects, copies, seed, spread)
    weights = torch.tensor([1.5, 0.5])[torch.arange(len(boxes)) % 2]
    given_boxes = boxes.clone()
    fused, fused_scores, fused_labels = fuse_boxes(
        boxes,
        scores,
        labels,
        num_sources=3,
        threshold=threshold,
        overlap=overlap,
        weights=weights,
    )
    plain = plain_fusion(boxes, scores, labels, 3, threshold, overlap, weights)
    assert torch.equal(boxes, given_boxes)
    assert fused_scores.tolist() == pytest.approx([score for score, _, _ in plain], abs=1e-6)
    assert fused_labels.tolist() == [label for _, label, _ in plain]
    if plain:
        expected = torch.stack([mean for _, _, mean in plain])
        torch.testing.assert_close(fused[:, :6], expected[:, :6], rtol=0, atol=1e-6)
        torch.testing.assert_close(fused[:, 6].cos(), expected[:, 6].cos(), rtol=0, atol=1e-6)
        torch.testing.assert_close(fused[:, 6].sin(), expected[:, 6].sin(), rtol=0, atol=1e-6)


def test_two_sources_by_hand():
    boxes = torch.tensor([[10.0, 0, 1, 4, 2, 1.5, 0.1], [10.3, 0, 1, 4, 2, 1.5, 0.1 + math.pi]])
    fused, scores, labels = fuse_boxes(
        boxes, torch.tensor([0.9, 0.3]), torch.tensor([1, 1]), num_sources=2
    )
    assert fused[0].tolist() == pytest.approx([10.075, 0, 1, 4, 2, 1.5, 0.1], abs=1e-5)
    assert scores.tolist() == pytest.approx([0.6])
    assert labels.tolist() == [1]


def test_a_box_that_one_of_three_found_counts_a_third():
    box = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]])
    _, scores, _ = fuse_boxes(box, torch.tensor([0.9]), torch.tensor([0]), num_sources=3)
    assert scores.tolist() == pytest.approx([0.3])


def test_headings_across_the_cut_are_averaged_on_the_circle():
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1, 3.1], [0.0, 0, 0, 4, 2, 1, -3.1]])
    fused, _, _ = fuse_boxes(boxes, torch.tensor([0.5, 0.5]), torch.zeros(2).long(), num_sources=2)
    assert abs(float(fused[0, 6])) == pytest.approx(math.pi, abs=1e-5)


def test_other_labels_do_not_fuse_and_scores_of_zero_are_no_nan():
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]]).expand(4, -1)
    fused, scores, labels = fuse_boxes(
        boxes, torch.tensor([0.0, 0.0, 0.4, 0.0]), torch.tensor([0, 0, 1, 2]), num_sources=1
    )
    assert labels.tolist() == [1, 0, 2]
    assert scores.tolist() == pytest.approx([0.4, 0.0, 0.0])
    assert torch.allclose(fused, boxes[:3])


def test_nothing_to_fuse():
    fused, scores, labels = fuse_boxes(
        torch.zeros(0, 7), torch.zeros(0), torch.zeros(0, dtype=torch.int64), num_sources=2
    )
    assert (fused.shape, scores.shape, labels.shape) == ((0, 7), (0,), (0,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_sources": 0}, "at least one source"),
        ({"threshold": 0.0}, "from 0.1"),
        ({"threshold": 1.0}, "from 0.1"),
        ({"overlap": "2d"}, "'2d' is not one of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        fuse_boxes(
            torch.zeros(1, 7),
            torch.zeros(1),
            torch.zeros(1).long(),
            **{"num_sources": 1, **options},
        )


def test_bad_shapes():
    with pytest.raises(InputError, match="2 boxes but labels"):
        fuse_boxes(torch.zeros(2, 7), torch.zeros(2), torch.zeros(3).long(), num_sources=1)
    with pytest.raises(InputError, match=r"boxes \(2, 7\) and matrix \(3, 3\)"):
        move_boxes(torch.zeros(2, 7), torch.eye(3))


@settings(max_examples=30, deadline=None)
@given(st.floats(-7, 7), st.floats(0.5, 2), st.booleans(), st.booleans(), st.integers(0, 10_000))
def test_property_moved_boxes_have_the_moved_points_inside(angle, scale, flip_x, flip_y, seed):
    random = torch.Generator().manual_seed(seed)
    boxes = torch.rand(5, 7, generator=random, dtype=torch.float64) * 4 + 0.5
    matrix = torch.eye(4, dtype=torch.float64)
    cos, sin = math.cos(angle), math.sin(angle)
    flips = torch.tensor([-1.0 if flip_y else 1.0, -1.0 if flip_x else 1.0], dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64) * flips
    matrix[:3, :3] *= scale
    matrix[:3, 3] = torch.rand(3, generator=random, dtype=torch.float64)
    moved = move_boxes(boxes, matrix)
    nose = boxes[:, :2] + 0.5 * boxes[:, 3:4] * torch.stack(
        (boxes[:, 6].cos(), boxes[:, 6].sin()), dim=1
    )
    points = torch.cat((nose, boxes[:, 2:3], torch.ones(5, 1)), dim=1) @ matrix.T
    moved_nose = moved[:, :2] + 0.5 * moved[:, 3:4] * torch.stack(
        (moved[:, 6].cos(), moved[:, 6].sin()), dim=1
    )
    torch.testing.assert_close(moved_nose, points[:, :2])
    torch.testing.assert_close(moved[:, 3:6], boxes[:, 3:6] * scale)
