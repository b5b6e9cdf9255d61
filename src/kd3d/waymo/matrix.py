"""Range images in and out of their zlib streams.

A stream inflates to a serialized matrix: its float32 values in row-major order, then its shape.

zlib-ng inflates, to the same bytes in a third of the time, where it is installed; it is the extra
``fast``. Streams are always written by zlib, so that a frame gives the same bytes everywhere.
"""

import importlib
import math
import zlib
from types import ModuleType

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from kd3d.errors import RecordError
from kd3d.waymo.schema import MatrixFloat, MatrixFloatElements, MatrixInt32, MatrixShape

__all__ = [
    "INFLATER",
    "MAX_INFLATED_BYTES",
    "MatrixStream",
    "deflate",
    "deflate_zeros",
    "inflate",
]

#: No stream is inflated further than this: four times the largest of Waymo's (64 x 2650 x 6).
MAX_INFLATED_BYTES = 16 * 2**20

_DATA_TAG = 0x0A  # field 1, length-delimited: packed values
_LEAD = 1024  # bytes of a stream that surely inflate to the tag and the length of the values
_LONGEST_HEADER = 6  # bytes: the tag, and a length of five bytes
_TAIL = 4096  # bytes after the values: the shape, and fields that this schema does not know
_FEED = 2**15  # bytes of a stream that are inflated at a time
_LEVEL = 4  # measured on range images: 7 % larger than level 6, in half its time


def _inflater() -> ModuleType:
    try:
        return importlib.import_module("zlib_ng.zlib_ng")
    except ImportError:
        return zlib


#: The module that inflates: zlib-ng's, or zlib.
INFLATER = _inflater()


def deflate(values: NDArray[np.float32]) -> bytes:
    """Return a matrix of any shape as a zlib stream, values cast to float32."""
    data = np.ascontiguousarray(values, "<f4").tobytes()
    message = MatrixFloat(data=data, shape=MatrixShape(dims=values.shape))
    return zlib.compress(message.SerializeToString(deterministic=True), _LEVEL)


def deflate_zeros(shape: tuple[int, ...]) -> bytes:
    """Return an integer matrix of zeros as a zlib stream."""
    message = MatrixInt32(data=bytes(math.prod(shape)), shape=MatrixShape(dims=shape))
    return zlib.compress(message.SerializeToString(deterministic=True), _LEVEL)


def inflate(stream: bytes, channels: int, where: str) -> NDArray[np.float32]:
    """Return the matrix of a zlib stream; `MatrixStream` says which and what is raised."""
    return MatrixStream(stream, channels, where).read()


class MatrixStream:
    """A matrix in its zlib stream, of which only the stated size is known yet.

    Args:
        stream: the stream.
        channels: the number of channels that the matrix must have.
        where: record and field, for messages.

    Attributes:
        num_values: how many values the stream says it has; an expectation, to be checked by `read`.
        where: as given.

    Raises:
        RecordError: the stream is no zlib stream, or says that it has more than
            `MAX_INFLATED_BYTES`; nothing of that size has been allocated.
    """

    def __init__(self, stream: bytes, channels: int, where: str) -> None:
        self.where = where
        self._stream, self._channels = stream, channels
        self._header, self._block = _stated_block(stream, where)
        self.num_values = self._block // 4
        if self._header + self._block > MAX_INFLATED_BYTES:
            raise _damaged(
                f"larger than allowed: it inflates to more than {MAX_INFLATED_BYTES} bytes", where
            )

    def read(self) -> NDArray[np.float32]:
        """Return the matrix.

        Returns:
            ``[H, W, channels]`` float32.

        Raises:
            RecordError: the stream is damaged or incomplete, inflates to more than
                `MAX_INFLATED_BYTES`, or holds no such matrix.
        """
        try:
            values, dims = self._one_block() or self._any_form()
        except INFLATER.error as error:
            raise _damaged(f"no readable zlib stream ({error})", self.where) from error
        except DecodeError as error:
            raise _damaged(f"no matrix ({error})", self.where) from error
        return values.reshape(dims)

    def _one_block(self) -> tuple[NDArray[np.float32], tuple[int, ...]] | None:
        """Read what every known writer writes: all values as one block, then the shape.

        The stream is fed in parts, so that the matrix is in memory once and a part in the
        processor's cache.
        """
        if not self._block:
            return None
        end = self._header + self._block
        content = _aligned(end + _TAIL, self._header)
        inflater, filled = INFLATER.decompressobj(), 0
        for first in range(0, len(self._stream), _FEED):
            part = inflater.decompress(self._stream[first : first + _FEED], len(content) - filled)
            content.data[filled : filled + len(part)] = part
            filled += len(part)
            if inflater.eof or filled == len(content):
                break
        if filled < end or not inflater.eof:
            return None
        tail = MatrixFloatElements.FromString(content[end:filled].tobytes())
        if tail.data:
            return None
        return content[self._header : end].view("<f4"), self._checked(tail.shape, self.num_values)

    def _any_form(self) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        inflater = INFLATER.decompressobj()
        content = inflater.decompress(self._stream, MAX_INFLATED_BYTES)
        if not inflater.eof:
            raise _damaged(
                f"incomplete, or inflates to more than {MAX_INFLATED_BYTES} bytes", self.where
            )
        message = MatrixFloatElements.FromString(content)
        count = len(message.data)
        dims = self._checked(message.shape, count)
        return np.fromiter(message.data, np.float32, count), dims

    def _checked(self, shape: MatrixShape, count: int) -> tuple[int, ...]:
        dims = tuple(shape.dims[:4])  # there are three, or they are wrong
        fits = len(dims) == 3 and min(dims) > 0 and math.prod(dims) == count
        if not fits or dims[2] != self._channels:
            raise RecordError(
                f"{count} values do not fill a matrix of shape {dims} with {self._channels}"
                " channels.",
                where=self.where,
                hint="The record is damaged or of another dataset: remove it or download it again.",
            )
        return dims


def _aligned(size: int, offset: int) -> NDArray[np.uint8]:
    """Return room for bytes; what begins at ``offset`` lies as numpy wants its numbers to lie."""
    shift = -offset % 16
    return np.empty(shift + size, np.uint8)[shift:]


def _stated_block(stream: bytes, where: str) -> tuple[int, int]:
    """Return the lengths in bytes of what stands before the values, and of the values.

    The second is 0 if no packed block leads the message.
    """
    try:
        lead = INFLATER.decompressobj().decompress(stream[:_LEAD], _LONGEST_HEADER)
    except INFLATER.error as error:
        raise _damaged(f"no readable zlib stream ({error})", where) from error
    if lead[:1] != bytes([_DATA_TAG]):
        return 0, 0
    length = 0
    for place, byte in enumerate(lead[1:]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return (place + 2, length) if length % 4 == 0 else (0, 0)
    return 0, 0


def _damaged(what: str, where: str) -> RecordError:
    return RecordError(
        f"the range image is {what}.",
        where=where,
        hint="The record is damaged: download the file again or leave it out.",
    )
