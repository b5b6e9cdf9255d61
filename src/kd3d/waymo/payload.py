"""Payloads to messages, refused before they take memory that their size does not justify.

A message of two bytes takes a hundred in memory, so a payload of nothing but empty messages would
take fifty times its size. Real records consist of a few large fields.
"""

from google.protobuf.message import DecodeError

from kd3d.waymo import schema
from kd3d.waymo.laser_reader import damaged

__all__ = ["MAX_CONTEXT_BYTES", "MAX_FIELDS", "parse_frame"]

#: More fields than any frame has: sensors, images, labels, map features.
MAX_FIELDS = 20_000

#: More than any frame's calibrations and statistics take, which are a few kilobytes.
MAX_CONTEXT_BYTES = 2**20

_CONTEXT_TAG = 1 << 3 | 2  # field 1, length-delimited
_FIXED_WIDTHS = {1: 8, 5: 4}  # bytes by wire type
_VARINT, _BLOCK = 0, 2  # wire types


def parse_frame(payload: bytes, where: str) -> schema.Frame:
    """Return the message of a record.

    Args:
        payload: the serialized frame.
        where: the record's name for messages.

    Raises:
        RecordError: the payload is no Waymo frame, has more than `MAX_FIELDS` fields, or its
            context more than `MAX_CONTEXT_BYTES`.
    """
    _check_fields(payload, where)
    try:
        return schema.Frame.FromString(payload)
    except DecodeError as error:
        raise damaged(f"no Waymo v1 frame ({error}).", where) from error


def _check_fields(payload: bytes, where: str) -> None:
    """Walk over the fields, as far as they are fields; the parser refuses what they are not."""
    position = number = context = 0
    while position < len(payload):
        tag, position = _varint(payload, position)
        wire = tag & 7
        if wire == _VARINT:
            _, position = _varint(payload, position)
        elif wire == _BLOCK:
            length, position = _varint(payload, position)
            position += length
            context += length if tag == _CONTEXT_TAG else 0
        else:
            position += _FIXED_WIDTHS.get(wire, 0)
        number += 1
        if number > MAX_FIELDS:
            raise damaged(f"more than {MAX_FIELDS} fields.", where)
        if context > MAX_CONTEXT_BYTES:
            raise damaged(f"a context of more than {MAX_CONTEXT_BYTES} bytes.", where)


def _varint(payload: bytes, position: int) -> tuple[int, int]:
    """Return a number and where the next thing begins; past the end it is 0."""
    value = 0
    for place, byte in enumerate(payload[position : position + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, position + place + 1
    return value, len(payload)
