import struct
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import DatasetError, OutputError, RecordError
from kd3d.waymo import (
    RecordWriter,
    iterate_offsets,
    iterate_records,
    read_record,
    record_name,
    scan_offsets,
)

PAYLOADS = [b"first", b"", b"third record"]


def masked(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "three.tfrecord"
    with RecordWriter(path) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    return path


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_bytes_of_a_known_record(tmp_path):
    # CRC32C's published check value is that of "123456789": 0xE3069283.
    with RecordWriter(tmp_path / "a") as writer:
        writer.write(b"123456789")
    rotated = (0xE3069283 >> 15 | 0xE3069283 << 17) & 0xFFFFFFFF
    content = (tmp_path / "a").read_bytes()
    assert content[:8] == b"\x09" + bytes(7)
    assert content[12:21] == b"123456789"
    assert content[21:] == struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


@settings(max_examples=30, deadline=None)
@given(payloads=st.lists(st.binary(max_size=200), max_size=6))
def test_round_trip(tmp_path_factory, payloads):
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    with RecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)
    assert list(iterate_records(path)) == payloads
    spans = scan_offsets(path)
    assert [read_record(path, *span) for span in spans] == payloads
    assert sum(span.length + 16 for span in spans) == path.stat().st_size


@pytest.mark.parametrize("missing", range(1, 28))
def test_truncation_keeps_the_records_before(file, missing):
    file.write_bytes(file.read_bytes()[:-missing])
    records = iterate_records(file)
    assert [next(records), next(records)] == PAYLOADS[:2]
    with pytest.raises(RecordError, match=r"three\.tfrecord, record 2: .*(inside|truncated)"):
        next(records)
    with pytest.raises(RecordError, match="record 2"):
        scan_offsets(file)


def test_offsets_before_a_fault_are_delivered(file):
    file.write_bytes(file.read_bytes()[:-1])
    offsets = iterate_offsets(file)
    assert [next(offsets), next(offsets)] == [(0, 5), (21, 0)]
    with pytest.raises(RecordError, match="claims 12 bytes, the file has 11 left"):
        next(offsets)


def test_wrong_length_checksum(file):
    flip(file, 21 + 9)
    records = iterate_records(file, verify=False)
    assert next(records) == b"first"
    with pytest.raises(RecordError, match=r"record 1: the checksum of the record's length"):
        next(records)


def test_wrong_payload_checksum(file):
    flip(file, 13)
    with pytest.raises(RecordError, match=r"record 0: the checksum of the record's content"):
        next(iterate_records(file))
    with pytest.raises(RecordError, match="record 0: the checksum"):
        read_record(file, 0, 5, number=0)
    assert len(list(iterate_records(file, verify=False))) == 3
    assert len(scan_offsets(file)) == 3


@pytest.mark.parametrize("length", [100, 2**31, 2**62, 2**64 - 1])
def test_forged_length_allocates_nothing(file, length):
    header = struct.pack("<Q", length)
    file.write_bytes(header + masked(header) + file.read_bytes()[12:])
    for reader in (iterate_records, iterate_offsets):
        with pytest.raises(RecordError, match=f"claims {length} bytes"):
            next(reader(file))


def test_stale_index(file):
    with pytest.raises(RecordError, match=r"has 5 bytes where 6 were expected.*scan"):
        read_record(file, 0, 6)
    with pytest.raises(RecordError, match="at byte 5"):
        read_record(file, 5, 5)
    with pytest.raises(RecordError, match="record 7: the file ends"):
        read_record(file, 10_000, 5, number=7)


def test_a_missing_file(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.tfrecord: cannot be opened"):
        next(iterate_records(tmp_path / "none.tfrecord"))
    with pytest.raises(DatasetError, match="cannot be opened"):
        scan_offsets(tmp_path)


def test_a_file_that_is_no_tfrecord(tmp_path):
    path = tmp_path / "readme.txt"
    path.write_text("This is a text of more than twelve bytes.")
    with pytest.raises(RecordError, match=r"record 0.*no tfrecord file"):
        next(iterate_records(path))


def test_urls_go_through_fsspec(file):
    assert list(iterate_records(file.as_uri())) == PAYLOADS
    assert read_record(file.as_uri(), *scan_offsets(file.as_uri())[2]) == PAYLOADS[2]


def test_failed_writing_leaves_the_old_file(file):
    before = file.read_bytes()

    def write_and_fail() -> None:
        with RecordWriter(file) as writer:
            writer.write(b"half")
            raise KeyError("the scene")

    with pytest.raises(KeyError, match="the scene"):
        write_and_fail()
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_unwritable_folder(file):
    with pytest.raises(OutputError, match=r"cannot be written.*Name a folder"):
        RecordWriter(file / "inside.tfrecord").__enter__()


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.tfrecord").mkdir()
    writer = RecordWriter(tmp_path / "a.tfrecord")
    writer.__enter__()
    with pytest.raises(OutputError, match="cannot be written"):
        writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tfrecord"]


def test_record_name():
    assert record_name(Path("a/b.tfrecord"), 3) == "a/b.tfrecord, record 3"


def test_a_length_that_no_record_has_is_refused_though_the_file_is_large_enough(tmp_path):
    path, length = tmp_path / "sparse.tfrecord", 2**28 + 1
    header = struct.pack("<Q", length)
    with path.open("wb") as sparse:
        sparse.write(header + masked(header))
        sparse.truncate(2**30)
    for reader in (iterate_records, iterate_offsets):
        with pytest.raises(RecordError, match="more than the 268435456 that any may have"):
            next(reader(path))
