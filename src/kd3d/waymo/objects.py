"""The official metric's files (``*.bin``): one serialized ``Objects`` message, object by object."""

import os
from collections.abc import Iterable, Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from kd3d.errors import DatasetError, RecordError
from kd3d.files import whole_file
from kd3d.waymo import schema

__all__ = ["iterate_objects", "object_name", "write_objects"]

_OBJECT_TAG = 1 << 3 | 2  # field 1, length-delimited
_FIXED_WIDTHS = {1: 8, 5: 4}  # bytes by wire type
_VARINT, _BLOCK = 0, 2  # wire types
_LARGEST = 1 << 24
"""No object has so many bytes: a longer one means that the file is of another kind."""
_AT_ONCE = 4096
"""Objects that are serialized together."""


def iterate_objects(path: str | os.PathLike[str]) -> Iterator[schema.Object]:
    """Yield the objects of a file in its order, with the memory of one object.

    The format has no end mark: a file that was cut exactly between two objects reads as a shorter
    file.

    Args:
        path: a local file.

    Raises:
        DatasetError: the file cannot be opened.
        RecordError: the file ends in the middle of an object, or is no ``Objects`` message; the
            message names file and object number, from 0. The objects before it have been yielded.
    """
    with _open(path) as file:
        number = 0
        while file.peek(1):
            where = object_name(path, number)
            tag = _read_varint(file, where)
            if tag != _OBJECT_TAG:
                _skip(file, tag, where)
                continue
            try:
                yield schema.Object.FromString(_read_block(file, where))
            except DecodeError as error:
                raise _refuse(f"is no object ({error}).", where) from error
            number += 1


def write_objects(path: str | os.PathLike[str], objects: Iterable[schema.Object]) -> int:
    """Write objects as one file, under a temporary name until it is whole.

    Args:
        path: the file; missing folders are made, an old file is replaced.
        objects: may be made on the way.

    Returns:
        how many there were.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    count = 0
    remaining = iter(objects)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        # Serialized messages one after the other are the message with all their elements.
        while part := list(islice(remaining, _AT_ONCE)):
            file.write(schema.Objects(objects=part).SerializeToString(deterministic=True))
            count += len(part)
    return count


def object_name(path: str | os.PathLike[str], number: int) -> str:
    """Name an object in messages: its file and its number, from 0."""
    return f"{os.fspath(path)}, object {number}"


def _open(path: str | os.PathLike[str]) -> BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise DatasetError(
            f"cannot be opened ({error.strerror}).", where=os.fspath(path), hint="Check the path."
        ) from error


def _read_varint(file: BinaryIO, where: str) -> int:
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise _cut(where)
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    raise _refuse("a number has more than ten bytes.", where)


def _read_block(file: BinaryIO, where: str) -> bytes:
    length = _read_varint(file, where)
    if length > _LARGEST:
        raise _refuse(f"claims to have {length} bytes.", where)
    block = file.read(length)
    if len(block) < length:
        raise _cut(where)
    return block


def _skip(file: BinaryIO, tag: int, where: str) -> None:
    """Pass over a field that this schema does not know."""
    wire = tag & 7
    if tag >> 3 == 0 or wire not in (_VARINT, _BLOCK, *_FIXED_WIDTHS):
        raise _refuse("does not begin as an object does.", where)
    if wire == _VARINT:
        _read_varint(file, where)
    elif wire == _BLOCK:
        _read_block(file, where)
    elif len(file.read(_FIXED_WIDTHS[wire])) < _FIXED_WIDTHS[wire]:
        raise _cut(where)


def _cut(where: str) -> RecordError:
    return RecordError(
        "the file ends in the middle of it.", where=where, hint="Copy or write the file again."
    )


def _refuse(what: str, where: str) -> RecordError:
    return RecordError(
        what,
        where=where,
        hint="Give a file with one serialized Objects message, as the official metric reads it.",
    )
