import struct
import sys
import zlib
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kd3d.errors import RecordError
from kd3d.waymo import matrix
from kd3d.waymo.matrix import MAX_INFLATED_BYTES, MatrixStream, deflate, inflate
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


def test_bytes_after_the_stream_are_not_looked_at():
    values = np.ones((2, 3, 4), np.float32)
    stream = deflate(values)
    np.testing.assert_array_equal(inflate(stream + bytes(2**20), 4, "here"), values)


def test_the_stated_size_is_known_before_anything_is_inflated():
    values = np.random.default_rng(0).random((40, 50, 4)).astype(np.float32)
    stream = deflate(values)
    found = MatrixStream(stream[:1024], 4, "here")
    assert found.num_values == values.size
    with pytest.raises(RecordError, match="here: the range image is incomplete"):
        found.read()
    lead = b"\x0a\x80\x80\x80\x40"
    with pytest.raises(RecordError, match="it inflates to more"):
        MatrixStream(zlib.compress(lead), 4, "here")


def test_values_lie_aligned():
    for width in (1, 40, 5000):  # one to three bytes of length
        values = inflate(deflate(np.ones((2, width, 4), np.float32)), 4, "here")
        assert values.flags.aligned
        assert values.ctypes.data % 16 == 0


def test_a_shape_of_many_dimensions():
    content = MatrixFloat(data=bytes(16), shape=MatrixShape(dims=[1] * 10_000))
    with pytest.raises(RecordError, match=r"of shape \(1, 1, 1, 1\) with 4 channels") as caught:
        inflate(zlib.compress(content.SerializeToString()), 4, "here")
    assert len(str(caught.value)) < 300


@settings(max_examples=200)
@given(
    seed=st.integers(0, 99),
    edits=st.lists(st.tuples(st.integers(0, 2**12), st.integers(0, 255)), max_size=3),
    cut=st.integers(0, 300),
)
def test_zlib_ng_and_zlib_find_the_same(seed, edits, cut):
    faster = pytest.importorskip("zlib_ng.zlib_ng", reason="the extra `fast` is not installed")
    image = np.round(np.random.default_rng(seed).random((3, 40, 4)), 1).astype(np.float32)
    stream = bytearray(deflate(image))
    for place, value in edits:
        stream[place % len(stream)] = value
    damaged = bytes(stream[: max(len(stream) - cut, 0)] if cut > 200 else stream)
    outcomes = []
    for inflater in (zlib, faster):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matrix, "INFLATER", inflater)
            try:
                outcomes.append(inflate(damaged, 4, "here").tobytes())
            except RecordError as error:
                outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_the_module_without_zlib_ng_and_with_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    assert matrix._inflater() is zlib
    other = ModuleType("zlib_ng.zlib_ng")
    monkeypatch.setitem(sys.modules, "zlib_ng", ModuleType("zlib_ng"))
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", other)
    assert matrix._inflater() is other


def test_values_are_little_endian():
    stream = stream_of(b"\x0a\x04", struct.pack("<f", 1.5), b"\x12\x06\x08\x01\x08\x01\x08\x01")
    assert inflate(stream, 1, "here").tolist() == [[[1.5]]]
