"""Every stored result of the official metric."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kd3d.metrics import WaymoDetectionMetric

CASES = ("basic_mixed", "difficulty_rules", "fake_official", "gaps_and_absent_class", "headings")
TYPES = {"VEHICLE": 1, "PEDESTRIAN": 2, "SIGN": 3, "CYCLIST": 4}
RINGS = {"0-30m": "[0, 30)", "30-50m": "[30, 50)", "50m-inf": "[50, +inf)"}


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
    inputs, expected = load(shared_data, case)
    metric = WaymoDetectionMetric(
        classes=("Vehicle", "Pedestrian", "Sign", "Cyclist"), breakdowns=("object_type", "range")
    )
    metric.update(*frames_of(inputs, TYPES.values()))
    result = metric.compute()
    for kind in TYPES:
        for ring, name in RINGS.items():
            for level in (1, 2):
                stored = expected["breakdowns"][f"RANGE_TYPE_{kind}_{name}_LEVEL_{level}"]
                for score in ("AP", "APH"):
                    key = f"{kind.capitalize()}/{ring}/L{level}_{score}"
                    assert float(result[key]) == pytest.approx(stored[score], abs=1e-5), key
