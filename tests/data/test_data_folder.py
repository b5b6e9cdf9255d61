"""Scans of a folder: npz and parquet, names and ids, and what is refused."""

import json
import shutil

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import lightning as L
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from folder_scenes import CLASSES, make_scene, write_folder
from hypothesis import given

from kd3d.data import FolderDataModule, FolderFrames, FrameDataModule, PointBatch
from kd3d.errors import ConfigError, DatasetError, RecordError
from kd3d.geometry import count_points_in_boxes

BOX = ("x", "y", "z", "length", "width", "height", "heading")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("own"))


@pytest.fixture
def one(tmp_path):
    """A dataset of one scan, whose arrays can be written anew."""
    write_folder(tmp_path, train=1, val=0)

    def write(**changes):
        points, boxes, labels = make_scene(0)
        scan = {"points": points, "boxes": boxes, "labels": np.array(CLASSES)[labels], **changes}
        path = tmp_path / "train" / "drive_0" / "scan_0.npz"
        np.savez(path, **{name: value for name, value in scan.items() if value is not None})
        return FolderFrames.open(tmp_path)

    return write


def write_tables(root, name, points, boxes, labels, features=("intensity",), facts=None):
    path = root / f"{name}.points.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(zip(("x", "y", "z", *features), points.T, strict=True))), path)
    table = {**dict(zip(BOX, boxes.T, strict=True)), "label": labels}
    pq.write_table(pa.table(table), root / f"{name}.boxes.parquet")
    if facts is not None:
        (root / f"{name}.json").write_text(json.dumps(facts))


def test_a_scan_is_what_was_written(folder):
    frames = FolderFrames.open(folder)
    points, boxes, labels = make_scene(2)
    scan = frames.read(2)
    assert frames.frame_id(2) == scan.frame_id == "train/drive_0/scan_2"
    assert np.array_equal(scan.points.numpy(), points)
    assert np.array_equal(scan.boxes.numpy(), boxes.astype(np.float32))
    assert scan.labels.tolist() == labels.tolist()
    assert scan.num_points.tolist() == count_points_in_boxes(scan.points, scan.boxes).tolist()
    assert scan.num_points.min() > 20
    assert scan.difficulty.tolist() == [0] * len(boxes)
    assert (scan.pose, scan.time) == (None, None)


def test_sequences_are_folders_in_the_order_of_their_numbers(folder):
    frames = FolderFrames.open(folder)
    assert len(frames) == 12
    assert frames.classes == CLASSES
    assert frames.segments.tolist() == [0] * 6 + [1] * 6
    assert [frames.frame_id(place).rpartition("_")[2] for place in range(12)] == list(
        map(str, range(12))
    )
    assert frames.file(3).endswith("scan_3.npz")


def test_a_list_names_the_scans(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "own")
    names = "# good ones\ntrain/drive_1/scan_11\ntrain/drive_0/scan_4.npz\n"
    (tmp_path / "own" / "some.txt").write_text(names)
    frames = FolderFrames.open(tmp_path / "own", split="some.txt")
    assert [frames.frame_id(0), frames.frame_id(1)] == [
        "train/drive_0/scan_4",
        "train/drive_1/scan_11",
    ]
    assert frames.read(0).frame_id == "train/drive_0/scan_4"


@given(
    points=arrays.arrays(
        np.float32,
        st.tuples(st.integers(0, 9), st.just(5)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    boxes=arrays.arrays(
        np.float64, st.tuples(st.integers(0, 4), st.just(7)), elements=st.floats(0.1, 1e3)
    ),
    time=st.none() | st.floats(0, 2e9),
    shift=st.none() | st.floats(-1e5, 1e5),
    kind=st.sampled_from(["npz", "parquet"]),
)
def test_what_is_written_comes_back_in_either_format(
    points, boxes, time, shift, kind, tmp_path_factory
):
    root = tmp_path_factory.mktemp("any")
    labels = np.arange(len(boxes)) % 3 - 1
    pose = None if shift is None else np.eye(4) + shift * np.eye(4, k=3)
    known = {"time": time, "pose": None if pose is None else pose.tolist()}
    known = {name: value for name, value in known.items() if value is not None}
    if kind == "npz":
        (root / "train").mkdir()
        np.savez(root / "train" / "a.npz", points=points, boxes=boxes, labels=labels, **known)
    else:
        write_tables(root, "train/a", points, boxes, labels, ("intensity", "ring"), known)
    scan = FolderFrames.open(root, ["Car", "Bus"]).read(0)
    assert np.array_equal(scan.points.numpy(), points)
    assert np.array_equal(scan.boxes.numpy(), boxes.astype(np.float32))
    assert np.array_equal(scan.labels.numpy(), labels)
    assert scan.time == time
    assert (scan.pose is None) == (pose is None)
    assert pose is None or np.array_equal(scan.pose, pose)


def test_names_of_a_table_become_ids(tmp_path):
    points, boxes, labels = make_scene(1)
    write_tables(tmp_path, "train/a", points, boxes, [CLASSES[label] for label in labels])
    assert FolderFrames.open(tmp_path, CLASSES).read(0).labels.tolist() == labels.tolist()


def test_what_the_file_tells_is_not_counted_anew(one):
    count = len(make_scene(0)[1])
    scan = one(num_points=np.arange(count), difficulty=np.ones(count, int)).read(0)
    assert scan.num_points.tolist() == list(range(count))
    assert scan.difficulty.tolist() == [1] * count


def test_ignored_names_are_nobody_s_class(tmp_path):
    write_folder(
        tmp_path, train=1, val=0, classes=["Car", "Bus"], ignore=["Truck", "Walker", "Bike"]
    )
    labels = FolderFrames.open(tmp_path).read(0).labels
    wanted = [{0: 0, 2: 1}.get(label, -1) for label in make_scene(0)[2].tolist()]
    assert labels.tolist() == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": None}, "has no array points"),
        ({"points": np.zeros((5, 2))}, r"points must be numbers \[N, 4\]"),
        ({"points": np.zeros((5, 3))}, "names the features x, y, z, intensity"),
        ({"points": np.full((5, 4), np.nan)}, "5 of 5 points hold NaN"),
        ({"boxes": np.full((12, 7), np.inf)}, "12 of 12 boxes hold NaN"),
        ({"boxes": np.ones((12, 8))}, r"boxes must be numbers \[M, 7\]"),
        ({"boxes": np.zeros((12, 7))}, "12 of 12 boxes have no length, width or height"),
        ({"boxes": np.ones((3, 7))}, "12 labels for 3 boxes"),
        ({"labels": np.array(["Trunk"] * 12)}, r"'Trunk' is an unknown label .* Is it Truck\?"),
        ({"labels": np.full(12, 5)}, "5 is no label: ids go from 0 to 4"),
        ({"labels": np.array([{}] * 12)}, "holds Python objects"),
        ({"labels": np.zeros((12, 1), int)}, r"labels must be \[M\]"),
        ({"num_points": np.zeros(2)}, "2 num_points for 12 boxes"),
        ({"pose": np.ones((4, 4))}, "no 4 x 4 matrix"),
        ({"time": np.ones(2)}, "time is not one number"),
    ],
)
def test_bad_scans_are_named(one, changes, message):
    with pytest.raises(RecordError, match=rf"scan_0.npz: .*{message}"):
        one(**changes).read(0)


def test_a_cut_file_is_named(one, tmp_path):
    frames = one()
    path = tmp_path / "train" / "drive_0" / "scan_0.npz"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(RecordError, match="cannot be read as npz"):
        frames.read(0)


def test_bad_tables_are_named(tmp_path):
    points, boxes, labels = make_scene(1)
    write_tables(tmp_path, "train/a", points, boxes, labels)
    frames = FolderFrames.open(tmp_path, CLASSES)
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "train" / "a.boxes.parquet")
    with pytest.raises(RecordError, match="no column y, z, length, width, height, heading, label"):
        frames.read(0)
    (tmp_path / "train" / "a.boxes.parquet").unlink()
    with pytest.raises(RecordError, match=r"Every scan has a .points.parquet and a .boxes.parquet"):
        frames.read(0)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "names no classes"),
        ('{"classes": ["A", "A"]}', "no list of different names"),
        ('{"classes": ["A"], "class": 1}', "unknown key 'class'"),
        ('{"classes": ["A"], "features": ["y", "x", "z"]}', "not x, y, z"),
    ],
)
def test_bad_facts_are_named(facts, message, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "own")
    (tmp_path / "own" / "dataset.json").write_text(facts)
    with pytest.raises(DatasetError, match=message):
        FolderFrames.open(tmp_path / "own")


def test_bad_folders_are_named(folder, tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        FolderFrames.open(tmp_path / "none", CLASSES)
    with pytest.raises(DatasetError, match=r"no such folder\. Folders of the root: train, val"):
        FolderFrames.open(folder, split="training")
    with pytest.raises(DatasetError, match="holds no scan"):
        FolderFrames.open(tmp_path, CLASSES, split=".")
    (tmp_path / "list.txt").write_text("train/x")
    with pytest.raises(DatasetError, match=r"names 'train/x'"):
        FolderFrames.open(tmp_path, CLASSES, split="list.txt")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.npz").touch()
    with pytest.raises(ConfigError, match=r"there is no dataset\.json"):
        FolderFrames.open(tmp_path)
    (tmp_path / "train" / "a.points.parquet").touch()
    with pytest.raises(DatasetError, match="1 frame ids are there twice, the first is 'train/a'"):
        FolderFrames.open(tmp_path, CLASSES)


def test_the_data_module_serves_any_classes_and_features(folder):
    data = FolderDataModule(folder, batch_size=4, classes=["Bus", "Walker"], val_batch_size=3)
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert all(isinstance(batch, PointBatch) for batch in batches)
    assert batches[0].points.shape[1] == 4
    validated = {
        name: k for batch in data.val_dataloader() for k, name in enumerate(batch.frame_ids)
    }
    assert len(validated) == 6
    batch = next(iter(data.val_dataloader()))
    wanted = [{2: 0, 3: 1}[label] for label in make_scene(1000)[2].tolist() if label in (2, 3)]
    assert batch.labels[0][batch.labels[0] >= 0].tolist() == wanted


def test_intervals_count_within_sequences(folder):
    data = FolderDataModule(folder, frame_interval=4, val_frame_interval=5, val_max_frames=1)
    names = data.train_frames.sample_frame_ids(99)
    assert [name.rpartition("_")[2] for name in names] == ["0", "4", "6", "10"]
    assert len(data.val_frames) == 1


def test_an_unknown_class_is_named_with_the_nearest(folder):
    with pytest.raises(ConfigError, match=r"no class 'Busses'.* Is 'Busses' Bus\?"):
        FolderDataModule(folder, classes=["Busses"]).setup("fit")


def test_no_root_is_named():
    with pytest.raises(DatasetError, match=r"data.root: there is no dataset root"):
        FolderDataModule().setup("fit")


def test_bad_scans_can_be_skipped(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "own")
    (tmp_path / "own" / "train" / "drive_0" / "scan_3.npz").write_bytes(b"nothing")
    data = FolderDataModule(tmp_path / "own", on_error="skip", num_workers=0)
    with pytest.warns(UserWarning, match="scan_3.npz"):
        assert sum(len(batch) for batch in data.train_dataloader()) == 12
    assert data.skipped_frames == 1


class Adder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, _):
        self.seen += batch.frame_ids
        return self.weight * batch.points.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def test_any_source_trains(folder):
    source = FolderFrames.open(folder)
    data = FrameDataModule(source, batch_size=5, num_workers=1)
    module = Adder()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    data.val_dataloader = None
    trainer.fit(module, data.train_dataloader())
    assert set(module.seen) == {source.frame_id(place) for place in range(12)}
    with pytest.raises(DatasetError, match="there are no validation frames"):
        data.open_source("val")
