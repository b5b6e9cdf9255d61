"""The functional core against a plain implementation that follows the rules one by one."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.geometry import iou_3d
from kd3d.metrics.functional import (
    Objects,
    Predictions,
    average_precision,
    count_detections,
    heading_accuracy,
    match,
)
from kd3d.metrics.functional.agreement import HEADING_UNIT
from kd3d.metrics.functional.assignment import assignment_in_vertex_order, best_assignment
from kd3d.waymo import effective_difficulty

CUTOFFS = np.asarray([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0], np.float32)
THRESHOLDS = np.asarray([0.7, 0.5], np.float32)


def plain_munkres(weights):
    """Kuhn-Munkres on a square list of lists, the official order of vertices, no arrays."""
    size = len(weights)
    lx, ly = [max(row) for row in weights], [0] * size
    mate_of_row, mate_of_column = [None] * size, [None] * size

    def tight(i):
        return [j for j in range(size) if lx[i] + ly[j] == weights[i][j]]

    for root in range(size):
        tree_rows, tree_columns, parents = [root], [], []
        while True:
            seen = [(j, i) for i in tree_rows for j in tight(i) if j not in tree_columns]
            if not seen:
                others = [j for j in range(size) if j not in tree_columns]
                step = min(lx[i] + ly[j] - weights[i][j] for i in tree_rows for j in others)
                for i in tree_rows:
                    lx[i] -= step
                for j in tree_columns:
                    ly[j] += step
                continue
            column, parent = seen[0]
            tree_columns.append(column)
            parents.append(parent)
            if mate_of_column[column] is not None:
                tree_rows.append(mate_of_column[column])
                continue
            while column is not None:
                parent = parents[tree_columns.index(column)]
                following = mate_of_row[parent]
                mate_of_row[parent], mate_of_column[column] = column, parent
                column = following
            break
    return mate_of_row


def plain_counts(predictions, objects):
    """Counts by the book: every frame, shard and cutoff solved on its own."""
    shape = (len(THRESHOLDS), len(CUTOFFS))
    tp, fp, heading = (np.zeros(shape, np.int64) for _ in range(3))
    misses = np.zeros((shape[0], 2, shape[1]), np.int64)
    frames = set(predictions.frames) | set(objects.frames)
    overlaps = iou_3d(torch.tensor(predictions.boxes), torch.tensor(objects.boxes)).numpy()
    for frame, shard, cut in itertools.product(frames, range(shape[0]), range(shape[1])):
        rows = np.flatnonzero(
            (predictions.frames == frame)
            & (predictions.shards == shard)
            & (predictions.scores >= CUTOFFS[cut])
        )
        columns = np.flatnonzero((objects.frames == frame) & (objects.shards == shard))
        size = max(len(rows), len(columns))
        weights = [[0] * size for _ in range(size)]
        for (a, i), (b, j) in itertools.product(enumerate(rows), enumerate(columns)):
            if overlaps[i, j] >= THRESHOLDS[shard]:
                weights[a][b] = int(np.floor(overlaps[i, j] * np.float32(1e6) + np.float32(0.5)))
        mates = plain_munkres(weights)
        found = set()
        for a, i in enumerate(rows):
            if weights[a][mates[a]] > 0:
                j = columns[mates[a]]
                found.add(j)
                tp[shard, cut] += 1
                difference = abs(float(predictions.boxes[i, 6]) - float(objects.boxes[j, 6]))
                difference %= 2 * np.pi
                accuracy = 1 - min(difference, 2 * np.pi - difference) / np.pi
                heading[shard, cut] += round(accuracy * HEADING_UNIT)
            elif not predictions.in_no_label_zone[i]:
                fp[shard, cut] += 1
        for j, level in itertools.product(columns, (1, 2)):
            misses[shard, level - 1, cut] += j not in found and objects.difficulty[j] <= level
    return tp, fp, misses, heading


def crowded_scene(seed, step, frames=2):
    """Boxes of one size on a coarse lattice: heavy overlap, and many equal overlaps."""
    rng = np.random.default_rng(seed)

    def rows(count):
        boxes = np.zeros((count, 7), np.float32)
        boxes[:, 0] = np.round(rng.uniform(0, 5, count) / step) * step
        boxes[:, 1] = np.round(rng.uniform(0, 0.6, count) / step) * step
        boxes[:, 3:6] = (4.0, 2.0, 1.5)
        boxes[:, 6] = rng.integers(-4, 5, count) * np.pi + rng.choice([0, 0.001], count)
        return boxes, rng.integers(0, frames, count) * 7 - 3, rng.integers(0, 2, count)

    n, m = rng.integers(0, 40), rng.integers(0, 20)
    boxes, frame, shard = rows(n)
    scores = np.round(rng.uniform(0, 1, n), 1).astype(np.float32)
    predictions = Predictions(boxes, scores, frame, shard, rng.uniform(size=n) < 0.3)
    boxes, frame, shard = rows(m)
    return predictions, Objects(boxes, frame, shard, rng.integers(1, 3, m))


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 1_000_000), st.sampled_from([0.001, 0.25, 0.5]))
def test_property_equal_to_the_plain_implementation(seed, step):
    assert_equal_to_the_plain_implementation(*crowded_scene(seed, step))


@pytest.mark.parametrize(
    ("seed", "step", "frames"),
    [
        (178, 0.5, 2),  # equal predictions in a component of two objects, nothing contested
        (237, 0.5, 1),
        (1, 0.25, 2),  # rows outside the component decide the tie
        (51, 0.5, 1),
        (87, 0.25, 1),
    ],
)
def test_ties_fall_as_in_the_plain_implementation(seed, step, frames):
    assert_equal_to_the_plain_implementation(*crowded_scene(seed, step, frames))


def assert_equal_to_the_plain_implementation(predictions, objects):
    counts = count_detections(predictions, objects, iou_thresholds=THRESHOLDS, cutoffs=CUTOFFS)
    tp, fp, misses, heading = plain_counts(predictions, objects)
    np.testing.assert_array_equal(counts.true_positives, tp)
    np.testing.assert_array_equal(counts.false_positives, fp)
    np.testing.assert_array_equal(counts.misses, misses)
    np.testing.assert_array_equal(counts.heading, heading)


def test_the_scenes_reach_every_path(monkeypatch):
    """Components with conflicts and with ties do occur in the scenes above."""
    used = {"best": 0, "tied": 0}
    module = "kd3d.metrics.functional.matching"

    def best(weights):
        used["best"] += 1
        return best_assignment(weights)

    def tied(weights):
        used["tied"] += 1
        return assignment_in_vertex_order(weights)

    monkeypatch.setattr(f"{module}.best_assignment", best)
    monkeypatch.setattr(f"{module}.assignment_in_vertex_order", tied)
    for seed, step in itertools.product(range(20), (0.001, 0.5)):
        match(*crowded_scene(seed, step), iou_thresholds=THRESHOLDS, cutoffs=CUTOFFS)
    assert used["best"] > 20
    assert used["tied"] > 20


tables = st.integers(1, 5).flatmap(
    lambda m: st.lists(
        st.lists(st.sampled_from([0, 0, 1, 2, 3, 500_000]), min_size=m, max_size=m),
        min_size=1,
        max_size=5,
    )
)


@settings(max_examples=300, deadline=None)
@given(tables)
def test_property_assignments_have_the_largest_sum(rows):
    weights = np.asarray(rows, np.int64)
    size = max(weights.shape)
    square = np.zeros((size, size), np.int64)
    square[: weights.shape[0], : weights.shape[1]] = weights
    choices = {
        tuple((i, j) for i, j in enumerate(order) if square[i, j] > 0): square[
            range(size), order
        ].sum()
        for order in itertools.permutations(range(size))
    }
    largest = max(choices.values())
    optimal = [choice for choice, total in choices.items() if total == largest]

    ordered = tuple(zip(*map(np.ndarray.tolist, assignment_in_vertex_order(weights)), strict=True))
    assert ordered in optimal
    mates = plain_munkres(square.tolist())
    assert ordered == tuple((i, j) for i, j in enumerate(mates) if square[i, j] > 0)

    answer = best_assignment(weights)
    assert (answer is not None) == (len(optimal) == 1)
    if answer is not None:
        assert tuple(zip(*map(np.ndarray.tolist, answer), strict=True)) == optimal[0]


def test_pairs_in_blocks_give_what_one_block_gives(monkeypatch):
    predictions, objects = crowded_scene(5, 0.001)
    whole = count_detections(predictions, objects, iou_thresholds=THRESHOLDS, cutoffs=CUTOFFS)
    monkeypatch.setattr("kd3d.metrics.functional.pairs._PAIRS_AT_ONCE", 5)
    parts = count_detections(predictions, objects, iou_thresholds=THRESHOLDS, cutoffs=CUTOFFS)
    assert whole.true_positives.sum() > 0
    np.testing.assert_array_equal(whole.heading, parts.heading)
    np.testing.assert_array_equal(whole.misses, parts.misses)


def plain_average_precision(precision, recall):
    """Section by section as the official description has it, one point at a time."""
    best = {0.0: 1.0}
    for p, r in zip(precision.tolist(), recall.tolist(), strict=True):
        best[r] = max(best.get(r, 0.0), p)
    points, top, last = [], 0.0, 0.0
    for r in sorted(best, reverse=True):
        while last - r > 0.05 + 1e-6:
            last -= 0.05
            points.append((last, top))
        top = max(top, best[r])
        points.append((r, top))
        last = r
    if len(points) > 1:
        points[-1] = (points[-1][0], points[-2][1])
    return sum((a[0] - b[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 100)), min_size=1, max_size=30))
def test_property_area_equal_to_the_plain_walk(points):
    recall = np.asarray([r / 40 for r, _ in points], np.float32)
    precision = np.asarray([p / 100 for _, p in points], np.float32)
    precision[recall == 0] = 1
    ours = average_precision(precision, recall)
    assert ours == pytest.approx(plain_average_precision(precision, recall), abs=1e-6)


@pytest.mark.parametrize(
    ("precision", "recall", "area"),
    [
        ([1.0, 0.5], [0.5, 1.0], 0.7625),  # the wide gap is filled with the lower precision
        ([1.0], [0.5], 0.5),  # nothing beyond the highest recall
        ([0.4, 0.8], [0.30, 0.34], 0.34 * 0.8),  # precision never rises with recall
        ([1.0, 1.0], [0.0, 0.0], 0.0),
        ([0.6, 1.0], [1.0, 0.0], 0.6),  # the precision at recall 0 is not a measurement
        ([1.0, 0.5], [0.96, 1.0], 0.96 + 0.04 * 0.75),  # a narrow gap is a slope
    ],
)
def test_areas_worked_out_by_hand(precision, recall, area):
    ours = average_precision(np.asarray(precision, np.float32), np.asarray(recall, np.float32))
    assert ours == pytest.approx(area, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "accuracy"),
    [
        (0.3, 0.3, 1.0),
        (0.0, np.pi / 2, 0.5),
        (0.0, np.pi, 0.0),
        (np.pi - 0.1, -np.pi + 0.1, 1 - 0.2 / np.pi),
        (0.2, 0.2 + 6 * np.pi, 1.0),
        (-4 * np.pi, 3 * np.pi / 2, 0.5),
    ],
)
def test_heading_accuracy(first, second, accuracy):
    for a, b in ((first, second), (second, first)):
        assert heading_accuracy(np.asarray([a]), np.asarray([b]))[0] == pytest.approx(accuracy)


def test_difficulty_from_points():
    given_difficulty = np.asarray([0, 0, 0, 1, 2, 0])
    num_points = np.asarray([1, 5, 6, 2, 900, -1])
    assert effective_difficulty(given_difficulty, num_points).tolist() == [2, 2, 1, 1, 2, 1]
