"""The original evaluator's column: which boxes it is given, and the table."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from kd3d.cli.official import compare_files, print_comparison, rows_of
from kd3d.metrics import WaymoDetectionMetric
from kd3d.metrics.official import Comparison, OfficialEvaluator, our_scores
from kd3d.predictions import ObjectsBuilder, evaluate_objects

CLASSES = ("Vehicle", "Cyclist")


def boxes(*xs):
    return [[x, 1, 0, 4, 2, 1.5, 0] for x in xs]


@pytest.fixture
def files():
    """Predictions and labels of three frames; each side lacks one."""
    found, real = ObjectsBuilder(), ObjectsBuilder()
    found.add("b/2", boxes=boxes(8), types=[1], scores=[0.5], overlaps_nlz=[True])
    found.add(
        "a/1",
        boxes=boxes(5, 20, 40),
        types=[1, 4, 0],
        scores=[0.9, 0.6, 0.5],
        overlaps_nlz=[False, False, False],
    )
    real.add(
        "a/1",
        boxes=boxes(5.2, 20, 60, 70),
        types=[1, 4, 1, 1],
        difficulty=[0, 1, 2, 1],
        num_points=[5, 3, 90, 0],
    )
    real.add("c/3", boxes=boxes(30), types=[0], difficulty=[0], num_points=[9])
    return found.build(), real.build()


def test_rows(files):
    predictions, objects = rows_of(*files)
    assert predictions.frames.tolist() == [0, 0, 2]
    assert predictions.shards.tolist() == [0, 3, 0]
    assert predictions.in_no_label_zone.tolist() == [False, False, True]
    np.testing.assert_array_equal(predictions.scores, np.float32([0.9, 0.6, 0.5]))
    assert objects.frames.tolist() == [0, 0, 0]
    assert objects.shards.tolist() == [0, 3, 0]
    assert objects.difficulty.tolist() == [2, 1, 2]
    assert predictions.boxes.dtype == objects.boxes.dtype == np.float32


def test_rows_of_files_that_say_little():
    found, real = ObjectsBuilder(), ObjectsBuilder()
    found.add("a/1", boxes=boxes(5), types=[1], scores=[0.5])
    real.add("a/1", boxes=boxes(5), types=[1])
    predictions, objects = rows_of(found.build(), real.build())
    assert predictions.in_no_label_zone.tolist() == [False]
    assert objects.difficulty.tolist() == [1]


def test_rows_give_what_the_evaluation_gives(files):
    metric = WaymoDetectionMetric(CLASSES, breakdowns=("object_type", "range"))
    evaluate_objects(*files, metric=metric)
    scores = {name: float(value) for name, value in metric.compute().items()}
    ours = our_scores(*rows_of(*files))
    shared = [name for name in scores if name in ours]
    assert len(shared) == 2 * 4 * 4
    assert {name: scores[name] for name in shared} == pytest.approx(
        {name: ours[name] for name in shared}
    )
    assert any(0 < scores[name] < 1 for name in shared)


def test_compares_what_both_have(files, tmp_path):
    rings = ("[0, 30)", "[30, 50)", "[50, +inf)")
    table = {
        f"{part}_LEVEL_{level}": {"AP": 0.25, "APH": 0.5}
        for name in ("VEHICLE", "PEDESTRIAN", "SIGN", "CYCLIST")
        for part in (f"OBJECT_TYPE_TYPE_{name}", *(f"RANGE_TYPE_{name}_{r}" for r in rings))
        for level in (1, 2)
    }
    script = tmp_path / "stand_in.py"
    script.write_text(f"import sys\nopen(sys.argv[2], 'w').write({json.dumps(table)!r})\n")
    evaluator = OfficialEvaluator(Path(sys.executable), script)
    scores = {"Vehicle/L1_AP": 0.25, "Tram/L1_AP": 1.0, "Cyclist/L2_APH": 0.4, "L1_mAP": 0.9}
    both = compare_files(*files, scores, evaluator)
    assert both.official == {"Vehicle/L1_AP": 0.25, "Cyclist/L2_APH": 0.5}
    assert both.ours == {"Vehicle/L1_AP": 0.25, "Cyclist/L2_APH": 0.4}
    assert both.difference == pytest.approx(0.1)


def test_table():
    console = Console(file=io.StringIO(), width=80)
    both = Comparison({"Vehicle/L1_AP": 0.25}, {"Vehicle/L1_AP": 0.25 + 3e-6})
    print_comparison(both, console)
    lines = console.file.getvalue().splitlines()
    assert lines[0].split() == ["kd3d", "official", "difference"]
    assert lines[2].split() == ["Vehicle/L1_AP", "0.250000", "0.250003", "3.0e-06"]
    assert lines[-1] == "largest difference to the original evaluator: 3.0e-06"
