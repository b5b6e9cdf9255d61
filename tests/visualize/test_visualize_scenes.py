"""Frames in 3D, read back from the files that viewers open."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import ConfigError, InputError, OutputError
from kd3d.structures import Detections
from kd3d.visualize import Scene, save_scene, wandb_scene
from kd3d.visualize.palette import SOURCE_COLOURS
from kd3d.visualize.scenes import point_colours, sources_of


def boxes_of(*rows, scores=None, labels=None) -> Detections:
    boxes = torch.tensor(rows).reshape(-1, 7)
    count = len(boxes)
    return Detections(
        boxes,
        torch.ones(count) if scores is None else torch.tensor(scores),
        torch.arange(count) % 3 if labels is None else torch.tensor(labels),
    )


CAR = (5.0, 2.0, 0.9, 4.5, 2.0, 1.6, 0.6)
WALKER = (-6.0, 3.0, 0.8, 0.8, 0.7, 1.7, -2.0)


def make_scene(**changes) -> Scene:
    points = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    settings = {
        "points": points,
        "found": {"student": boxes_of(CAR, WALKER, scores=(0.9, 0.456))},
        "ground_truth": boxes_of(CAR),
        "name": "segment 7, frame 3",
    }
    return Scene(**{**settings, **changes})


class Recording:
    """An .rrd file read back: the values of a component of an entity by frame."""

    def __init__(self, path):
        try:
            from rerun.chunk import RrdReader
        except ImportError:  # its place in earlier releases
            from rerun.experimental import RrdReader
        self.chunks = list(RrdReader(path).stream())

    def entities(self):
        return {chunk.entity_path for chunk in self.chunks}

    def values(self, entity, component):
        found = {}
        for chunk in self.chunks:
            if chunk.entity_path == entity:
                batch = chunk.to_record_batch()
                for name in batch.schema.names:
                    if name.endswith(f":{component}"):
                        frames, values = (
                            batch.column(part).to_pylist() for part in ("frame", name)
                        )
                        found.update(zip(frames, values, strict=True))
        return {frame: value for frame, value in found.items() if value is not None}


def rotated(quaternion, vector):
    """Turn a vector by a quaternion (x, y, z, w), by the formula v + 2 q x (q x v + w v)."""
    axis, w = np.array(quaternion[:3]), quaternion[3]
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * np.array(vector))


def test_a_recording_holds_frames_points_and_boxes_by_source(tmp_path):
    later = make_scene(found={"teacher": boxes_of(WALKER)}, ground_truth=None, name="next")
    path = save_scene(tmp_path / "new" / "frames.rrd", [make_scene(), later])
    assert list(path.parent.iterdir()) == [path]
    recording = Recording(path)
    truth, student = "/boxes/ground\\ truth", "/boxes/student"
    assert {"/points", truth, student, "/boxes/teacher", f"{student}/heading"} <= set(
        recording.entities()
    )
    points = recording.values("/points", "positions")
    assert sorted(points) == [0, 1]
    assert np.allclose(points[0], make_scene().points[:, :3], atol=1e-6)
    labels = recording.values(student, "labels")
    assert labels[0] == ["Vehicle 0.90", "Pedestrian 0.46"]
    assert recording.values(truth, "labels")[0] == ["Vehicle"]
    # what a frame does not have is taken away, or the viewer would go on showing the last one
    assert recording.values(student, "centers")[1] == []
    assert recording.values("/boxes/teacher", "centers")[0] == []
    assert recording.values("/name", "text")[0] == ["segment 7, frame 3"]


@settings(max_examples=6)
@given(heading=st.floats(-7, 7), length=st.floats(0.5, 9))
def test_boxes_of_a_recording_are_turned_about_z(tmp_path_factory, heading, length):
    path = tmp_path_factory.mktemp("scenes") / "frame.rrd"
    row = (1.0, -2.0, 0.5, length, 2.0, 1.5, heading)
    save_scene(path, Scene(torch.zeros(1, 3), {"student": boxes_of(row)}))
    recording = Recording(path)
    (quaternion,) = recording.values("/boxes/student", "quaternions")[0]
    front = rotated(quaternion, [1.0, 0.0, 0.0])
    assert front == pytest.approx([math.cos(heading), math.sin(heading), 0], abs=1e-5)
    assert rotated(quaternion, [0.0, 0.0, 1.0]) == pytest.approx([0, 0, 1], abs=1e-6)
    (half,) = recording.values("/boxes/student", "half_sizes")[0]
    assert half == pytest.approx([length / 2, 1.0, 0.75], rel=1e-5)
    (arrow,) = recording.values("/boxes/student/heading", "vectors")[0]
    reach = math.hypot(arrow[0], arrow[1])
    assert arrow[:2] == pytest.approx([reach * front[0], reach * front[1]], abs=1e-4)
    assert reach > length / 2
    assert recording.values("/boxes/student/heading", "origins")[0] == [[1.0, -2.0, 0.5]]


def test_points_are_coloured_by_height_or_intensity():
    cloud = np.array([[0, 0, -3, 9], [0, 0, 1.5, 0.55], [0, 0, 9, 0]], dtype=np.float32)
    by_height = point_colours(cloud)
    assert by_height.tolist()[0] == [68, 1, 84]  # both ends of matplotlib's viridis
    assert by_height.tolist()[2] == [253, 231, 36]
    assert np.abs(by_height[1].astype(int) - point_colours(cloud, "intensity")[1]).max() < 10
    assert point_colours(cloud, "intensity").tolist()[0] == [253, 231, 36]
    assert point_colours(cloud[:0]).shape == (0, 3)


def test_sources_have_names_colours_and_scores():
    truth, student = sources_of(make_scene(), ("Car",))
    assert (truth.name, truth.labels, truth.scores) == ("ground truth", ["Car"], None)
    assert student.labels == ["Car 0.90", "class 1 0.46"]
    hexes = ["#{:02X}{:02X}{:02X}".format(*source.colour) for source in (truth, student)]
    assert hexes == list(SOURCE_COLOURS[:2])
    (only,) = sources_of(make_scene(ground_truth=None))
    assert only.colour == student.colour  # a detector keeps its colour


def test_points_that_are_not_numbers_are_left_out():
    points = torch.tensor([[0.0, 0, 0], [math.nan, 0, 0], [0, math.inf, 0]])
    assert make_scene(points=points).cloud().tolist() == [[0, 0, 0]]


def wandb_file(scene, **options):
    return json.loads(Path(wandb_scene(scene, **options)._path).read_text(encoding="utf-8"))


def test_a_scene_for_wandb():
    data = wandb_file(make_scene())
    assert data["type"] == "lidar/beta"
    points = np.array(data["points"])
    assert points[:, :3] == pytest.approx(make_scene().points[:, :3].numpy(), abs=6e-4)
    assert points[:, 3:].min() >= 0
    assert points[:, 3:].max() > 1  # colours go to 255
    assert [box["label"] for box in data["boxes"]] == [
        "ground truth: Vehicle",
        "student: Vehicle 0.90",
        "student: Pedestrian 0.46",
    ]
    assert [box["score"] for box in data["boxes"]] == [
        None,
        pytest.approx(0.9),
        pytest.approx(0.456),
    ]
    assert all(0 <= part <= 1 for box in data["boxes"] for part in box["color"])
    assert len(data["vectors"]) == 3


def test_wandb_gets_the_corners_in_its_own_order():
    import wandb

    data = wandb_file(Scene(torch.zeros(1, 3), {"student": boxes_of(CAR)}))
    x, y, z, length, width, height, heading = CAR
    # wandb's quaternion turns global coordinates into the box's
    turn = (math.cos(heading / 2), 0, 0, math.sin(heading / 2))
    expected = wandb.box3d(
        center=(x, y, z), size=(length, width, height), orientation=turn, color=(0, 0, 0)
    )
    assert np.allclose(data["boxes"][0]["corners"], expected["corners"], atol=1e-3)


@pytest.mark.parametrize(("most", "kept"), [(1000, 200), (199, 100), (100, 100), (50, 50)])
def test_large_clouds_are_thinned_for_wandb(most, kept):
    assert len(wandb_file(make_scene(), max_points=most)["points"]) == kept


def test_nothing_found_in_an_empty_frame(tmp_path):
    nothing = Scene(torch.zeros(0, 5), {"student": boxes_of()}, ground_truth=boxes_of())
    assert wandb_file(nothing) == {"type": "lidar/beta", "points": [], "boxes": [], "vectors": []}
    recording = Recording(save_scene(tmp_path / "empty.rrd", nothing))
    assert recording.values("/boxes/student", "centers") == {0: []}


@pytest.mark.parametrize("package", ["rerun", "wandb"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    save, extra = {
        "rerun": (lambda scene: save_scene(tmp_path / "frame.rrd", scene), "viz"),
        "wandb": (wandb_scene, "wandb"),
    }[package]
    with pytest.raises(ConfigError, match=rf"pip install 'kd3d\[{extra}\]'"):
        save(make_scene())
    assert not list(tmp_path.iterdir())


def test_frames_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"points must be \[N, 3 or more\], not \(4, 2\)"):
        Scene(torch.zeros(4, 2))
    with pytest.raises(InputError, match=r"student: boxes must be \[M, 7\], not \(1, 6\)"):
        Scene(
            torch.zeros(4, 3),
            {"student": Detections(torch.zeros(1, 6), torch.ones(1), torch.ones(1))},
        )
    with pytest.raises(InputError, match="1 labels and 2 scores for 1 boxes"):
        make_scene(ground_truth=Detections(torch.zeros(1, 7), torch.ones(2), torch.ones(1)))
    with pytest.raises(InputError, match="is the name of the ground truth"):
        make_scene(found={"ground truth": boxes_of(CAR)})
    with pytest.raises(InputError, match="no frame"):
        save_scene(tmp_path / "frame.rrd", [])
    with pytest.raises(OutputError, match=r"frame\.bin: is not the name of a Rerun recording"):
        save_scene(tmp_path / "frame.bin", make_scene())
    with pytest.raises(ConfigError, match="'rainbow' is not one of"):
        save_scene(tmp_path / "frame.rrd", make_scene(), colour="rainbow")
    with pytest.raises(InputError, match="three columns have no intensity"):
        save_scene(tmp_path / "frame.rrd", make_scene(points=torch.zeros(2, 3)), colour="intensity")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save_scene(tmp_path / "file" / "frame.rrd", make_scene())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
