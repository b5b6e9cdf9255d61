import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kd3d.errors import RecordError
from kd3d.waymo.matrix import MAX_INFLATED_BYTES, deflate, inflate
from kd3d.waymo.schema import MatrixFloat, MatrixFloatElements, MatrixShape


@settings(max_examples=50, deadline=None)
@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 6)),
        elements=st.floats(width=32),
    )
)
def test_round_trip(values):
    again = inflate(deflate(values), values.shape[2], "here")
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, values)


def stream_of(*parts: bytes) -> bytes:
    return zlib.compress(b"".join(parts))


def test_every_legal_form_is_read():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    packed = MatrixFloat(data=values.tobytes()).SerializeToString()
    halves = [MatrixFloat(data=half.tobytes()).SerializeToString() for half in values]
    elements = MatrixFloatElements(data=values.ravel().tolist()).SerializeToString()
    shape = MatrixFloat(shape=MatrixShape(dims=(2, 3, 4))).SerializeToString()
    packed_dims = b"\x12\x05\x0a\x03\x02\x03\x04"
    unknown = b"\x1a\x02hi"
    assert elements[:1] == b"\x0d"
    for parts in (
        (packed, shape),
        (shape, packed),
        (*halves, shape),
        (elements, shape),
        (packed, packed_dims),
        (packed, unknown, shape),
        (unknown, packed, shape),
    ):
        np.testing.assert_array_equal(inflate(stream_of(*parts), 4, "here"), values)


@pytest.mark.parametrize(
    ("count", "dims"),
    [
        (24, (2, 3, 5)),
        (24, (2, 2, 4)),
        (24, (24,)),
        (24, ()),
        (0, (0, 3, 4)),
        (0, ()),
        (24, (-2, -3, 4)),
        (24, (2**31 - 1, 2**31 - 1, 4)),
        (24, (2, 3, 2, 2)),
    ],
)
def test_shapes_that_do_not_fit(count, dims):
    message = MatrixFloat(data=bytes(4 * count), shape=MatrixShape(dims=dims))
    with pytest.raises(RecordError, match=r"here: .*do not fill a matrix"):
        inflate(zlib.compress(message.SerializeToString()), 4, "here")


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\xff\xff",
        b"\x0a\x03abc",
        b"\x0a\x7fshort",
        b"\xff\xff",
        b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    ],
)
def test_content_that_is_no_matrix(content):
    with pytest.raises(RecordError, match=r"here: .*(no matrix|do not fill)"):
        inflate(zlib.compress(content), 4, "here")


def test_streams_that_do_not_inflate():
    stream = deflate(np.ones((2, 3, 4), np.float32))
    with pytest.raises(RecordError, match="no readable zlib stream"):
        inflate(b"not zlib", 4, "here")
    with pytest.raises(RecordError, match="incomplete"):
        inflate(stream[:-3], 4, "here")
    with pytest.raises(RecordError, match="no readable zlib stream"):
        inflate(stream[:-1] + bytes([stream[-1] ^ 1]), 4, "here")


def test_a_zip_bomb_is_refused(monkeypatch):
    bomb = zlib.compress(bytes(MAX_INFLATED_BYTES + 1), 9)
    assert len(bomb) < 100_000
    with pytest.raises(RecordError, match="inflates to more than"):
        inflate(bomb, 4, "here")
    monkeypatch.setattr("kd3d.waymo.matrix.MAX_INFLATED_BYTES", 50)
    values = np.zeros((1, 1, 4), np.float32)
    assert inflate(deflate(values), 4, "here").size == 4
    with pytest.raises(RecordError, match="inflates to more than 50 bytes"):
        inflate(deflate(np.zeros((1, 4, 4), np.float32)), 4, "here")


def test_values_are_little_endian():
    stream = stream_of(b"\x0a\x04", struct.pack("<f", 1.5), b"\x12\x06\x08\x01\x08\x01\x08\x01")
    assert inflate(stream, 1, "here").tolist() == [[[1.5]]]
