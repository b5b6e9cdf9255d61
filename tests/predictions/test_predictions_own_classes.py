"""Classes and frames that are not Waymo's: as files, as labels, and compared."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predictions_data import few, frame_objects, own, same

from kd3d.data import FolderFrames, FrameDataset, Selection, build_index
from kd3d.data.chosen_frames import some_frames
from kd3d.errors import ConfigError, InputError, RecordError
from kd3d.metrics import WaymoDetectionMetric
from kd3d.predictions import (
    FrameObjects,
    check_format,
    evaluate_objects,
    from_openpcdet,
    labelled_objects,
    load_objects,
    read_openpcdet,
    save_objects,
)
from kd3d.waymo import RawFrame, RawLabel, write_segment

sys.path.append(str(Path(__file__).parents[1] / "data"))
from folder_scenes import CLASSES, make_scene, write_folder

FORMATS = ("parquet", "npz")


@pytest.fixture(autouse=True)
def _parquet(request):
    if "parquet" in request.node.name:
        pytest.importorskip("pyarrow")


@st.composite
def own_objects(draw):
    """Legal predictions of any classes in frames of any name."""
    objects = draw(frame_objects().filter(lambda objects: objects.frame_ids))
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
    frames, rows = len(objects.frame_ids), len(objects)
    names = draw(st.lists(texts, min_size=frames, max_size=frames, unique=True))
    classes = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    types = draw(st.lists(st.integers(0, len(classes) - 1), min_size=rows, max_size=rows))
    scores = draw(st.lists(st.floats(0, 1, width=32), min_size=rows, max_size=rows))
    return FrameObjects(
        frame_ids=tuple(sorted(f"{name}/" for name in names)),
        frame=objects.frame,
        boxes=objects.boxes,
        types=np.array(types, np.int64),
        type_names=tuple(f"{name}?" for name in classes),
        scores=np.array(scores, np.float32),
    )


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects=own_objects())
def test_what_was_written_is_read(tmp_path, kind, objects):
    path = tmp_path / f"objects.{kind}"
    save_objects(path, objects)
    same(load_objects(path), objects)


@pytest.mark.parametrize("kind", FORMATS)
def test_waymos_own_are_still_waymos(tmp_path, kind):
    save_objects(tmp_path / f"x.{kind}", few())
    same(load_objects(tmp_path / f"x.{kind}"), few())


def test_npz_keeps_frames_without_boxes(tmp_path):
    save_objects(tmp_path / "x.npz", few(frame_ids=("a/1", "b/2", "c/3")))
    assert load_objects(tmp_path / "x.npz").frame_ids == ("a/1", "b/2", "c/3")


def test_a_bin_file_says_which_formats_have_room(tmp_path):
    with pytest.raises(ConfigError, match=r"out: .* not Car, Bus\. Write a \.parquet or \.npz"):
        check_format("x.bin", where="out", classes=("Car", "Vehicle", "Bus"))
    assert check_format("x.npz", classes=("Car",)) == "npz"
    with pytest.raises(InputError, match=r"Waymo's classes only, not Car, Walker\. Write a \.parq"):
        save_objects(tmp_path / "x.bin", own(frame_ids=("a/1", "b/2")))
    with pytest.raises(InputError, match=r"'val/drive_0/007': is no frame of Waymo.*\.parquet"):
        save_objects(tmp_path / "x.bin", own(type_names=("Vehicle", "Sign", "Cyclist")))
    with pytest.raises(InputError, match=r"'val/007': is no frame of Waymo"):
        save_objects(tmp_path / "x.bin", few(frame_ids=("a/1", "val/007")))
    assert not list(tmp_path.iterdir())
    renamed = few(type_names=("Cyclist", "Vehicle"), types=np.array([1, 0, 0]))
    save_objects(tmp_path / "x.bin", renamed)
    assert load_objects(tmp_path / "x.bin").types.tolist() == [1, 4, 4]


def test_npz_is_for_predictions(tmp_path):
    with pytest.raises(InputError, match=r"x\.npz: .*no scores"):
        save_objects(tmp_path / "x.npz", own(scores=None))


def test_a_table_of_someone_else_parquet(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    save_objects(path, own())
    table = parquet.read_table(path)
    assert table["class"].to_pylist() == ["Car", "Walker", "Walker"]
    assert table["frame_id"].to_pylist()[2] == "val/drive_0/scan_7"
    parquet.write_table(table.replace_schema_metadata(None), path)
    assert load_objects(path).type_names == ("Car", "Walker")  # those that have boxes
    bad = (
        (table.drop_columns(["class"]), "the table has no column waymo_type"),
        (table.drop_columns(["frame_id"]), "no column context_name, timestamp_micros"),
        (
            table.set_column(0, "frame_id", pa.array(["a", None, "b"])),
            "column frame_id: .* no text",
        ),
        (table.replace_schema_metadata({"kd3d.type_names": "[1]"}), "names of its classes cannot"),
        (
            table.replace_schema_metadata({"kd3d.type_names": json.dumps(["Car"])}),
            "object 1, class: 'Walker' is none",
        ),
    )
    for broken, message in bad:
        parquet.write_table(broken, path)
        with pytest.raises(RecordError, match=message):
            load_objects(path)


def test_a_list_of_openpcdet_on_another_dataset(tmp_path):
    frame = {
        "frame_id": "000123",
        "name": np.array(["Car", "Person_sitting"]),
        "score": np.array([0.9, 0.4]),
        "boxes_lidar": np.ones((2, 7)),
    }
    renamed = {"Person_sitting": "Walker"}
    found = from_openpcdet([frame], renamed, classes=CLASSES)
    assert found.frame_ids == ("000123",)
    assert [found.type_names[kind] for kind in found.types] == ["Car", "Walker"]
    save_objects(tmp_path / "x.npz", found)
    same(read_openpcdet(tmp_path / "x.npz"), found)
    with pytest.raises(InputError, match=r"'Person_sitting' is none of the classes Car, Truck"):
        from_openpcdet([frame], classes=CLASSES)
    with pytest.raises(InputError, match=r"'Car' is no class of Waymo's files.*classes=\[\.\.\.\]"):
        from_openpcdet([frame])


def test_labels_of_a_folder(tmp_path):
    frames = FrameDataset(
        FolderFrames.open(write_folder(tmp_path / "own", train=1, val=3), split="val"),
        Selection(classes=("Bike", "Car")),
    )
    labels = labelled_objects(frames)
    assert labels.frame_ids == tuple(f"val/drive_0/scan_{number}" for number in range(3))
    assert labels.type_names == ("Bike", "Car")
    _, boxes, kinds = make_scene(1001)
    wanted = np.isin(kinds, (0, 4))
    assert labels.boxes[labels.rows(1)] == pytest.approx(boxes[wanted], abs=1e-5)
    names = [labels.type_names[kind] for kind in labels.types[labels.rows(1)]]
    assert names == [CLASSES[kind] for kind in kinds[wanted]]
    assert (labels.num_points > 0).all()


def test_labels_of_every_other_waymo_frame(tmp_path):
    """`val_frame_interval` leaves frames out; those that stay have labels of all types."""
    label = RawLabel(box=np.array([9.0, 1, 0, 4, 2, 1, 0]), waymo_type=3, id="sign", num_points=4)
    frames = [
        RawFrame(context_name="s", timestamp_micros=time, pose=np.eye(4), labels=(label,))
        for time in range(5)
    ]
    write_segment(tmp_path / "s.tfrecord", frames)
    index = build_index(tmp_path, "*.tfrecord", cache_dir=tmp_path / "cache")
    source = some_frames(FrameDataset(index).source, interval=2)
    labels = labelled_objects(FrameDataset(source))
    assert labels.frame_ids == ("s/0", "s/2", "s/4")
    assert labels.types.tolist() == [3] * 3


def test_predictions_are_compared_by_the_names_of_classes():
    predictions = own()
    labels = own(type_names=("Walker", "Bus", "Car"), types=np.array([2, 0, 0]), scores=None)
    metric = WaymoDetectionMetric(("Walker", "Car", "Bus"), iou_thresholds=[0.5, 0.7, 0.7])
    scores = evaluate_objects(predictions, labels, metric=metric).metric.compute()
    assert scores["Walker/L2_AP"] == scores["Car/L2_AP"] == 1
    assert scores["Bus/L2_AP"] == 0
    metric = WaymoDetectionMetric(("Walker", "Tram"), iou_thresholds=[0.5, 0.5])
    with pytest.raises(ConfigError, match=r"no class Tram\. There are Car, Bus, Walker"):
        evaluate_objects(predictions, labels, metric=metric)
