"""Predictions against ground truth."""

import numpy as np
import pytest
from predictions_data import box, case, few

from kd3d.errors import ConfigError, InputError
from kd3d.metrics import WaymoDetectionMetric
from kd3d.predictions import (
    FrameErrors,
    ObjectsBuilder,
    evaluate_objects,
    load_objects,
    save_objects,
)

TYPES = ("Vehicle", "Pedestrian", "Sign", "Cyclist")
CASES = ("basic_mixed", "difficulty_rules", "fake_official", "gaps_and_absent_class", "headings")
RINGS = {"0-30m": "[0, 30)", "30-50m": "[30, 50)", "50m-inf": "[50, +inf)"}


@pytest.mark.parametrize("name", CASES)
def test_stored_cases_through_files(shared_data, tmp_path, name):
    predictions, labels, expected = case(shared_data, name)
    save_objects(tmp_path / "p.bin", predictions)
    save_objects(tmp_path / "g.bin", labels)
    metric = WaymoDetectionMetric(TYPES, breakdowns=("object_type", "range"))
    evaluation = evaluate_objects(
        load_objects(tmp_path / "p.bin"), load_objects(tmp_path / "g.bin"), metric=metric
    )
    result = evaluation.metric.compute()
    checked = 0
    for kind in TYPES:
        for level in (1, 2):
            names = {kind: f"OBJECT_TYPE_TYPE_{kind.upper()}_LEVEL_{level}"}
            for ring, official in RINGS.items():
                names[f"{kind}/{ring}"] = f"RANGE_TYPE_{kind.upper()}_{official}_LEVEL_{level}"
            for ours, theirs in names.items():
                for score in ("AP", "APH"):
                    stored = expected["breakdowns"][theirs][score]
                    value = float(result[f"{ours}/L{level}_{score}"])
                    assert value == pytest.approx(stored, abs=1e-5), theirs
                    checked += 1
    assert checked == 64


def test_the_errors_of_frames_add_up_to_the_counts(shared_data):
    predictions, labels, _ = case(shared_data, "basic_mixed")
    metric = WaymoDetectionMetric(TYPES)
    evaluation = evaluate_objects(predictions, labels, metric=metric, min_score=0.5)
    cutoff = metric.score_cutoffs.index(0.5)
    counts = metric.counts()
    assert sum(e.hits for e in evaluation.errors) == counts.true_positives[:, cutoff].sum()
    assert sum(e.false_positives for e in evaluation.errors) == (
        counts.false_positives[:, cutoff].sum()
    )
    assert sum(e.misses for e in evaluation.errors) == counts.misses[:, 1, cutoff].sum()
    assert sum(e.hits for e in evaluation.errors) > 0


def labels_of(frames):
    builder = ObjectsBuilder()
    for name, rows in frames.items():
        builder.add(
            name,
            boxes=[box(x) for x, _, _ in rows],
            types=[kind for _, kind, _ in rows],
            num_points=[points for _, _, points in rows],
        )
    return builder.build()


def test_what_happens_frame_by_frame():
    predictions = few(
        frame_ids=("a/1", "x/9"),
        types=np.array([1, 1, 1]),
        boxes=np.array([box(), box(30.0), box()]),
        scores=np.array([0.9, 0.6, 0.9], np.float32),
    )
    truth = labels_of({"a/1": [(10.0, 1, 9), (50.0, 1, 9), (70.0, 1, 0)], "b/2": [(5.0, 2, 9)]})
    evaluation = evaluate_objects(predictions, truth, metric=WaymoDetectionMetric())
    assert evaluation.errors == (
        FrameErrors("a/1", hits=1, misses=1, false_positives=1),
        FrameErrors("b/2", hits=0, misses=1, false_positives=0),
        FrameErrors("x/9", hits=0, misses=0, false_positives=1),
    )
    assert (evaluation.unlabelled, evaluation.unpredicted, evaluation.without_points) == (1, 1, 1)
    # a frame without ground truth costs precision: 1 of 3 predictions is right, 1 of 2 found
    assert float(evaluation.metric.compute()["Vehicle/L2_AP"]) == pytest.approx(0.5 * 0.5)


def test_scores_below_the_cutoff_do_not_count_in_a_frames_errors():
    truth = labels_of({"a/1": [(10.0, 1, 9)], "b/2": []})
    evaluation = evaluate_objects(few(), truth, metric=WaymoDetectionMetric(), min_score=0.95)
    assert evaluation.errors[0] == FrameErrors("a/1", hits=0, misses=1, false_positives=0)


def test_boxes_in_no_label_zones_are_no_false_positives():
    inside = few(overlaps_nlz=np.array([True, True, True]))
    evaluation = evaluate_objects(
        inside, labels_of({"a/1": []}), metric=WaymoDetectionMetric(), min_score=0.0
    )
    assert [errors.false_positives for errors in evaluation.errors] == [0, 0]


def test_other_classes_are_ignored_on_both_sides():
    truth = labels_of({"a/1": [(10.0, 2, 9), (20.0, 3, 9)], "b/2": []})
    evaluation = evaluate_objects(few(), truth, metric=WaymoDetectionMetric(("Cyclist",)))
    assert [error.misses for error in evaluation.errors] == [0, 0]


def test_empty_sets_have_a_result():
    nothing = ObjectsBuilder().build()
    evaluation = evaluate_objects(nothing, nothing, metric=WaymoDetectionMetric())
    assert evaluation.errors == ()
    assert set(map(float, evaluation.metric.compute().values())) == {0.0}
    evaluation = evaluate_objects(few(), nothing, metric=WaymoDetectionMetric())
    assert evaluation.unlabelled == 2


def test_labels_are_no_predictions():
    truth = labels_of({"a/1": [(10.0, 1, 9)]})
    with pytest.raises(InputError, match="no scores"):
        evaluate_objects(truth, truth, metric=WaymoDetectionMetric())
    metric = WaymoDetectionMetric(("Bus",), iou_thresholds=[0.5])
    with pytest.raises(ConfigError, match="no class Bus"):
        evaluate_objects(few(), truth, metric=metric)


def test_progress_reaches_the_end():
    seen = []
    evaluate_objects(
        few(),
        labels_of({f"s/{time}": [] for time in range(100)}),
        metric=WaymoDetectionMetric(),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(64, 102), (102, 102)]
