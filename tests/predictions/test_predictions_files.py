"""Predictions and labels as files."""

import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from predictions_data import case, few, frame_objects, same

from kd3d.errors import ConfigError, DatasetError, RecordError
from kd3d.predictions import check_format, load_objects, save_objects
from kd3d.waymo import iterate_objects, schema, write_objects

FORMATS = ("bin", "parquet")


@pytest.fixture(autouse=True)
def _parquet(request):
    if "parquet" in request.node.name:
        pytest.importorskip("pyarrow")


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects=frame_objects())
def test_what_was_written_is_read(tmp_path, kind, objects):
    path = tmp_path / f"objects.{kind}"
    save_objects(path, objects)
    same(load_objects(path), objects)


@pytest.mark.parametrize("kind", FORMATS)
def test_frames_without_boxes_are_absent(tmp_path, kind):
    save_objects(tmp_path / f"x.{kind}", few(frame_ids=("a/1", "b/2", "c/3")))
    same(load_objects(tmp_path / f"x.{kind}"), few())


def test_the_bytes_are_the_official_ones(tmp_path):
    """By hand: tags, lengths and little-endian values of one object."""
    save_objects(
        tmp_path / "x.bin",
        few(
            frame_ids=("s/5",),
            frame=np.array([0]),
            boxes=np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5]]),
            types=np.array([2]),
            scores=np.array([0.25], np.float32),
            overlaps_nlz=np.array([True]),
            difficulty=np.array([2]),
            num_points=np.array([300]),
        ),
    )
    places = (1.0, 2.0, 3.0, 5.0, 4.0, 6.0, 0.5)  # width is field 4, length field 5
    doubles = b"".join(
        bytes([field << 3 | 1]) + np.float64(value).tobytes()
        for field, value in enumerate(places, start=1)
    )
    label = b"\x0a" + bytes([len(doubles)]) + doubles + b"\x18\x02\x28\x02\x38\xac\x02"
    whole = b"\x0a" + bytes([len(label)]) + label
    whole += b"\x15" + np.float32(0.25).tobytes() + b"\x18\x01" + b"\x22\x01s" + b"\x28\x05"
    assert (tmp_path / "x.bin").read_bytes() == b"\x0a" + bytes([len(whole)]) + whole


def test_the_official_messages_read_our_files(tmp_path):
    official = pytest.importorskip("waymo_open_dataset.protos.metrics_pb2")
    save_objects(tmp_path / "x.bin", few())
    theirs = official.Objects.FromString((tmp_path / "x.bin").read_bytes())
    assert [message.object.type for message in theirs.objects] == [1, 2, 4]
    (tmp_path / "y.bin").write_bytes(theirs.SerializeToString())
    same(load_objects(tmp_path / "y.bin"), few())


def test_unknown_fields_are_passed_over(tmp_path):
    save_objects(tmp_path / "x.bin", few())
    content = (tmp_path / "x.bin").read_bytes()
    others = b"\x10\x96\x01" + b"\x1a\x02hi" + b"\x21" + bytes(8) + b"\x2d" + bytes(4)
    (tmp_path / "y.bin").write_bytes(others + content + others)
    same(load_objects(tmp_path / "y.bin"), few())


def test_every_cut_but_those_between_objects_is_found(tmp_path):
    save_objects(tmp_path / "x.bin", few())
    content = (tmp_path / "x.bin").read_bytes()
    whole = [0]
    while whole[-1] < len(content):
        whole.append(whole[-1] + 2 + content[whole[-1] + 1])
    for length in range(len(content)):
        (tmp_path / "cut.bin").write_bytes(content[:length])
        if length in whole:
            assert len(load_objects(tmp_path / "cut.bin")) == whole.index(length)
            continue
        number = sum(length >= start for start in whole) - 1
        with pytest.raises(RecordError, match=rf"cut\.bin, object {number}: the file ends"):
            load_objects(tmp_path / "cut.bin")


def test_objects_come_one_by_one(tmp_path):
    save_objects(tmp_path / "x.bin", few())
    content = (tmp_path / "x.bin").read_bytes()
    (tmp_path / "x.bin").write_bytes(content[:-1])
    objects = iterate_objects(tmp_path / "x.bin")
    assert [next(objects).object.type for _ in range(2)] == [1, 2]
    with pytest.raises(RecordError, match="object 2"):
        next(objects)


@pytest.mark.parametrize(
    "content",
    [b"\x07", b"\x00\x01", b"\x0b", b"\x0a\xff\xff\xff\xff\x7f" + bytes(9), b"\xff" * 12],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(RecordError, match=r"x\.bin, object 0"):
        load_objects(tmp_path / "x.bin")


def message(time=1, *, kind=1, score=0.5, x=0.0, points=9):
    sides = {"length": 4.0, "width": 2.0, "height": 1.5}
    return schema.Object(
        object=schema.Label(
            box=schema.Label.Box(center_x=x, **sides), type=kind, num_lidar_points_in_box=points
        ),
        score=score,
        context_name=b"s",
        frame_timestamp_micros=time,
    )


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (message(kind=7), "types"),
        (message(score=float("nan")), "scores"),
        (message(score=1.5), "scores"),
        (message(x=float("inf")), "boxes"),
    ],
)
def test_a_bad_value_is_named_with_file_and_object(tmp_path, bad, field):
    write_objects(tmp_path / "x.bin", [message(), bad])
    with pytest.raises(RecordError, match=rf"x\.bin, object 1, {field}"):
        load_objects(tmp_path / "x.bin")


def test_absent_values_are_zero_beside_present_ones(tmp_path):
    bare = message()
    bare.object.ClearField("num_lidar_points_in_box")
    write_objects(tmp_path / "x.bin", [message(points=-1), bare, message()])
    assert load_objects(tmp_path / "x.bin").num_points.tolist() == [0, 0, 9]
    write_objects(tmp_path / "y.bin", [bare])
    assert load_objects(tmp_path / "y.bin").num_points is None


def test_a_frame_that_comes_up_again_is_refused_or_joined(tmp_path):
    write_objects(tmp_path / "x.bin", [message(5, kind=1), message(3), message(5, kind=2)])
    with pytest.raises(RecordError, match=r"x\.bin, object 2: frame s/5 comes up a second time"):
        load_objects(tmp_path / "x.bin")
    joined = load_objects(tmp_path / "x.bin", scattered=True)
    assert joined.frame_ids == ("s/5", "s/3")
    assert joined.types.tolist() == [1, 2, 1]


def test_a_table_has_readable_columns(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    save_objects(tmp_path / "x.parquet", few())
    table = parquet.read_table(tmp_path / "x.parquet").to_pydict()
    assert table["context_name"] == ["a", "a", "b"]
    assert table["timestamp_micros"] == [1, 1, 2]
    assert table["length"] == [4.5] * 3
    assert table["waymo_type"] == [1, 2, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["x"]), r"x\.parquet: the table has no column x"),
        (lambda table: table.set_column(2, "x", [["a", "b", "c"]]), "column x: holds string"),
        (lambda table: table.set_column(2, "x", [[1.0, None, 2.0]]), "object 1, boxes"),
        (lambda table: table.set_column(1, "timestamp_micros", [[1, None, 2]]), "1 empty cells"),
        (lambda table: table.set_column(0, "context_name", [["a", None, "b"]]), "are no text"),
    ],
)
def test_bad_tables_parquet(tmp_path, change, message):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    save_objects(path, few())
    parquet.write_table(change(parquet.read_table(path)), path)
    with pytest.raises(RecordError, match=message):
        load_objects(path)


def test_a_cut_table_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    save_objects(path, few())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match=r"x\.parquet: cannot be read as parquet"):
        load_objects(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_files(tmp_path, kind):
    with pytest.raises(DatasetError, match=rf"no\.{kind}"):
        load_objects(tmp_path / f"no.{kind}")


def test_formats(monkeypatch):
    with pytest.raises(ConfigError, match=r"out: 'x\.json' is neither"):
        check_format("x.json", where="out")
    assert check_format("x.BIN") == "bin"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"pip install 'kd3d\[parquet\]'"):
        check_format("x.parquet")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    save_objects(tmp_path / "x.bin", few())

    def broken():
        yield message()
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_objects(tmp_path / "x.bin", broken())
    same(load_objects(tmp_path / "x.bin"), few())
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_a_stored_case_survives(tmp_path, shared_data):
    predictions, labels, _ = case(shared_data, "basic_mixed")
    for name, objects in (("p", predictions), ("g", labels)):
        save_objects(tmp_path / f"{name}.bin", objects)
        read = load_objects(tmp_path / f"{name}.bin")
        assert np.array_equal(read.boxes, objects.boxes)
        assert read.columns().keys() == objects.columns().keys()
