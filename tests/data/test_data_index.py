import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kd3d.data import build_index, index
from kd3d.errors import ConfigError, DatasetError, RecordError
from kd3d.waymo import decode_frame, scan_offsets

TRAINING = "training/*.tfrecord"


@pytest.fixture
def root(waymo_root, tmp_path):
    return shutil.copytree(waymo_root, tmp_path / "waymo")


@pytest.fixture
def scanned(monkeypatch):
    """Names of the files whose records are searched for."""
    names = []

    def watch(path):
        names.append(Path(path).name)
        return iter(scan_offsets(path))

    monkeypatch.setattr(index, "iterate_offsets", watch)
    return names


def test_lists_every_record_in_file_order(root):
    found = build_index(root, TRAINING)
    assert found.files == ("training/segment-a.tfrecord", "training/segment-b.tfrecord")
    assert found.numbers.tolist() == [*range(5), *range(7)]
    assert found.name(6) == f"{root}/training/segment-b.tfrecord, record 1"
    frame = decode_frame(found.read(6), found.name(6))
    assert (frame.context_name, frame.timestamp_micros) == ("segment-b", 1_100_000)


def test_second_build_reads_the_cache_only(root, scanned, cache_folder):
    first = build_index(root, TRAINING)
    assert sorted(scanned) == ["segment-a.tfrecord", "segment-b.tfrecord"]
    second = build_index(root, TRAINING)
    assert len(scanned) == 2
    for column in ("file_of", "numbers", "offsets", "lengths"):
        assert np.array_equal(getattr(first, column), getattr(second, column))
    assert [path.suffix for path in cache_folder.iterdir()] == [".npz"]
    assert sorted(path.name for path in root.iterdir()) == ["training", "validation"]


def test_rescans_changed_new_and_removed_files_only(root, write, scanned):
    build_index(root, TRAINING)
    scanned.clear()
    write(root / "training" / "segment-b.tfrecord", 3)
    write(root / "training" / "segment-d.tfrecord", 2)
    assert len(build_index(root, TRAINING)) == 5 + 3 + 2
    assert sorted(scanned) == ["segment-b.tfrecord", "segment-d.tfrecord"]
    (root / "training" / "segment-a.tfrecord").unlink()
    assert len(build_index(root, TRAINING)) == 3 + 2
    assert len(scanned) == 2


def test_notices_a_new_modification_time(root, scanned):
    build_index(root, TRAINING)
    os.utime(root / "training" / "segment-a.tfrecord", ns=(1, 1))
    scanned.clear()
    build_index(root, TRAINING)
    assert scanned == ["segment-a.tfrecord"]


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "other columns"])
def test_rebuilds_a_damaged_cache(root, scanned, cache_folder, damage):
    build_index(root, TRAINING)
    (cache,) = cache_folder.iterdir()
    if damage == "other columns":
        np.savez(cache, version=np.array(1))
    else:
        content = cache.read_bytes()
        cache.write_bytes({"cut": content[:200], "garbage": b"x" * 99, "empty": b""}[damage])
    scanned.clear()
    assert len(build_index(root, TRAINING)) == 12
    assert len(scanned) == 2
    build_index(root, TRAINING)
    assert len(scanned) == 2


def test_unwritable_cache_folder_costs_a_warning(root, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.warns(
        UserWarning, match=r"file/cache/index-.*npz: cannot be written .* KD3D_CACHE"
    ):
        assert len(build_index(root, TRAINING, cache_dir=in_the_way / "cache")) == 12


def test_shows_progress_over_many_files(tmp_path, write, capfd):
    write(tmp_path / "one.tfrecord", 1)
    for number in range(20):
        shutil.copy(tmp_path / "one.tfrecord", tmp_path / f"{number}.tfrecord")
    assert len(build_index(tmp_path, "*.tfrecord")) == 21
    assert "Indexing segments" in capfd.readouterr().out


def test_interval_starts_anew_in_each_segment(root):
    every = build_index(root, TRAINING).every(3)
    assert every.numbers.tolist() == [0, 3, 0, 3, 6]
    assert every.file_of.tolist() == [0, 0, 1, 1, 1]
    assert build_index(root, TRAINING).every(1).numbers.size == 12


def test_spread_takes_frames_from_everywhere(root):
    found = build_index(root, TRAINING)
    assert found.spread(3).name(2) == found.name(8)
    assert [found.spread(size).offsets.size for size in (1, 5, 12, 99)] == [1, 5, 12, 12]


@pytest.mark.parametrize("take", ["every", "spread"])
def test_refuses_to_keep_every_zeroth_frame(root, take):
    with pytest.raises(ConfigError, match="0 is below 1"):
        getattr(build_index(root, TRAINING), take)(0)


def test_missing_root_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: the dataset's root does not exist\. Give"):
        build_index(tmp_path / "nowhere", TRAINING)


def test_root_that_is_a_file_is_named(root):
    with pytest.raises(DatasetError, match=r"segment-a.tfrecord: the dataset's root is not a fold"):
        build_index(root / "training" / "segment-a.tfrecord", TRAINING)


def test_pattern_without_match_is_named(root, tmp_path):
    with pytest.raises(DatasetError, match=r"no file matches .*'test/\*'.* 3 other \*\.tfrecord"):
        build_index(root, "test/*")
    (tmp_path / "void").mkdir()
    with pytest.raises(DatasetError, match=r"There is no \*\.tfrecord file below it"):
        build_index(tmp_path / "void", TRAINING)


def test_files_without_records_are_an_error(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1 files that match .* hold no whole record"):
        build_index(tmp_path, "*.tfrecord")


def test_truncated_file_is_told_every_time(root):
    broken = root / "training" / "segment-a.tfrecord"
    broken.write_bytes(broken.read_bytes()[:-10])
    for _ in range(2):
        with pytest.raises(RecordError, match=r"segment-a.tfrecord, record 4: .* truncated"):
            build_index(root, TRAINING)
    for _ in range(2):
        kept = build_index(root, TRAINING, on_error="skip")
        assert len(kept) == 4 + 7
        (fault,) = kept.faults
        assert (fault.file, fault.name) == (str(broken), f"{broken}, record 4")


def test_file_that_changed_under_the_index_is_an_error(root, write):
    found = build_index(root, TRAINING)
    (root / "training" / "segment-a.tfrecord").unlink()
    with pytest.raises(DatasetError, match=r"segment-a.tfrecord: cannot be opened"):
        found.read(0)
    write(root / "training" / "segment-a.tfrecord", 1)
    with pytest.raises(RecordError, match=r"segment-a.tfrecord, record 4"):
        found.read(4)
