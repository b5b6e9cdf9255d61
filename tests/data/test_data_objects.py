import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kd3d.data import ObjectDatabase, WaymoFrames, build_index, build_objects
from kd3d.data.array_files import map_columns, save_columns, writing_rows
from kd3d.data.objects_building import ObjectsSummary
from kd3d.data.objects_parts import cut_objects
from kd3d.errors import ConfigError, DatasetError, OutputError, RecordError
from kd3d.geometry import points_in_boxes


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_object_has_its_points_class_and_frame(make_scenes, object_folder):
    scenes = make_scenes((12, 12))
    database = ObjectDatabase(object_folder)
    columns = database.columns
    assert database.classes == ("Vehicle", "Pedestrian", "Cyclist")
    expected = 0
    for frame in range(24):
        scan = scenes.read(frame)
        of_frame = np.flatnonzero(columns["frame_ids"][columns["frames"]] == scan.frame_id)
        rows = {tuple(columns["boxes"][row].tolist()): row for row in of_frame}
        wanted = (scan.labels >= 0) & (scan.num_points > 0)
        expected += int(wanted.sum())
        assert len(rows) == len(of_frame) == wanted.sum()
        for box, label, difficulty in zip(
            scan.boxes[wanted], scan.labels[wanted], scan.difficulty[wanted], strict=True
        ):
            row = rows[tuple(box.tolist())]
            assert (columns["labels"][row], columns["difficulty"][row]) == (label, difficulty)
            found = database.take(np.array([row]))
            inside = scan.points[points_in_boxes(scan.points, box[None])[:, 0]]
            assert torch.allclose(found.points, inside, atol=1e-5)
            start, count = columns["offsets"][row], columns["num_points"][row]
            stored = torch.from_numpy(database.points[start : start + count].copy())
            assert torch.allclose(stored[:, :3], inside[:, :3] - box[:3], atol=1e-5)
            assert torch.equal(stored[:, 3:], inside[:, 3:])
    assert len(database) == expected
    assert len(database.points) == columns["num_points"].sum()


def test_rows_of_a_class_are_together_and_by_number_of_points(object_folder):
    database = ObjectDatabase(object_folder)
    assert sum(len(database.rows_of(name)) for name in database.classes) == len(database)
    for label, name in enumerate(database.classes):
        rows = database.rows_of(name, min_points=7)
        counts = database.columns["num_points"]
        assert (database.columns["labels"][rows] == label).all()
        assert (counts[rows] >= 7).all()
        others = np.setdiff1d(np.flatnonzero(database.columns["labels"] == label), rows)
        assert len(others)
        assert (counts[others] < 7).all()


def test_classes_are_cut_from_every_so_manieth_frame_of_a_recording(make_scenes, tmp_path):
    scenes = make_scenes((6, 5))
    build_objects(scenes, tmp_path, workers=1)
    columns = ObjectDatabase(tmp_path).columns
    frames = columns["frame_ids"][columns["frames"]]

    def found_in(label):
        return {str(name) for name in frames[columns["labels"] == label]}

    assert found_in(0) == {"0/0", "0/4", "1/6", "1/10"}
    assert found_in(1) == {"0/0", "0/2", "0/4", "1/6", "1/8", "1/10"}
    assert found_in(2) == {scenes.frame_id(frame) for frame in range(11)}


def test_frames_of_no_interest_are_not_read(make_scenes, tmp_path):
    scenes = make_scenes((6, 5))
    build_objects(
        scenes, tmp_path, intervals={"Vehicle": 4, "Pedestrian": 4, "Cyclist": 2}, workers=1
    )
    assert scenes.reads == [0, 2, 4, 6, 8, 10]


def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(make_scenes, tmp_path):
    lengths = (3, 2, 4)
    build_objects(make_scenes(lengths), tmp_path / "whole", workers=1)
    interrupted = make_scenes(lengths)
    interrupted.broken = (6,)
    with pytest.raises(RecordError, match="frame 6: is broken"):
        build_objects(interrupted, tmp_path / "again", workers=1)
    assert not (tmp_path / "again" / "objects.npz").exists()
    assert len(list((tmp_path / "again" / "parts").glob("*.npz"))) == 2
    rest = make_scenes(lengths)
    summary = build_objects(rest, tmp_path / "again", workers=1)
    assert min(rest.reads) == 5
    assert (summary.recordings, summary.made) == (3, 1)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_a_damaged_part_is_made_again(make_scenes, tmp_path):
    scenes = make_scenes((2, 2, 2))
    scenes.broken = (5,)
    with pytest.raises(RecordError):
        build_objects(scenes, tmp_path, intervals={}, workers=1)
    points = min((tmp_path / "parts").glob("*.npy"))
    points.write_bytes(points.read_bytes()[:-8])
    rest = make_scenes((2, 2, 2))
    assert build_objects(rest, tmp_path, intervals={}, workers=1).made == 2
    assert rest.reads == [0, 1, 4, 5]


def test_what_is_made_is_kept_until_something_else_is_asked_for(make_scenes, tmp_path):
    first = build_objects(make_scenes(), tmp_path, workers=1)
    before = contents(tmp_path)
    again = make_scenes()
    assert build_objects(again, tmp_path, workers=1) == replace(first, made=0)
    assert again.reads == []
    other = build_objects(make_scenes(), tmp_path, intervals={}, workers=1)
    assert other.made == 2
    assert other.objects["Vehicle"] > first.objects["Vehicle"]
    assert contents(tmp_path) != before


def test_damaged_frames_are_left_out_and_named(make_scenes, tmp_path):
    scenes = make_scenes((3, 3))
    scenes.broken = (1, 4)
    summary = build_objects(scenes, tmp_path, intervals={}, on_error="skip", workers=1)
    assert summary.skipped == ("scenes, frame 1", "scenes, frame 4")
    columns = ObjectDatabase(tmp_path).columns
    assert columns["frame_ids"].tolist() == ["0/0", "0/2", "1/3", "1/5"]


def test_workers_change_nothing(waymo_root, tmp_path):
    source = WaymoFrames(build_index(waymo_root, "training/*.tfrecord"))
    alone = build_objects(source, tmp_path / "alone", intervals={}, workers=1)
    pair = build_objects(source, tmp_path / "pair", intervals={}, workers=2)
    assert alone.objects["Vehicle"] > 0
    assert pair == replace(alone, path=tmp_path / "pair")
    assert contents(tmp_path / "pair") == contents(tmp_path / "alone")


def test_objects_without_level_by_a_negative_number_are_left(make_scenes):
    scan = make_scenes().read(0)
    _, columns = cut_objects(scan)
    _, fewer = cut_objects(replace(scan, difficulty=scan.difficulty - 1))
    assert sorted(set(columns["difficulty"].tolist())) == [0, 1, 2]
    assert len(fewer["labels"]) == (columns["difficulty"] > 0).sum()


def test_database_goes_to_workers_without_its_arrays(object_folder):
    database = ObjectDatabase(object_folder)
    rows = np.array([3, 0])
    before = database.take(rows).points
    pickled = pickle.dumps(database)
    assert len(pickled) < 400
    assert torch.equal(pickle.loads(pickled).take(rows).points, before)
    assert isinstance(database.points, np.memmap)
    assert isinstance(database.columns["boxes"], np.memmap)


def test_rows_are_streamed(tmp_path):
    block = np.ones((1 << 16, 5), np.float32)
    with writing_rows(tmp_path / "rows.npy", 5) as rows:
        tracemalloc.start()
        for _ in range(40):
            rows.append(block)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < block.nbytes  # where 40 times as much was written
    assert np.load(tmp_path / "rows.npy", mmap_mode="r").shape == (40 << 16, 5)


def test_joining_holds_no_points(make_scenes, tmp_path):
    def peak_of(features):
        tracemalloc.start()
        build_objects(make_scenes((4, 4), features=features), tmp_path / str(features), workers=1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_of(3)  # what is made once is made now
    assert peak_of(203) < peak_of(5) + (tmp_path / "203" / "points.npy").stat().st_size / 2


@given(st.lists(st.integers(0, 9), max_size=5), st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_streamed_rows_read_as_they_were_written(tmp_path_factory, lengths, width):
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    blocks = [np.full((length, width), place, np.float32) for place, length in enumerate(lengths)]
    with writing_rows(path, width) as rows:
        for block in blocks:
            rows.append(block)
    expected = np.concatenate([np.empty((0, width), np.float32), *blocks])
    assert np.array_equal(np.load(path), expected)


@given(arrays(np.int64, st.integers(0, 20)), arrays(np.float32, (3, 2)))
@settings(deadline=None, max_examples=30)
def test_mapped_columns_are_what_was_saved(tmp_path_factory, first, second):
    path = tmp_path_factory.mktemp("columns") / "columns.npz"
    save_columns(path, [("first", first), ("second", second), ("names", np.array(["a", "bc"]))])
    mapped = map_columns(path)
    assert np.array_equal(mapped["first"], first)
    assert np.array_equal(mapped["second"], second, equal_nan=True)
    with np.load(path) as table:
        assert table["names"].tolist() == mapped["names"].tolist() == ["a", "bc"]


def test_compressed_columns_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "columns.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="compressed"):
        map_columns(tmp_path / "columns.npz")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("objects.npz", lambda content: None, "is no object database. Make it with: kd3d-data"),
        ("objects.npz", lambda content: content[:200], "objects.npz: cannot be read as part of"),
        ("points.npy", lambda content: None, "points.npy: cannot be read as part of"),
        ("points.npy", lambda content: content[:-40], "points.npy: cannot be read as part of"),
    ],
)
def test_missing_and_damaged_files_are_named(object_folder, tmp_path, name, change, message):
    for file, content in contents(object_folder).items():
        kept = change(content) if file == name else content
        if kept is not None:
            (tmp_path / file).write_bytes(kept)
    with pytest.raises(DatasetError, match=message):
        ObjectDatabase(tmp_path).take(np.array([0]))


def test_points_of_another_table_are_refused(object_folder, tmp_path):
    (tmp_path / "objects.npz").write_bytes((object_folder / "objects.npz").read_bytes())
    np.save(tmp_path / "points.npy", np.zeros((7, 5), np.float32))
    with pytest.raises(DatasetError, match=r"it is float32 \(7, 5\), not float32 \[\d+, F\]"):
        ObjectDatabase(tmp_path).take(np.array([0]))


def test_frames_of_different_features_are_refused(make_scenes, tmp_path):
    scenes = make_scenes((2, 2))
    read = scenes.read

    def read_changed(frame):
        scan = read(frame)
        return replace(scan, points=scan.points[:, :4]) if frame == changed else scan

    scenes.read = read_changed
    for changed, frame_id in ((1, "0/1"), (2, None)):
        where = f"^{frame_id}: " if frame_id else ""
        if frame_id is None:
            scenes.read = lambda frame: replace(
                read(frame), points=read(frame).points[:, : 4 if frame > 1 else 5]
            )
        with pytest.raises(DatasetError, match=f"{where}rows of 4 numbers cannot follow rows of 5"):
            build_objects(scenes, tmp_path / str(changed), intervals={}, workers=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intervals": {"Bus": 2}}, "'Bus' is none of the dataset's classes. They are Vehicle"),
        ({"intervals": {"Vehicle": 0}}, "intervals.Vehicle: 0 is below 1"),
        ({"workers": 0}, "workers: 0 is below 1"),
        ({"on_error": "ignore"}, "'ignore' is neither"),
    ],
)
def test_impossible_options_are_named(make_scenes, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        build_objects(make_scenes(), tmp_path, **options)


def test_a_source_without_objects_is_refused(make_scenes, tmp_path):
    scenes = make_scenes((2, 1), classes=())
    with pytest.raises(DatasetError, match="none of the 2 recordings has a labelled object"):
        build_objects(scenes, tmp_path, workers=1)


def test_a_folder_that_cannot_be_written_is_named(make_scenes, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        build_objects(make_scenes(), tmp_path / "file" / "out", workers=1)


def test_summary_counts(make_scenes, tmp_path):
    summary = build_objects(make_scenes((2, 1)), tmp_path, intervals={}, workers=1)
    assert isinstance(summary, ObjectsSummary)
    database = ObjectDatabase(tmp_path)
    counts = np.bincount(database.columns["labels"], minlength=3)
    assert list(summary.objects.values()) == counts.tolist()
    assert (summary.points, summary.recordings) == (len(database.points), 2)
