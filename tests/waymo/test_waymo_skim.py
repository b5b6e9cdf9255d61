import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import RecordError
from kd3d.waymo import (
    RecordWriter,
    decode_raw_frame,
    decode_raw_labels,
    scan_offsets,
    schema,
    skim_record,
)


def write(path, *payloads):
    with RecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)
    return path


def skim(path, number=0):
    return skim_record(path, *scan_offsets(path)[number], number=number)


def varint(value):
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def sized(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def label(number):
    message = schema.Label(type=1 + number % 4, id=f"object-{number}".encode())
    message.box.center_x = number
    message.num_lidar_points_in_box = 3 * number
    return message.SerializeToString()


@st.composite
def frames(draw):
    """Fields of a frame in any order, with large and unknown ones between them."""
    parts = [sized(1, schema.Context(name=b"segment").SerializeToString()), b"\x10\x05"]
    parts += [sized(6, label(number)) for number in range(draw(st.integers(0, 4)))]
    parts += [
        sized(draw(st.sampled_from([4, 5, 8, 9, 100])), bytes(draw(st.integers(0, 20_000))))
        for _ in range(draw(st.integers(0, 4)))
    ]
    parts += draw(
        st.lists(
            st.sampled_from([b"\xa1\x06" + bytes(8), b"\xa5\x06" + bytes(4), b"\x98\x06\x80\x01"]),
            max_size=2,
        )
    )
    return draw(st.permutations(parts))


@settings(max_examples=60)
@given(parts=frames())
def test_keeps_everything_but_images_and_sensors(tmp_path_factory, parts):
    payload = b"".join(parts)
    path = write(tmp_path_factory.mktemp("skim") / "a.tfrecord", b"before", payload)
    found = decode_raw_labels(skim(path, 1), "a")
    kept = b"".join(part for part in parts if part[0] >> 3 in (1, 2, 6) and part[0] < 0x80)
    expected = decode_raw_labels(kept, "a")
    assert (found.context_name, found.timestamp_micros) == ("segment", 5)
    assert [one.id for one in found.labels] == [one.id for one in expected.labels]
    assert [one.num_points for one in found.labels] == [one.num_points for one in expected.labels]


def test_says_what_the_whole_record_says(shared_data):
    path = shared_data / "frames" / "full_frame.tfrecord"
    payload = skim(path)
    whole = path.read_bytes()[12:-4]
    assert len(payload) < len(whole) / 20
    few, all_of_it = decode_raw_labels(payload, "a"), decode_raw_frame(whole, "a")
    assert few.context_name == all_of_it.context_name
    assert few.timestamp_micros == all_of_it.timestamp_micros
    assert len(few.labels) == len(all_of_it.labels)
    for ours, theirs in zip(few.labels, all_of_it.labels, strict=True):
        assert np.array_equal(ours.box, theirs.box)
        assert (ours.id, ours.num_points) == (theirs.id, theirs.num_points)


def test_seeks_over_what_is_large(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tfrecord", sized(5, bytes(10**6)) + sized(6, label(3)))
    (offset, length), asked = scan_offsets(path)[0], []
    from kd3d.storage.opening import LocalFile

    original = LocalFile.read_parts
    monkeypatch.setattr(
        LocalFile,
        "read_parts",
        lambda file, at, *sizes: asked.append(sum(sizes)) or original(file, at, *sizes),
    )
    assert skim_record(path, offset, length, number=0) == sized(6, label(3))
    assert sum(asked) < 10_000


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\x32\x05abc", "a field is longer than the record"),
        (b"\x32\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a field is longer than the record"),
        (b"\x2a" + b"\xff" * 30, "a number without an end"),
        (b"\x08\xff", "a number without an end"),
        (b"\x0b", "wire type 3"),
        (b"\x09abc", "a field is longer than the record"),
    ],
)
def test_what_is_no_frame_is_named(tmp_path, payload, message):
    path = write(tmp_path / "a.tfrecord", b"first", payload)
    with pytest.raises(RecordError, match=rf"a\.tfrecord, record 1: no Waymo v1 frame \({message}"):
        skim(path, 1)


def test_a_file_that_was_cut_is_named(tmp_path):
    path = write(tmp_path / "a.tfrecord", sized(6, label(1)) + sized(5, bytes(9000)))
    span = scan_offsets(path)[0]
    os.truncate(path, 20)
    with pytest.raises(RecordError, match="the file ends inside the record"):
        skim_record(path, *span, number=0)


@settings(max_examples=200)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_fields_or_an_error(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("skim") / "a.tfrecord", content)
    with suppress(RecordError):
        assert len(skim(path)) <= len(content)
