"""Result lists of OpenPCDet, in memory and as plain arrays."""

import math
import pickle

import numpy as np
import pytest

from kd3d.errors import DatasetError, InputError, RecordError
from kd3d.predictions import from_openpcdet, read_openpcdet, save_objects


def result(time, names, *, context="segment-a", **changes):
    """A frame as OpenPCDet's evaluation leaves it."""
    count = len(names)
    boxes = np.arange(count * 7, dtype=np.float32).reshape(count, 7) / 10 + 0.5
    # an empty frame has columns of zeros(0), whatever their type elsewhere
    frame = {
        "name": np.array(names) if names else np.zeros(0),
        "score": np.linspace(0.9, 0.1, count, dtype=np.float32),
        "boxes_lidar": boxes if names else np.zeros([0, 7]),
        "pred_labels": np.ones(count, np.int64),
        "frame_id": f"{context}_{time:03d}",
        "metadata": {"context_name": context, "timestamp_micros": time},
    }
    return {**frame, **changes}


RESULTS = [result(7, ["Vehicle", "Cyclist"]), result(3, []), result(5, ["Pedestrian"])]


def as_file(path, frames):
    """The lines of the documentation."""
    np.savez(
        path,
        context_name=[frame["metadata"]["context_name"] for frame in frames],
        timestamp_micros=[frame["metadata"]["timestamp_micros"] for frame in frames],
        count=[len(frame["score"]) for frame in frames],
        name=np.concatenate([frame["name"] for frame in frames]).astype(str),
        score=np.concatenate([frame["score"] for frame in frames]),
        boxes_lidar=np.concatenate([frame["boxes_lidar"] for frame in frames]),
    )
    return path


@pytest.mark.parametrize("as_path", [False, True])
def test_frames_scores_and_types(tmp_path, as_path):
    if as_path:
        objects = read_openpcdet(as_file(tmp_path / "result.npz", RESULTS))
    else:
        objects = from_openpcdet(RESULTS)
    assert objects.frame_ids == ("segment-a/3", "segment-a/5", "segment-a/7")
    assert objects.frame.tolist() == [1, 2, 2]
    assert objects.types.tolist() == [2, 1, 4]
    assert objects.scores.tolist() == pytest.approx([0.9, 0.9, 0.1])
    assert objects.boxes[2].tolist() == pytest.approx([1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8])


def test_its_boxes_are_ours(tmp_path):
    # a car ten metres ahead, driving to the left, its lower side on the ground
    box = np.array([[10.0, 0, 0.8, 4.5, 1.9, 1.6, math.pi / 2, 3.0, 4.0]])
    objects = from_openpcdet([result(1, ["Vehicle"], boxes_lidar=box)])
    assert objects.boxes.tolist() == [box[0, :7].tolist()]
    save_objects(tmp_path / "teacher.bin", objects)


def test_other_names():
    results = [result(1, ["Car", "Pedestrian"])]
    assert from_openpcdet(results, {"Car": "Vehicle"}).types.tolist() == [1, 2]
    with pytest.raises(InputError, match="segment-a/1, name: 'Car' is no class of Waymo"):
        from_openpcdet(results)
    with pytest.raises(InputError, match="'Car' is no class of Waymo"):
        from_openpcdet(results, {"Car": "Truck"})


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([{"score": []}], r"result 0: has no 'metadata', but score\."),
        ([result(1, [], metadata="segment")], "metadata: has no 'context_name', but str"),
        ([result(1, ["Vehicle"], score=np.array([1.5]))], "the score is not in"),
        ([result(1, ["Vehicle"], score=np.array([0.5, 0.5]))], "2 values for 1 boxes"),
        ([result(1, ["Vehicle"], boxes_lidar=np.zeros((1, 6)))], r"\[K, 7 or more\], not \(1, 6\)"),
        ([result(1, ["Vehicle"], boxes_lidar=np.full((1, 7), np.nan))], "not finite"),
        ([result(1, []), result(1, [])], "segment-a/1: the frame is there twice"),
    ],
)
def test_bad_lists(frames, message):
    with pytest.raises(InputError, match=message):
        from_openpcdet(frames)


def test_bad_files(tmp_path):
    with pytest.raises(DatasetError, match=r"absent\.npz: no such file"):
        read_openpcdet(tmp_path / "absent.npz")
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps(RESULTS))
    with pytest.raises(RecordError, match=r"pickled\.npz: is no \.npz file"):
        read_openpcdet(tmp_path / "pickled.npz")
    np.savez(
        tmp_path / "objects.npz",
        **dict.fromkeys(
            ("context_name", "timestamp_micros", "count", "name", "score", "boxes_lidar"),
            np.array([None]),
        ),
    )
    with pytest.raises(RecordError, match=r"objects\.npz: cannot be read as arrays of plain"):
        read_openpcdet(tmp_path / "objects.npz")
    np.savez(tmp_path / "other.npz", score=np.zeros(3))
    with pytest.raises(RecordError, match=r"has no context_name, .* but score"):
        read_openpcdet(tmp_path / "other.npz")
    path = as_file(tmp_path / "cut.npz", RESULTS)
    columns = dict(np.load(path))
    np.savez(path, **{**columns, "count": columns["count"] * 0})
    with pytest.raises(RecordError, match="say 0 boxes in 3 frames, but there are 3 in 3"):
        read_openpcdet(path)
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RecordError, match="is no"):
        read_openpcdet(tmp_path / "single.npz")
