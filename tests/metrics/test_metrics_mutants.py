"""The rules of the metric removed one by one.

Every case of `metric_rules` holds for the metric as it is, and fails as soon as its rule is
replaced by the mistake that its mutant makes.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import metric_rules as rules
import numpy as np
import pytest

from kd3d.metrics import frames, options
from kd3d.metrics.functional import (
    agreement,
    average_precision,
    breakdowns,
    counting,
    curves,
    matching,
    pairs,
)
from kd3d.waymo import difficulty

PI = float(np.pi)


def score_first(predictions, objects, *, iou_thresholds, cutoffs, box_type):
    """Let predictions choose by falling score."""
    groups = pairs.group_ids(predictions, objects)
    all_pairs = pairs.matchable_pairs(predictions, objects, groups, iou_thresholds, box_type)
    order = np.lexsort((-all_pairs.weight, -predictions.scores[all_pairs.prediction]))
    chosen, used, taken = [], set(), set()
    for row in order.tolist():
        prediction, real = int(all_pairs.prediction[row]), int(all_pairs.object[row])
        if prediction not in used and real not in taken:
            used.add(prediction)
            taken.add(real)
            chosen.append(row)
    found = all_pairs[np.asarray(chosen, np.int64)]
    reach = matching.reach_of(predictions.scores, cutoffs)[found.prediction]
    return matching.Matches(found.prediction, found.object, np.zeros_like(reach), reach)


def rings_of_the_nearest_object(predictions, objects):
    apart = np.linalg.norm(predictions.boxes[:, None, :3] - objects.boxes[None, :, :3], axis=2)
    rings = breakdowns.ring_of(objects.boxes)
    own = rings[apart.argmin(axis=1)]
    return predictions.shards * 3 + own, objects.shards * 3 + rings


def flat_ring(boxes):
    flat = np.hypot(boxes[:, 0], boxes[:, 1])
    return np.searchsorted([30, 50], flat, side="right")


def passes_above(scores, cutoffs):
    return np.searchsorted(cutoffs, scores, side="left").astype(np.int64)


def passes_in_double(scores, cutoffs):
    exact = np.round(cutoffs.astype(np.float64), 6)
    return np.searchsorted(exact, scores.astype(np.float64), side="right").astype(np.int64)


def exceeds(overlap, threshold):
    return overlap > threshold


def reaches_in_double(overlap, threshold):
    return overlap.astype(np.float64) >= np.round(threshold.astype(np.float64), 6)


def weighted_recall(counts):
    heading = counts.heading[:, None] / agreement.HEADING_UNIT
    precision, weighted, recall = curves.precision_recall(counts)
    hits = np.maximum(counts.true_positives[:, None], 1)
    result = np.zeros((2, *recall.shape[:2]))
    for at in np.ndindex(*recall.shape[:2]):
        result[0][at] = average_precision(precision[at], recall[at])
        lower = (recall * heading / hits)[at].astype(np.float32)
        result[1][at] = average_precision(weighted[at], lower)
    return result[0], result[1]


def without_flagged_objects(real_objects):
    def objects_of(given, *rest):
        kept = [
            {name: value[~frame["overlaps_nlz"]] for name, value in frame.items()}
            for frame in given
        ]
        return real_objects(kept, *rest)

    return objects_of


def apart(first, second):
    return np.abs(first.astype(np.float64) - second.astype(np.float64))


@dataclass(frozen=True)
class Mutant:
    """A rule replaced: `value` instead of `name` of `home`; `case` is to notice."""

    case: Callable[[], None]
    home: object
    name: str
    value: object


MUTANTS = {
    "greedy matching by score": Mutant(
        rules.the_better_overlap_wins, matching, "match", score_first),
    "maximum cardinality": Mutant(
        rules.two_good_pairs_beat_three_weak_ones, pairs, "_weight",
        lambda overlap: 900_000 + (overlap * 100_000).astype(np.int64)),
    "hits only for objects of the level": Mutant(
        rules.a_hit_counts_at_both_levels, counting, "_hits",
        lambda difficulty, in_zone: (difficulty == 1).astype(np.int64)),
    "level 2 not cumulative": Mutant(
        rules.level_two_asks_for_all, counting, "_is_asked_for",
        lambda given, level: given == level),
    "annotated difficulty ignored": Mutant(
        rules.an_annotated_difficulty_stays, difficulty, "effective_difficulty",
        lambda given, points: np.where(np.asarray(points) <= 5, 2, 1)),
    "fewer than 5 points": Mutant(rules.five_points_are_few, difficulty, "LEVEL_2_POINTS", 4),
    "objects without points kept": Mutant(
        rules.objects_without_points_do_not_exist, frames, "_takes_part",
        lambda points: points >= -1),
    "no-label zones ignored": Mutant(
        rules.false_alarms_in_zones_are_excused, counting, "_is_false_alarm", np.ones_like),
    "flagged matches dropped": Mutant(
        rules.matches_in_zones_count, counting, "_hits",
        lambda difficulty, in_zone: (~in_zone).astype(np.int64)),
    "flagged objects dropped": Mutant(
        rules.objects_in_zones_count, frames, "objects_of",
        without_flagged_objects(frames.objects_of)),
    "flat distance": Mutant(rules.distance_is_that_in_3d, breakdowns, "ring_of", flat_ring),
    "rings by object only": Mutant(
        rules.a_prediction_lies_in_its_own_ring, breakdowns, "_ring_shards",
        rings_of_the_nearest_object),
    "score > cutoff": Mutant(
        rules.a_score_equal_to_a_cutoff_passes, matching, "reach_of", passes_above),
    "cutoffs in double": Mutant(rules.cutoffs_are_float32, matching, "reach_of", passes_in_double),
    "IoU > threshold": Mutant(
        rules.an_overlap_equal_to_the_threshold_matches, pairs, "_may_match", exceeds),
    "threshold in double": Mutant(
        rules.an_overlap_equal_to_the_threshold_matches, pairs, "_may_match", reaches_in_double),
    "0.5 for all types": Mutant(
        rules.vehicles_need_an_overlap_of_70_percent, options, "_IOU_THRESHOLDS",
        dict.fromkeys(("Vehicle", "Pedestrian"), 0.5)),
    "bird's-eye IoU": Mutant(
        rules.overlap_is_that_of_volumes, pairs, "_overlap",
        lambda first, second, _, overlap=pairs._overlap: overlap(first, second, "bev")),
    "all-point interpolation": Mutant(
        rules.wide_gaps_are_filled_with_the_lower_precision_but_for_the_last_piece,
        curves, "RECALL_STEP", 1e-9),
    "no gap filling": Mutant(
        rules.wide_gaps_are_filled_with_the_lower_precision_but_for_the_last_piece,
        curves, "RECALL_STEP", 2.0),
    "no envelope": Mutant(
        rules.precision_never_rises_with_recall, curves, "_envelope", lambda precision: precision),
    "precision 1 kept at recall 0": Mutant(
        rules.the_precision_at_no_recall_is_no_measurement, curves, "_precision_at_no_recall",
        lambda envelope: np.ones_like(envelope[-1:])),
    "APH with weighted recall": Mutant(
        rules.aph_has_the_plain_recall, curves, "average_precisions", weighted_recall),
    "heading difference not wrapped": Mutant(
        rules.headings_are_wrapped, agreement, "heading_accuracy",
        lambda first, second: np.maximum(1 - apart(first, second) / PI, 0)),
    "not folded at pi": Mutant(
        rules.differences_beyond_pi_are_folded, agreement, "heading_accuracy",
        lambda first, second: np.maximum(1 - apart(first, second) % (2 * PI) / PI, 0)),
    "modulo pi": Mutant(
        rules.a_reversed_box_is_worth_nothing, agreement, "heading_accuracy",
        lambda first, second: 1 - np.abs((apart(first, second) + 1) % PI - 1) / PI),
    "cosine weight": Mutant(
        rules.the_weight_falls_evenly, agreement, "heading_accuracy",
        lambda first, second: (1 + np.cos(apart(first, second))) / 2),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MUTANTS)
def test_the_rule_holds(mistake):
    MUTANTS[mistake].case()


@pytest.mark.parametrize("mistake", MUTANTS)
def test_the_mistake_is_noticed(mistake, monkeypatch):
    mutant = MUTANTS[mistake]
    replaced = getattr(mutant.home, mutant.name)
    users = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("kd3d.") and vars(module).get(mutant.name) is replaced
    ]
    for module in users:
        monkeypatch.setattr(module, mutant.name, mutant.value)
    with pytest.raises(AssertionError):
        mutant.case()
