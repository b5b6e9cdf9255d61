"""Ways to damage a tfrecord file of Waymo frames, from a flipped bit to a zip bomb.

Each takes the payloads of a file and a generator, and gives the bytes of a damaged file.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import google_crc32c

from kd3d.waymo import schema

Payloads = Sequence[bytes]

_DOUBLES = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e39, 5e-324, -1.0, 0.0)
_INTEGERS = (-1, 0, 1, 2, 3, 6, 2**31 - 1, -(2**31))
_WORDS = (b"\x00" * 4, b"\xff" * 4, b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\xff\xff\xff\x7f")
_BOMB_BYTES = 32 * 2**20
_ZLIB_FIELDS = ("range_image_compressed", "range_image_pose_compressed")


def file_of(payloads: Payloads) -> bytes:
    """Return payloads as a sound tfrecord file."""
    return b"".join(_record(len(payload), payload) for payload in payloads)


def bytes_of_the_file(payloads: Payloads, generator: random.Random) -> bytes:
    """Damage anything, checksums included."""
    return _edited(file_of(payloads), generator)


def length_of_a_record(payloads: Payloads, generator: random.Random) -> bytes:
    """Forge the length of a record, with the checksum that it then needs."""
    true = len(payloads[0])
    length = generator.choice(
        [
            0,
            1,
            true - 1,
            true + 1,
            2 * true,
            2**31,
            2**40,
            2**63,
            2**64 - 1,
            generator.getrandbits(64),
        ]
    )
    return _record(length, payloads[0]) + file_of(payloads[1:])


def bytes_of_a_payload(payloads: Payloads, generator: random.Random) -> bytes:
    """Damage a serialized frame; its checksums are right."""
    payload = payloads[0]
    for _ in range(generator.randrange(1, 4)):
        payload = _edited(payload, generator)
    return file_of([payload, *payloads[1:]])


def fields_of_a_frame(payloads: Payloads, generator: random.Random) -> bytes:
    """Give fields extreme values, remove them, repeat them."""
    message = schema.Frame.FromString(payloads[0])
    for _ in range(generator.randrange(1, 4)):
        fields = list(_fields(message))
        if fields:
            _damage_field(*generator.choice(fields), generator)
    return file_of([message.SerializeToString(), *payloads[1:]])


def bytes_of_a_stream(payloads: Payloads, generator: random.Random) -> bytes:
    """Damage a compressed range image."""
    return _with_stream(payloads, generator, lambda stream: _edited(stream, generator))


def bytes_of_a_matrix(payloads: Payloads, generator: random.Random) -> bytes:
    """Damage a range image and compress it again."""

    def damage(stream: bytes) -> bytes:
        content = zlib.decompress(stream)
        for _ in range(generator.randrange(1, 6)):
            content = _edited(content, generator)
        return zlib.compress(content, 1)

    return _with_stream(payloads, generator, damage)


def bomb(payloads: Payloads, generator: random.Random) -> bytes:
    """Put something small in that becomes large when it is read."""
    place = generator.randrange(8)
    if place < 3:
        return _with_stream(payloads, generator, lambda _: generator.choice(_zip_bombs()))
    count = generator.choice([100, 1_000, 30_000, 200_000])
    if place < 6:
        empty = generator.choice([b"\x2a\x00", b"\x32\x00", b"\x3a\x00", b"\x50\x00", b"\x43\x44"])
        return file_of([payloads[0] + empty * count, *payloads[1:]])
    empties = generator.choice([b"\x1a\x00", b"\x22\x02\x0a\x00", b"\x12\x00"]) * count
    context = b"\x0a" + _varint(len(empties)) + empties
    return file_of([payloads[0] + context, *payloads[1:]])


MUTATIONS: tuple[Callable[[Payloads, random.Random], bytes], ...] = (
    bytes_of_the_file,
    length_of_a_record,
    bytes_of_a_payload,
    fields_of_a_frame,
    bytes_of_a_stream,
    bytes_of_a_matrix,
    bomb,
)


def _record(length: int, payload: bytes) -> bytes:
    header = struct.pack("<Q", length)
    return header + _masked_crc(header) + payload + _masked_crc(payload)


def _masked_crc(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _edited(content: bytes, generator: random.Random) -> bytes:
    edited = bytearray(content)
    kind = generator.randrange(7)
    # Structure is at the front and at the end more often than in the middle.
    size = generator.choice([len(edited), min(64, len(edited))])
    place = generator.randrange(size) if size else 0
    place = generator.choice([place, len(edited) - 1 - place]) if edited else 0
    run = slice(place, place + generator.randrange(1, 20))
    if kind == 0 and edited:
        edited[place] ^= 1 << generator.randrange(8)
    elif kind == 1:
        del edited[run]
    elif kind == 2:
        edited[place:place] = generator.randbytes(generator.randrange(1, 20))
    elif kind == 3:
        edited[place : place + 4] = generator.choice([*_WORDS, generator.randbytes(4)])
    elif kind == 4:
        edited[place:place] = edited[run] * generator.randrange(1, 5)
    elif kind == 5:
        del edited[place:]
    elif edited:
        edited[place] = generator.choice([0x00, 0x7F, 0x80, 0xFF])
    return bytes(edited)


def _fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every field that is there, as its message and descriptor, at any depth."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _fields(inner)


def _damage_field(message: Any, field: Any, generator: random.Random) -> None:
    value = getattr(message, field.name)
    if hasattr(value, "append"):
        _damage_list(value, field, generator)
    elif field.message_type is not None or generator.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _extreme(value, generator))


def _damage_list(values: Any, field: Any, generator: random.Random) -> None:
    index = generator.randrange(len(values)) if values else 0
    kind = generator.randrange(4)
    if kind == 0:
        del values[index:]
    elif kind == 1:
        values.extend(list(values))
    elif kind == 2 or field.message_type is not None:
        del values[index]
    else:
        values[index] = _extreme(values[index], generator)


def _extreme(value: Any, generator: random.Random) -> Any:
    if isinstance(value, bytes):
        return _edited(value, generator)
    return generator.choice(_DOUBLES if isinstance(value, float) else _INTEGERS)


def _with_stream(
    payloads: Payloads, generator: random.Random, change: Callable[[bytes], bytes]
) -> bytes:
    message = schema.Frame.FromString(payloads[0])
    images = [image for laser in message.lasers for image in (laser.ri_return1, laser.ri_return2)]
    places = [(image, name) for image in images for name in _ZLIB_FIELDS if getattr(image, name)]
    if places:
        image, name = generator.choice(places)
        setattr(image, name, change(getattr(image, name)))
    return file_of([message.SerializeToString(), *payloads[1:]])


@lru_cache(maxsize=1)
def _zip_bombs() -> tuple[bytes, ...]:
    large, small = _varint(2**40), _varint(2**20)
    return (
        _inflating_to(b""),
        _inflating_to(b"\x0a" + large),  # a block of a terabyte
        _inflating_to(b"\x0a" + _varint(_BOMB_BYTES)),
        _inflating_to(b"\x0a" + small),  # a sound block, and then too much
        _inflating_to(b"\x12" + _varint(_BOMB_BYTES)),  # the shape
        _inflating_to(b"\x1a" + _varint(_BOMB_BYTES)),  # an unknown field
        zlib.compress(b"\x1a\x00" * (4 * 2**20), 1),  # millions of unknown fields
        zlib.compress(b"\x0a\x04" + bytes(4) + b"\x12\x00" * (4 * 2**20), 1),
        zlib.compress(b"\x0d\x00\x00\x80\x3f" * (3 * 2**20), 1),  # unpacked values, no shape
        zlib.compress(_image_of_ones(1, 2**20 - 64), 1),  # as large as can be, and sound
    )


def _inflating_to(head: bytes) -> bytes:
    deflater = zlib.compressobj(1)
    parts = [deflater.compress(head)]
    zeros = bytes(2**20)
    parts += [deflater.compress(zeros) for _ in range(_BOMB_BYTES // len(zeros))]
    return b"".join([*parts, deflater.flush()])


def _image_of_ones(height: int, width: int) -> bytes:
    values = struct.pack("<f", 1.0) * (4 * height * width)
    shape = schema.MatrixShape(dims=(height, width, 4))
    return schema.MatrixFloat(data=values, shape=shape).SerializeToString()


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
