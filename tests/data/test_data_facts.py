"""What index and info say about a dataset beside the places of its frames."""

import os
import shutil

import numpy as np
import pytest

from kd3d.data import build_index
from kd3d.data.facts import BOX_KINDS, BOX_LEVELS, collect_facts
from kd3d.data.frame_index import FrameIndex
from kd3d.data.summary import summarize_dataset
from kd3d.waymo import RecordWriter, schema

TRAINING = "training/*.tfrecord"


@pytest.fixture
def root(waymo_root, tmp_path):
    return shutil.copytree(waymo_root, tmp_path / "waymo")


@pytest.fixture
def skimmed(monkeypatch):
    """Names of the records that are skimmed."""
    names, original = [], FrameIndex.skim

    def watch(index, frame):
        names.append(index.name(frame))
        return original(index, frame)

    monkeypatch.setattr(FrameIndex, "skim", watch)
    return names


def facts_of(root):
    return collect_facts(build_index(root, TRAINING), TRAINING)


def test_counts_boxes_by_class_and_level(root):
    facts = facts_of(root)
    assert facts.contexts == ("segment-a", "segment-b")
    assert facts.context_of.tolist() == [0] * 5 + [1] * 7
    assert facts.timestamps[5:8].tolist() == [1_000_000, 1_100_000, 1_200_000]
    table = dict(zip(BOX_KINDS, facts.boxes[3].tolist(), strict=True))
    assert BOX_LEVELS == ("L1", "L2", "no points")
    assert table == {
        "Vehicle": [2, 0, 1],
        "Pedestrian": [0, 1, 0],  # annotated as hard
        "Cyclist": [1, 0, 0],
        "other": [2, 0, 0],
    }


def test_is_remembered_and_renewed_for_changed_files(root, write, skimmed):
    facts_of(root)
    assert len(skimmed) == 12
    again = facts_of(root)
    assert len(skimmed) == 12
    assert again.boxes.shape == (12, 4, 3)
    write(root / "training" / "segment-b.tfrecord", 3)
    renewed = facts_of(root)
    assert len(skimmed) == 15
    assert renewed.context_of.tolist() == [0] * 5 + [1] * 3
    os.remove(root / "training" / "segment-a.tfrecord")  # noqa: PTH107
    assert facts_of(root).contexts == ("segment-b",)
    assert len(skimmed) == 15


def test_is_kept_beside_the_index(root, cache_folder):
    facts_of(root)
    assert sorted(path.name.split("-")[0] for path in cache_folder.iterdir()) == ["facts", "index"]


def test_damaged_records_are_told_every_time(root):
    good = schema.Frame(timestamp_micros=7, context=schema.Context(name=b"odd"))
    bad = schema.Frame(laser_labels=[schema.Label(detection_difficulty_level=9)])
    bad.laser_labels[0].num_lidar_points_in_box = 3
    unknown = schema.Frame(laser_labels=[schema.Label(type=1)])
    unknown.laser_labels[0].type = 77
    with RecordWriter(root / "training" / "segment-d.tfrecord") as writer:
        for payload in (good, bad, unknown):
            writer.write(payload.SerializeToString())
        writer.write(b"\x0b")
    for _ in range(2):
        facts = facts_of(root)
        assert facts.context_of[12:].tolist() == [2, -1, -1, -1]
        assert facts.timestamps[12:].tolist() == [7, -1, -1, -1]
        assert [fault.name[-8:] for fault in facts.faults] == ["record 1", "record 2", "record 3"]
        messages = [str(fault.error) for fault in facts.faults]
        for message, part in zip(
            messages, ("difficulty", "label type 77", "wire type 3"), strict=True
        ):
            assert part in message


def test_a_summary_counts_everything(root):
    summary = summarize_dataset(root, TRAINING, sample=3)
    found = summary.as_json()
    assert (found["segments"], found["files"], found["frames"]) == (2, 2, 12)
    paths = root.glob(TRAINING)
    assert found["bytes"] == sum(path.stat().st_size for path in paths)
    assert found["boxes"]["Vehicle"] == {"L1": 24, "L2": 0, "no points": 12}
    assert found["points_per_frame"] == {"sampled_frames": 3, "mean": 240.0, "min": 240, "max": 240}
    assert found["faults"] == []


def test_a_summary_of_a_damaged_dataset_lists_the_damage(root, damage):
    damage(root / "training" / "segment-a.tfrecord", 0)
    cut = root / "training" / "segment-b.tfrecord"
    cut.write_bytes(cut.read_bytes()[:-10])
    found = summarize_dataset(root, TRAINING, sample=20).as_json()
    assert found["frames"] == 11  # the flipped bit is in a range image: only decoding finds it
    assert len(found["faults"]) == 2
    assert found["points_per_frame"]["sampled_frames"] == 10


def test_points_need_not_be_counted(root):
    found = summarize_dataset(root, TRAINING, sample=0).as_json()["points_per_frame"]
    assert found == {"sampled_frames": 0, "mean": None, "min": None, "max": None}


def test_many_contexts_in_a_file_are_told_apart(root):
    with RecordWriter(root / "training" / "segment-d.tfrecord") as writer:
        for name in (b"x", b"segment-a", b"x"):
            frame = schema.Frame(context=schema.Context(name=name))
            writer.write(frame.SerializeToString())
    facts = facts_of(root)
    assert facts.contexts == ("segment-a", "segment-b", "x")
    assert facts.context_of[12:].tolist() == [2, 0, 2]
    assert np.array_equal(facts_of(root).context_of, facts.context_of)
