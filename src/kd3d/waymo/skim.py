"""What a record says beside its images and range images, without reading those."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from kd3d.errors import RecordError
from kd3d.storage import Stamp, StoredFile, is_remote, open_stored
from kd3d.waymo.tfrecord import PAYLOAD_START, record_name

__all__ = ["skim_record"]

_KEPT_FIELDS = frozenset({1, 2, 3, 6})  # context, time, pose, labels of LiDAR objects
_VARINT, _EIGHT_BYTES, _SIZED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LONGEST_HEAD = 2 * _LONGEST_VARINT  # a field's tag, and its value or length
_LOCAL_BLOCK = 4 * 2**10
_REMOTE_BLOCK = 64 * 2**10  # a request costs more than its bytes


def skim_record(
    path: str | os.PathLike[str],
    offset: int,
    length: int,
    *,
    number: int,
    expected: Stamp | None = None,
) -> bytes:
    """Read a record's context, time, pose and LiDAR labels, and seek over everything else.

    A full-size record of 5 MB costs some 50 kB. The record's checksum is not checked: that takes
    all of it.

    Args:
        path: a local file, or a URL that fsspec opens.
        offset: offset of the record's first framing byte, as `scan_offsets` gives it.
        length: length of the payload, as `scan_offsets` gives it.
        number: the record's number, for messages.
        expected: what a remote file must look like.

    Returns:
        a serialized frame with these fields only, for `decode_raw_labels`.

    Raises:
        DatasetError: the file cannot be opened or read, or is remote and changed.
        RecordError: the record is no sequence of protobuf fields.
    """
    block = _REMOTE_BLOCK if is_remote(path) else _LOCAL_BLOCK
    start = offset + PAYLOAD_START
    where = record_name(path, number)
    with open_stored(path, expected) as file:
        window = _Window(file, start, start + length, block, where)
        try:
            kept = [window.read(*span) for span in _kept_fields(window)]
        except RecordError:
            file.refuse_change()
            raise
    return b"".join(kept)


class _Span(NamedTuple):
    start: int
    end: int


class _Window:
    """Reads a part of a file in blocks, and nothing outside that part."""

    def __init__(self, file: StoredFile, start: int, end: int, block: int, where: str) -> None:
        self.start = start
        self.end = end
        self._file = file
        self._block = block
        self._where = where
        self._content = b""
        self._offset = start

    def read(self, start: int, end: int) -> bytes:
        """Read the bytes from start to end.

        Raises:
            RecordError: if they are not all within the part, or the file ends before.
        """
        if end > self.end:
            raise self.refuse("a field is longer than the record")
        if start < self._offset or end > self._offset + len(self._content):
            size = min(max(end - start, self._block), self.end - start)
            (self._content,) = self._file.read_parts(start, size)
            self._offset = start
        content = self._content[start - self._offset : end - self._offset]
        if len(content) < end - start:
            raise self.refuse("the file ends inside the record")
        return content

    def refuse(self, what: str) -> RecordError:
        return RecordError(
            f"no Waymo v1 frame ({what}).",
            where=self._where,
            hint="The record is damaged or of another dataset: download the file again or leave it"
            " out.",
        )


def _kept_fields(window: _Window) -> Iterator[_Span]:
    """Find the fields to keep, tags included."""
    place = window.start
    while place < window.end:
        head = window.read(place, min(place + _LONGEST_HEAD, window.end))
        tag, used = _varint(head, 0, window)
        kind = tag & 7
        if kind == _VARINT:
            _, used = _varint(head, used, window)
        elif kind == _SIZED:
            size, used = _varint(head, used, window)
            used += size
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            used += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise window.refuse(f"wire type {kind}")
        if place + used > window.end:
            raise window.refuse("a field is longer than the record")
        if tag >> 3 in _KEPT_FIELDS:
            yield _Span(place, place + used)
        place += used


def _varint(head: bytes, start: int, window: _Window) -> tuple[int, int]:
    """Return a number of variable length and the place after it."""
    value = 0
    for shift, byte in enumerate(head[start : start + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, start + shift + 1
    raise window.refuse("a number without an end")
