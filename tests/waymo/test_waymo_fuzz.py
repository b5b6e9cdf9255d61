"""Damaged records: a valid frame or our error, and no memory for what a record only claims."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import RecordError
from kd3d.waymo import decode_frame, encode_frame, matrix, payload, read_frames, schema

CASES = range(1, 2120)
EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 9), st.binary(max_size=6)))


def test_two_thousand_damaged_files(fuzzer, tmp_path, monkeypatch):
    fuzzer.thin_files()  # made from full ones, before the bound is lowered: bombs reach it faster
    monkeypatch.setattr(matrix, "MAX_INFLATED_BYTES", 2**20)
    # Cases of full size are left to the benchmark, which has the time.
    numbers = [number for number in CASES if number % fuzzer.FULL_SIZE_EVERY]
    outcomes = list(fuzzer.run_cases(numbers, tmp_path))
    assert [outcome for outcome in outcomes if outcome.result.startswith("FAILED")] == []
    results = Counter(outcome.result for outcome in outcomes)
    assert results["valid frame"] + results["error"] == len(numbers) >= 2000
    # A fuzzer that only breaks checksums, or breaks nothing, proves nothing.
    assert min(results.values()) > 400
    assert len({outcome.mutation for outcome in outcomes}) == 7


def test_the_fuzzer_sees_what_is_wrong(fuzzer, tmp_path, monkeypatch, make_frame):
    path = tmp_path / "sound.tfrecord"
    path.write_bytes(fuzzer.file_of([encode_frame(make_frame())]))
    assert fuzzer.result_of(path, verify=True) == "valid frame"

    def raise_key_error(*arguments, **options):
        raise KeyError("laser")

    def raise_elsewhere(*arguments, **options):
        raise RecordError("bad.", where=f"{path}, record 7")

    for reader, text in ((raise_key_error, "KeyError"), (raise_elsewhere, "wrong record")):
        monkeypatch.setattr(fuzzer, "read_frames", reader)
        assert fuzzer.result_of(path, verify=True).startswith("FAILED")
        assert text in fuzzer.result_of(path, verify=True)


def frame_or_error(fuzzer, content):
    try:
        frame = decode_frame(content, "here, record 3")
    except RecordError as error:
        if not str(error).startswith("here, record 3"):
            raise
    else:
        fuzzer.check(frame)


@settings(max_examples=150)
@given(edits=EDITS.filter(bool), seed=st.integers(0, 3))
def test_any_edit_of_a_payload(fuzzer, make_frame, edits, seed):
    content = bytearray(encode_frame(make_frame(seed=seed, height=1, width=3)))
    for place, gone, added in edits:
        place %= len(content) + 1
        content[place : place + gone] = added
    frame_or_error(fuzzer, bytes(content))


@settings(max_examples=100)
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_payload_or_a_matrix(fuzzer, content):
    frame_or_error(fuzzer, content)
    for stream in (content, matrix.zlib.compress(content)):
        with pytest.raises(RecordError, match="here"):
            matrix.inflate(stream, 4, "here")


@pytest.fixture
def peak():
    """Call something that must fail; give its error and the most bytes that it had at a time."""

    def measure(call):
        tracemalloc.start()
        try:
            with pytest.raises(RecordError) as caught:
                call()
            return str(caught.value), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


def bomb(lead: bytes, size: int) -> bytes:
    return matrix.zlib.compress(lead + bytes(size), 9)


@pytest.mark.parametrize(
    ("lead", "limit"),
    [
        (b"\x0a\x80\x80\x80\x80\x04", 2**20),  # claims a gigabyte of values
        (b"\x0a\x80\x80\x80\x40", 2**20),  # 128 MiB of values, and they are there
        (b"\x0a\x80\x80\x40", 2.5 * matrix.MAX_INFLATED_BYTES),  # 1 MiB, and then 100 MiB more
        (b"\x1a\x80\x80\x80\x30", 2.5 * matrix.MAX_INFLATED_BYTES),  # an unknown field
        (b"", 2.5 * matrix.MAX_INFLATED_BYTES),
    ],
)
def test_bombs_are_refused_before_they_take_memory(peak, lead, limit):
    stream = bomb(lead, 100 * 2**20)
    text, taken = peak(lambda: matrix.inflate(stream, 4, "here"))
    assert "here: the range image is" in text
    assert "inflates to more than 16777216 bytes" in text
    assert taken < limit


@pytest.mark.parametrize("empty", [b"\x32\x00", b"\x2a\x00", b"\x50\x07"])
def test_a_payload_of_empty_messages_is_refused_unparsed(peak, make_frame, empty):
    content = encode_frame(make_frame()) + empty * 10**6
    text, taken = peak(lambda: decode_frame(content, "here"))
    assert text.startswith(f"here: more than {payload.MAX_FIELDS} fields")
    assert taken < 2**20


@pytest.mark.parametrize("parts", [1, 2])
def test_a_context_of_empty_messages_is_refused_unparsed(peak, parts):
    inner = b"\x1a\x00" * (600_000 // parts)
    length = bytes([len(inner) & 127 | 128, len(inner) >> 7 & 127 | 128, len(inner) >> 14])
    text, taken = peak(lambda: decode_frame((b"\x0a" + length + inner) * parts, "here"))
    assert text.startswith("here: a context of more than 1048576 bytes")
    assert taken < 2**22


def test_only_one_sensor_is_inflated_at_a_time(make_frame):
    frame = make_frame(height=64, width=500)
    payload = encode_frame(frame)
    decode_frame(payload, "here")
    images = sum(image.nbytes for laser in frame.lasers for image in laser.returns)
    points = sum((image[..., 0] > 0).sum() for laser in frame.lasers for image in laser.returns)
    tracemalloc.start()
    found = decode_frame(payload, "here")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.points) == points
    # The points' room, the record and its message, and one of five sensors' images and poses.
    assert most < 27 * images / 16 + 2 * len(payload) + images / 2


def test_faults_name_file_and_record(fuzzer, tmp_path, make_frame):
    path = tmp_path / "a.tfrecord"
    sound = encode_frame(make_frame())
    damaged = schema.Frame.FromString(sound)
    damaged.lasers[2].ri_return1.range_image_compressed = b"no stream"
    path.write_bytes(fuzzer.file_of([sound, damaged.SerializeToString(), sound]))
    frames = read_frames(path)
    assert len(next(frames).points) > 0
    with pytest.raises(RecordError, match=r"a\.tfrecord, record 1, laser SIDE_LEFT, return 1: "):
        next(frames)


def test_the_rest_of_a_matrix_may_be_any_size_up_to_the_bound(monkeypatch):
    values = np.ones((2, 3, 4), np.float32)
    stream = matrix.zlib.compress(
        schema.MatrixFloat(
            data=values.tobytes(), shape=schema.MatrixShape(dims=values.shape)
        ).SerializeToString()
        + b"\x1a\x88\x27"
        + bytes(5000)
    )
    np.testing.assert_array_equal(matrix.inflate(stream, 4, "here"), values)
    monkeypatch.setattr(matrix, "MAX_INFLATED_BYTES", 5000)
    with pytest.raises(RecordError, match="inflates to more than 5000"):
        matrix.inflate(stream, 4, "here")
