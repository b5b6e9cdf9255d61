"""What kd3d-eval prints and writes."""

import csv
import io
import json

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from kd3d.cli.scores import notes_of, print_scores, write_scores
from kd3d.cli.worst import write_worst_frames
from kd3d.data import FrameDataset, build_index
from kd3d.metrics import WaymoDetectionMetric
from kd3d.predictions import ObjectsBuilder, evaluate_objects
from kd3d.waymo import RawFrame, RawLaser, write_segment

CLASSES = ("Vehicle", "Pedestrian")


def box(x):
    return [x, 0.0, 1.0, 4.5, 2.0, 1.6, 0.0]


def compared(places, truths):
    """Vehicles with score 0.8 at some x, per frame, and real ones with 9 points."""
    predictions, labels = ObjectsBuilder(), ObjectsBuilder()
    for name, xs in places.items():
        predictions.add(
            name, boxes=[box(x) for x in xs], types=[1] * len(xs), scores=[0.8] * len(xs)
        )
    for name, xs in truths.items():
        labels.add(
            name,
            boxes=[box(x) for x in xs],
            types=[1] * len(xs),
            num_points=[0 if x == 99.0 else 9 for x in xs],
        )
    found, real = predictions.build(), labels.build()
    metric = WaymoDetectionMetric(CLASSES, breakdowns=("object_type", "range"))
    return evaluate_objects(found, real, metric=metric), found, real


@pytest.fixture
def evaluation():
    return compared(
        {"s/1": [10.0, 40.0], "s/2": [10.0], "s/3": [-15.0, -30.0, -45.0]},
        {"s/1": [10.0, 70.0, 99.0], "s/2": [10.0], "s/4": [5.0, 12.0, 20.0]},
    )


def test_the_table_has_every_class_level_and_range(evaluation):
    scores = {name: float(value) for name, value in evaluation[0].metric.compute().items()}
    text = io.StringIO()
    print_scores(scores, CLASSES, Console(file=text, width=100))
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in text.getvalue().splitlines()
        if line.startswith("│")
    ]
    assert [row[0] for row in cells if row[0]] == ["Vehicle", "Pedestrian", "mean"]
    assert [row[1] for row in cells] == ["all", "0-30m", "30-50m", "50m-inf"] * 3
    percent = [f"{100 * scores[f'Vehicle/0-30m/{key}']:.2f}" for key in ("L1_AP", "L1_APH")]
    assert cells[1][2:4] == percent
    assert float(percent[0]) > 0
    assert cells[8][4] == f"{100 * scores['L2_mAP']:.2f}"
    assert cells[9][5] == f"{100 * scores['0-30m/L2_mAPH']:.2f}"


def test_the_files(evaluation, tmp_path):
    scores = {name: float(value) for name, value in evaluation[0].metric.compute().items()}
    paths = write_scores(tmp_path / "new", scores, evaluation[0])
    assert [path.name for path in paths] == ["metrics.json", "metrics.csv", "precision_recall.png"]
    assert json.loads(paths[0].read_text()) == scores
    with paths[1].open() as file:
        rows = {row["metric"]: float(row["value"]) for row in csv.DictReader(file)}
    assert rows == scores
    assert imread(paths[2]).std() > 0.01


def test_the_notes_count_what_a_reader_must_know(evaluation):
    notes = notes_of(evaluation[0], dataset=True)
    assert len(notes) == 3
    assert notes[0].startswith("1 frames with predictions are not in the ground truth")
    assert notes[0].endswith("data.val_frame_interval fit?")
    assert notes[1].startswith("1 of 4 frames have no predictions")
    assert notes[2].startswith("1 objects without LiDAR points")
    assert "val_frame_interval" not in notes_of(evaluation[0], dataset=False)[0]
    assert notes_of(compared({"s/1": [1.0]}, {"s/1": [1.0]})[0], dataset=True) == []


def test_the_worst_frames_come_first(evaluation, tmp_path):
    page = write_worst_frames(tmp_path, *evaluation, None, count=1)
    missed, alarms = page.read_text().split("## ")[1:]
    assert "Predictions with score 0.5 or more" in page.read_text()
    assert "| s/4 | 0 | 3 | 0 |" in missed
    assert "| s/1" not in missed
    assert "| s/3 | 0 | 0 | 3 |" in alarms
    assert "![s/4](worst_frames/1.png)" in missed
    assert "![s/3](worst_frames/2.png)" in alarms
    assert imread(tmp_path / "worst_frames" / "2.png").std() > 0.01
    assert not (tmp_path / "worst_frames" / "3.png").exists()


def test_a_perfect_result_has_no_worst_frames(tmp_path):
    page = write_worst_frames(
        tmp_path, *compared({"s/1": [1.0]}, {"s/1": [1.0]}), None, count=3
    ).read_text()
    assert page.count("None.") == 2
    assert not (tmp_path / "worst_frames").exists()


def test_points_are_drawn_where_the_records_are_at_hand(evaluation, tmp_path):
    image = np.full((40, 400, 4), -1.0, np.float32)
    image[..., :3] = [15.0, 0.5, 0.5]
    laser = RawLaser(
        name=2,
        extrinsic=np.eye(4),
        beam_inclination_min=-0.5,
        beam_inclination_max=0.1,
        returns=(image,),
    )
    record = RawFrame(context_name="s", timestamp_micros=4, pose=np.eye(4), lasers=(laser,))
    write_segment(tmp_path / "validation" / "s.tfrecord", [record])
    frames = FrameDataset(build_index(tmp_path, "validation/*", cache_dir=tmp_path / "cache"))
    write_worst_frames(tmp_path / "bare", *evaluation, None, count=1)
    write_worst_frames(tmp_path / "full", *evaluation, frames, count=1)
    bare, full = (imread(tmp_path / kind / "worst_frames" / "1.png") for kind in ("bare", "full"))
    assert (full < 0.95).sum() > (bare < 0.95).sum() + 1000
