import json
from datetime import datetime, timezone

import pytest

from kd3d.errors import DatasetError
from kd3d.storage import clean_root, is_remote, join, list_files
from kd3d.storage.stamp import Stamp

NAMES = ("training/a.tfrecord", "training/b.tfrecord", "validation/c.tfrecord", "notes.md")


@pytest.fixture(params=["local", "memory", "memory without a folder"])
def root(request, tmp_path, bucket):
    """The same four files on a disk and in a bucket."""
    if request.param == "local":
        for name in NAMES:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        return str(tmp_path)
    address = "memory://data/waymo" if request.param == "memory" else "memory://"
    for name in NAMES:
        bucket.pipe(join(address, name), name.encode())
    return address


def write(root, name, text, bucket):
    if is_remote(root):
        bucket.pipe(join(root, name), text.encode())
    else:
        with open(join(root, name), "w") as file:  # noqa: PTH123
            file.write(text)


def test_a_glob_finds_names_and_sizes(root):
    found = list_files(root, "training/*.tfrecord")
    assert list(found) == ["training/a.tfrecord", "training/b.tfrecord"]
    assert {stamp.size for stamp in found.values()} == {len("training/a.tfrecord")}
    assert all(stamp.version for stamp in found.values())
    assert list(list_files(root, "**/*.tfrecord")) == sorted(NAMES[:3])


def test_several_patterns_are_put_together_once_each(root):
    found = list_files(root, ["validation/*", "training/b.tfrecord", "training/*"])
    assert list(found) == sorted(NAMES[:3])


@pytest.mark.parametrize("name", ["few.txt", "few.json"])
def test_a_manifest_names_files(root, bucket, name):
    names = ["validation/c.tfrecord", "training/a.tfrecord"]
    text = "# chosen by hand\nvalidation/c.tfrecord\n\ntraining/a.tfrecord  # a\n"
    write(root, name, json.dumps(names) if name.endswith("json") else text, bucket)
    assert list(list_files(root, name)) == sorted(names)


def test_a_manifest_may_point_elsewhere(root, bucket):
    bucket.pipe("memory://other/d.tfrecord", b"four")
    write(root, "few.txt", "memory://other/d.tfrecord\ntraining/a.tfrecord\n", bucket)
    found = list_files(root, "few.txt")
    assert found["memory://other/d.tfrecord"].size == 4
    assert len(found) == 2
    assert join(root, "memory://other/d.tfrecord") == "memory://other/d.tfrecord"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.json", '{"a": 1}', r"bad\.json: is no list of names \(it holds something else\)"),
        ("bad.json", "[1, 2]", "is no list of names"),
        ("bad.json", "[", "is no list of names"),
        ("bad.txt", "# nothing\n\n", r"bad\.txt: lists no file"),
        ("bad.txt", "training/none.tfrecord", r"training/none\.tfrecord: (cannot|does not exist)"),
    ],
)
def test_a_bad_manifest_is_named(root, bucket, name, text, message):
    write(root, name, text, bucket)
    with pytest.raises(DatasetError, match=message):
        list_files(root, name)


def test_a_manifest_of_absurd_length_is_not_read(tmp_path):
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DatasetError, match=r"huge\.txt: has 1,099,511,627,776 bytes"):
        list_files(str(tmp_path), "huge.txt")


def test_a_pattern_without_a_file_is_named(root):
    with pytest.raises(DatasetError, match=r"no file matches the pattern 'test/\*'"):
        list_files(root, "test/*")
    with pytest.raises(DatasetError, match="no file is asked for"):
        list_files(root, [])
    with pytest.raises(DatasetError, match=r"test/none|does not exist"):
        list_files(root, "test/none")


def test_file_urls_are_local(tmp_path):
    (tmp_path / "a b.tfrecord").write_bytes(b"x")
    root = clean_root(tmp_path.as_uri() + "/")
    assert root == str(tmp_path)
    assert list(list_files(root, "*")) == ["a b.tfrecord"]


@pytest.mark.parametrize(
    ("given", "clean", "first"),
    [
        ("gs://bucket/waymo//", "gs://bucket/waymo", "gs://bucket/waymo/a"),
        ("memory://", "memory://", "memory://a"),
        ("/data/waymo/", "/data/waymo", "/data/waymo/a"),
    ],
)
def test_roots_have_one_form(given, clean, first):
    assert clean_root(given) == clean
    assert join(clean, "a") == first


def test_only_like_versions_are_compared():
    seen = Stamp(5, "etag:a")
    assert seen.change(Stamp(5, "etag:a")) is None
    assert seen.change(Stamp(5, "mtime:7")) is None
    assert seen.change(Stamp(5, "")) is None
    assert seen.change(Stamp(5, "etag:b")) == "has another etag (b; it was a)"
    assert seen.change(Stamp(1234, "etag:a")) == "has 1,234 bytes; it had 5"


@pytest.mark.parametrize(
    ("info", "stamp"),
    [
        ({"size": 3, "ETag": '"x"', "LastModified": "t"}, Stamp(3, "etag:x")),
        ({"size": 3, "etag": 'W/"x"'}, Stamp(3, "etag:x")),
        (
            {"size": 3, "mtime": datetime.fromtimestamp(2.5, timezone.utc)},
            Stamp(3, "mtime:2.500000"),
        ),
        ({"size": 3, "mtime": 2.5}, Stamp(3, "mtime:2.500000")),
        ({"size": 3, "mtime": 1.5, "md5Hash": "h"}, Stamp(3, "md5hash:h")),
        ({"size": 3, "created": None}, Stamp(3, "")),
        ({"size": None, "etag": "x"}, None),
    ],
)
def test_stamps_take_the_surest_version(info, stamp):
    assert Stamp.of_remote(info) == stamp
