"""Every stored result of the official metric."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kd3d.metrics import WaymoDetectionMetric
from kd3d.metrics.functional import (
    Objects,
    Predictions,
    average_precisions,
    count_detections,
)
from kd3d.waymo import effective_difficulty

CASES = ("basic_mixed", "difficulty_rules", "fake_official", "gaps_and_absent_class", "headings")
TYPES = {"VEHICLE": 1, "PEDESTRIAN": 2, "SIGN": 3, "CYCLIST": 4}
RINGS = ("[0, 30)", "[30, 50)", "[50, +inf)")
CUTOFFS = np.asarray([*(i * 0.01 for i in range(100)), 1.0], np.float32)
THRESHOLDS = np.asarray([0.7, 0.5, 0.5, 0.5], np.float32)


def load(folder: Path, case: str):
    with np.load(folder / "metric_cases" / f"{case}.npz") as arrays:
        inputs = {name: arrays[name] for name in arrays}
    return inputs, json.loads((folder / "metric_cases" / f"{case}.json").read_text())


def frames_of(inputs, types):
    """One dictionary per frame; types that are not asked for become class -1."""
    class_of = np.full(256, -1)
    class_of[list(types)] = np.arange(len(types))
    preds, targets = [], []
    for frame in range(int(inputs["num_frames"])):
        p, g = inputs["pred_frame_ids"] == frame, inputs["gt_frame_ids"] == frame
        preds.append(
            {
                "boxes": torch.tensor(inputs["pred_boxes"][p]),
                "scores": torch.tensor(inputs["pred_scores"][p]),
                "labels": torch.tensor(class_of[inputs["pred_types"][p]]),
                "overlaps_nlz": torch.tensor(inputs["pred_overlap_nlz"][p]),
            }
        )
        targets.append(
            {
                "boxes": torch.tensor(inputs["gt_boxes"][g]),
                "labels": torch.tensor(class_of[inputs["gt_types"][g]]),
                "num_points": torch.tensor(inputs["gt_num_points"][g]),
                "difficulty": torch.tensor(inputs["gt_difficulty_given"][g].astype(np.int64)),
            }
        )
    return preds, targets


@pytest.mark.parametrize("case", CASES)
def test_object_types(shared_data, case):
    inputs, expected = load(shared_data, case)
    assert set(inputs["pred_frame_ids"]) <= set(range(int(inputs["num_frames"])))
    metric = WaymoDetectionMetric(classes=("Vehicle", "Pedestrian", "Sign", "Cyclist"))
    preds, targets = frames_of(inputs, TYPES.values())
    for start in range(0, len(preds), 3):
        metric.update(preds[start : start + 3], targets[start : start + 3])
    result = metric.compute()
    counts = metric.counts()
    for row, kind in enumerate(TYPES):
        for level in (1, 2):
            name = f"OBJECT_TYPE_TYPE_{kind}_LEVEL_{level}"
            for score in ("AP", "APH"):
                ours = float(result[f"{kind.capitalize()}/L{level}_{score}"])
                assert ours == pytest.approx(expected["breakdowns"][name][score], abs=1e-5), name
            stored = expected["counts_per_score_cutoff"][name]
            assert counts.true_positives[row].tolist() == stored["tp"], name
            assert counts.false_positives[row].tolist() == stored["fp"], name
            assert counts.misses[row, level - 1].tolist() == stored["fn"], name


@pytest.mark.parametrize("case", CASES)
def test_the_mean_over_the_three_usual_classes(shared_data, case):
    inputs, expected = load(shared_data, case)
    metric = WaymoDetectionMetric()
    metric.update(*frames_of(inputs, (1, 2, 4)))
    result = metric.compute()
    for level in (1, 2):
        for score in ("mAP", "mAPH"):
            stored = expected["summary"][f"{score}_L{level}"]
            assert float(result[f"L{level}_{score}"]) == pytest.approx(stored, abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_rings_of_distance(shared_data, case):
    """Shards by class and distance: rows of different rings never match."""
    inputs, expected = load(shared_data, case)

    def shards(boxes, types):
        distance = np.linalg.norm(boxes[:, :3].astype(np.float64), axis=1)
        return (types.astype(np.int64) - 1) * 3 + (distance >= 30) + (distance >= 50)

    real = inputs["gt_num_points"] > 0
    counts = count_detections(
        Predictions(
            inputs["pred_boxes"],
            inputs["pred_scores"],
            inputs["pred_frame_ids"],
            shards(inputs["pred_boxes"], inputs["pred_types"]),
            inputs["pred_overlap_nlz"],
        ),
        Objects(
            inputs["gt_boxes"][real],
            inputs["gt_frame_ids"][real],
            shards(inputs["gt_boxes"], inputs["gt_types"])[real],
            effective_difficulty(inputs["gt_difficulty_given"], inputs["gt_num_points"])[real],
        ),
        iou_thresholds=THRESHOLDS.repeat(3),
        cutoffs=CUTOFFS,
    )
    scores = dict(zip(("AP", "APH"), average_precisions(counts), strict=True))
    for kind, number in TYPES.items():
        for ring, ring_name in enumerate(RINGS):
            for level in (1, 2):
                name = f"RANGE_TYPE_{kind}_{ring_name}_LEVEL_{level}"
                for score, table in scores.items():
                    ours = table[(number - 1) * 3 + ring, level - 1]
                    stored = expected["breakdowns"][name][score]
                    assert ours == pytest.approx(stored, abs=1e-5), name
