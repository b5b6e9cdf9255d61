"""One tiny case per rule of the metric, with numbers worked out by hand."""

import numpy as np
import pytest
import torch

from kd3d.metrics import WaymoDetectionMetric
from kd3d.metrics.functional import average_precision

PI = float(np.pi)


def cars(*xs, y=0.0, z=0.0, heading=0.0):
    """Boxes 4 m long on one line: two that are d apart have the IoU (4 - d) / (4 + d)."""
    return torch.tensor([[float(x), y, z, 4, 2, 1.5, heading] for x in xs]).reshape(-1, 7)


def squares(*headings):
    """One square box per heading, 10 m apart: how they are turned hardly matters to the overlap."""
    return torch.tensor([[10.0 * i, 0, 0, 2, 2, 2, turn] for i, turn in enumerate(headings)])


def evaluated(boxes, scores, real, *, zone=None, **options):
    """Evaluate one frame of vehicles."""
    fields = {name: torch.tensor(value) for name, value in options.items()}
    found = {
        "boxes": boxes,
        "scores": torch.tensor(scores),
        "labels": torch.zeros(len(boxes)).long(),
    }
    if zone is not None:
        found["overlaps_nlz"] = torch.tensor(zone)
    metric = WaymoDetectionMetric(("Vehicle", "Pedestrian"), breakdowns=("object_type", "range"))
    metric.update([found], [{"boxes": real, "labels": torch.zeros(len(real)).long(), **fields}])
    return metric


def tally(metric, cutoff=0, level=2, shard="Vehicle"):
    """Hits, false alarms and misses at one cutoff."""
    counts, row = metric.counts(), metric.shards.index(shard)
    return (
        int(counts.true_positives[row, cutoff]),
        int(counts.false_positives[row, cutoff]),
        int(counts.misses[row, level - 1, cutoff]),
    )


def score(metric, key):
    return float(metric.compute()[f"Vehicle/{key}"])


# --- matching ---


def the_better_overlap_wins():
    # The object is taken by the exact box although the shifted one scores higher.
    turned = torch.cat((cars(0.2), cars(0.0, heading=PI)))
    metric = evaluated(turned, [0.9, 0.2], cars(0))
    assert metric.box_errors(0.0)["Vehicle"].translation == 0


def two_good_pairs_beat_three_weak_ones():
    # With the boxes a metre apart in turn: two exact pairs (2.0), or three of 0.6 (1.8) whose IoU
    # reaches 0.5, which is enough for pedestrians only.
    boxes = {"boxes": cars(1, 2, 3), "scores": torch.ones(3), "labels": torch.ones(3).long()}
    metric = WaymoDetectionMetric(("Vehicle", "Pedestrian"))
    metric.update([boxes], [{"boxes": cars(0, 1, 2), "labels": torch.ones(3).long()}])
    assert tally(metric, shard="Pedestrian") == (2, 1, 1)


def a_score_equal_to_a_cutoff_passes():
    assert tally(evaluated(cars(0), [0.5], cars(0)), cutoff=50) == (1, 0, 0)


def cutoffs_are_float32():
    # 0.29 as float32 is below 0.29 as float64.
    assert tally(evaluated(cars(0), [0.29], cars(0)), cutoff=29) == (1, 0, 0)


def boxes_of_length(length, real):
    boxes = torch.tensor([[0.0, 0, 0, length, 1, 1, 0], [0.0, 0, 0, real, 1, 1, 0]])
    return tally(evaluated(boxes[:1], [0.9], boxes[1:]))


def an_overlap_equal_to_the_threshold_matches():
    assert boxes_of_length(7.0, 10.0) == (1, 0, 0)


def vehicles_need_an_overlap_of_70_percent():
    assert boxes_of_length(6.0, 10.0) == (0, 1, 1)


def overlap_is_that_of_volumes():
    assert tally(evaluated(cars(0, z=0.75), [0.9], cars(0))) == (0, 1, 1)


# --- levels, points and zones ---


def a_hit_counts_at_both_levels():
    # Level 1 has a hit on an object of level 2, and one of its own objects missed: 1 of 2.
    metric = evaluated(cars(0), [0.9], cars(0, 20), difficulty=[2, 1])
    assert score(metric, "L1_AP") == pytest.approx(0.5)


def level_two_asks_for_all():
    metric = evaluated(cars(), [], cars(0, 20, 40), difficulty=[1, 1, 2])
    assert tally(metric, level=1)[2] == 2
    assert tally(metric, level=2)[2] == 3


def an_annotated_difficulty_stays():
    metric = evaluated(cars(), [], cars(0, 20), difficulty=[1, 2], num_points=[1, 900])
    assert tally(metric, level=1)[2] == 1
    metric = evaluated(cars(), [], cars(0), difficulty=[1], num_points=[1])
    assert tally(metric, level=1)[2] == 1


def five_points_are_few():
    assert tally(evaluated(cars(), [], cars(0, 20), num_points=[5, 6]), level=1)[2] == 1


def objects_without_points_do_not_exist():
    metric = evaluated(cars(0), [0.9], cars(0, 20), num_points=[0, 0], difficulty=[1, 0])
    assert tally(metric) == (0, 1, 0)


def false_alarms_in_zones_are_excused():
    assert tally(evaluated(cars(0, 20), [0.9, 0.9], cars(40), zone=[True, False])) == (0, 1, 1)


def matches_in_zones_count():
    assert tally(evaluated(cars(0), [0.9], cars(0), zone=[True])) == (1, 0, 0)


def objects_in_zones_count():
    metric = evaluated(cars(0), [0.9], cars(0, 20), overlaps_nlz=[True, True])
    assert tally(metric) == (1, 0, 1)


# --- rings ---


def distance_is_that_in_3d():
    # 29 m ahead and 9 m up is 30.4 m away.
    metric = evaluated(cars(), [], cars(29, z=9))
    assert tally(metric, shard="Vehicle/30-50m")[2] == 1


def a_prediction_lies_in_its_own_ring():
    metric = evaluated(cars(29.9), [0.9], cars(30.1))
    assert tally(metric, shard="Vehicle/0-30m") == (0, 1, 0)
    assert tally(metric, shard="Vehicle/30-50m") == (0, 0, 1)


# --- average precision ---


def area(precision, recall):
    return pytest.approx(average_precision(np.float32(precision), np.float32(recall)), abs=1e-6)


def wide_gaps_are_filled_with_the_lower_precision_but_for_the_last_piece():
    # From 1.0 down to 0.55 flat at 0.5, a slope to 0.5, then flat at 1.
    assert area([1.0, 0.5], [0.5, 1.0]) == 0.45 * 0.5 + 0.05 * 0.75 + 0.5 * 1


def precision_never_rises_with_recall():
    assert area([0.4, 0.8], [0.30, 0.34]) == 0.34 * 0.8


def the_precision_at_no_recall_is_no_measurement():
    # One object, found below two stronger false alarms.
    metric = evaluated(cars(0, 20, 40), [0.5, 0.9, 0.9], cars(0))
    assert score(metric, "L1_AP") == pytest.approx(1 / 3)


# --- heading ---


def aph_has_the_plain_recall():
    # Two objects found, at a right angle: precision 0.5 over the full recall of 1.
    metric = evaluated(squares(PI / 2, PI / 2), [0.9, 0.9], squares(0, 0))
    assert score(metric, "L1_AP") == pytest.approx(1)
    assert score(metric, "L1_APH") == pytest.approx(0.5)


def aph_of(found, real):
    return score(evaluated(squares(found), [0.9], squares(real)), "L1_APH")


def headings_are_wrapped():
    assert aph_of(0.0, 4 * PI) == pytest.approx(1, abs=1e-5)


def differences_beyond_pi_are_folded():
    assert aph_of(-3 * PI / 4, 3 * PI / 4) == pytest.approx(0.5, abs=1e-5)


def a_reversed_box_is_worth_nothing():
    assert aph_of(0.0, PI) == pytest.approx(0, abs=1e-5)


def the_weight_falls_evenly():
    # 45 degrees: 3/4. (The overlap of the squares is then 0.707.)
    assert aph_of(0.0, PI / 4) == pytest.approx(0.75, abs=1e-5)
