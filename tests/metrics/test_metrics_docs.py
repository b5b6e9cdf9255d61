"""The worked example of docs/metrics.md is what the metric gives."""

import importlib.util
import math
from pathlib import Path

import pytest

from kd3d.metrics import WaymoDetectionMetric

DOCS = Path(__file__).resolve().parents[2] / "docs"


def example():
    script = importlib.util.spec_from_file_location("pictures", DOCS / "make_metric_pictures.py")
    pictures = importlib.util.module_from_spec(script)
    script.loader.exec_module(pictures)
    return pictures


def test_the_worked_example_has_its_numbers():
    predictions, objects = example().example()
    metric = WaymoDetectionMetric(("Vehicle",))
    metric.update([predictions], [objects])
    text = (DOCS / "metrics.md").read_text()
    for key, value, shown in (
        ("L2_AP", 2 / 3 + 0.1 / 3 * 1.75 / 2 + 0.3 * 0.75, "= 0.9208"),
        ("L2_APH", 1 / 3 + 0.1 / 3 * 1.5 / 2 + 1.9 / 3 * 0.5, "= 0.6750"),
        ("L1_AP", 1.0, "AP 1, and APH 0.7625"),
        ("L1_APH", 0.7625, "AP 1, and APH 0.7625"),
    ):
        assert float(metric.compute()[f"Vehicle/{key}"]) == pytest.approx(value, abs=1e-5)
        assert shown in text
    counts = metric.counts()
    for cutoff, row in ((90, (1, 0, 2)), (70, (2, 0, 1)), (60, (2, 1, 1)), (30, (3, 1, 0))):
        table = counts.true_positives, counts.false_positives, counts.misses[:, 1]
        assert tuple(int(column[0, cutoff]) for column in table) == row
        assert f"| {row[0]} | {row[1]} | {row[2]} |" in text
    errors = metric.box_errors()["Vehicle"]
    assert errors.translation == pytest.approx(1 / 6, abs=1e-5)
    assert errors.heading == pytest.approx(math.pi / 3, abs=1e-5)


def test_the_area_drawn_is_the_one_computed():
    pictures = example()
    metric = WaymoDetectionMetric(("Vehicle",))
    metric.update(*([frame] for frame in pictures.example()))
    curve = metric.curves()["Vehicle/L2"]
    best = pictures.best_points(curve.recall.tolist(), curve.heading_precision.tolist())
    recall, height = pictures.area_border(best)
    steps = zip(recall, recall[1:], height, height[1:], strict=False)
    area = sum((a - b) * (p + q) / 2 for a, b, p, q in steps)
    assert area == pytest.approx(float(metric.compute()["Vehicle/L2_APH"]), abs=1e-5)
