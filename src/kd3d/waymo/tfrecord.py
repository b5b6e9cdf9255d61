"""TFRecord framing: length, checksum, payload, checksum, and nothing around it.

Each record is the payload's length ``n`` (uint64, little-endian), the masked CRC32C of these eight
bytes (uint32), the payload, and the payload's masked CRC32C. Records are counted from 0.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import google_crc32c
from typing_extensions import Self

from kd3d.errors import OutputError, RecordError
from kd3d.storage import Stamp, open_stored

__all__ = [
    "PAYLOAD_START",
    "RecordSpan",
    "RecordWriter",
    "iterate_offsets",
    "iterate_records",
    "read_record",
    "record_name",
    "scan_offsets",
]

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
PAYLOAD_START = _HEADER.size
"""From a record's first framing byte to its payload, in bytes."""
_OVERHEAD = _HEADER.size + _FOOTER.size
_LONGEST = 2**28
"""No record is longer, in bytes (Waymo's have about 5 MB): a forged length takes no memory."""
_COPY_AGAIN = "Copy or download the file again."


class RecordSpan(NamedTuple):
    """Where a record lies: the offset of its first framing byte, and its payload's length."""

    offset: int
    length: int


def record_name(path: str | os.PathLike[str], number: int) -> str:
    """Return how messages call a record: file and number, counted from 0."""
    return f"{os.fspath(path)}, record {number}"


def iterate_offsets(path: str | os.PathLike[str]) -> Iterator[RecordSpan]:
    """Yield where each record lies, reading 12 bytes per record and seeking over the rest.

    Args:
        path: a local file, or a URL that fsspec opens (``gs://...``).

    Raises:
        DatasetError: the file cannot be opened.
        RecordError: a length is wrong or the file ends too early; the records before have been
            yielded.
    """
    with open_stored(path) as file:
        offset = number = 0
        while offset < file.size:
            (header,) = file.read_parts(offset, _HEADER.size)
            length = _checked_length(header, file.size, offset, path, number)
            yield RecordSpan(offset, length)
            offset += _OVERHEAD + length
            number += 1


def scan_offsets(path: str | os.PathLike[str]) -> list[RecordSpan]:
    """Return where every record lies, by `iterate_offsets`, which says what is raised."""
    return list(iterate_offsets(path))


def read_record(
    path: str | os.PathLike[str],
    offset: int,
    length: int,
    verify: bool = True,
    *,
    number: int | None = None,
    expected: Stamp | None = None,
) -> bytes:
    """Read one record whose place is known.

    Args:
        path: a local file, or a URL that fsspec opens, of which one byte range is read.
        offset: offset of the record's first framing byte, as `scan_offsets` gives it.
        length: length of the payload, as `scan_offsets` gives it.
        verify: check the payload's checksum. The length's is always checked.
        number: the record's number, for messages.
        expected: what a remote file must look like.

    Raises:
        DatasetError: the file cannot be opened, or is remote and changed.
        RecordError: the record does not lie there, ends too early, or a checksum is wrong.
    """
    place = number if number is not None else f"at byte {offset}"
    with open_stored(path, expected) as file:
        header, payload, footer = file.read_parts(offset, _HEADER.size, length, _FOOTER.size)
        try:
            found = _checked_length(header, file.size, offset, path, place)
            if found != length:
                raise RecordError(
                    f"the record has {found} bytes where {length} were expected.",
                    where=f"{os.fspath(path)}, record {place}",
                    hint="The file changed since it was indexed: scan its offsets again.",
                )
            _check_payload(payload, footer, length, verify, path, place)
        except RecordError:
            file.refuse_change()
            raise
    return payload


def iterate_records(path: str | os.PathLike[str], *, verify: bool = True) -> Iterator[bytes]:
    """Yield the payloads in file order.

    Args:
        path: a local file, or a URL that fsspec opens.
        verify: check the payloads' checksums. The lengths' are always checked.

    Raises:
        DatasetError: the file cannot be opened.
        RecordError: a checksum is wrong or the file ends too early; the records before have been
            yielded.
    """
    with open_stored(path) as file:
        offset = number = 0
        while offset < file.size:
            (header,) = file.read_parts(offset, _HEADER.size)
            length = _checked_length(header, file.size, offset, path, number)
            payload, footer = file.read_parts(offset + _HEADER.size, length, _FOOTER.size)
            _check_payload(payload, footer, length, verify, path, number)
            yield payload
            offset += _OVERHEAD + length
            number += 1


class RecordWriter:
    """Writes a tfrecord file under a temporary name and renames it when it is whole.

    Use it in a ``with`` statement. After an exception inside, nothing is left and a file that was
    there before is untouched.

    Args:
        path: the file to write. Missing folders are made.

    Raises:
        OutputError: the folder cannot be made or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("wb")
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def write(self, payload: bytes) -> None:
        """Append one record.

        Raises:
            OutputError: the disk refuses it.
        """
        length = len(payload).to_bytes(8, "little")
        try:
            self._file.write(length + _FOOTER.pack(_masked_crc(length)))
            self._file.write(payload)
            self._file.write(_FOOTER.pack(_masked_crc(payload)))
        except OSError as error:
            raise self._unwritable(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                self._temporary.replace(self.path)
        except OSError as failure:
            raise self._unwritable(failure) from failure
        finally:
            self._temporary.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot be written ({error.strerror or error}).",
            where=str(self.path),
            hint="Name a folder that you may write to, on a disk with room.",
        )


def _checked_length(
    header: bytes, size: int, offset: int, path: str | os.PathLike[str], place: int | str
) -> int:
    where = f"{os.fspath(path)}, record {place}"
    if len(header) < _HEADER.size:
        raise RecordError("the file ends inside the record.", where=where, hint=_COPY_AGAIN)
    length, checksum = _HEADER.unpack(header)
    if checksum != _masked_crc(header[:8]):
        raise RecordError(
            "the checksum of the record's length is wrong.",
            where=where,
            hint="The file is corrupt or no tfrecord file. " + _COPY_AGAIN,
        )
    if length > size - offset - _OVERHEAD:
        raise RecordError(
            f"the record claims {length} bytes, the file has {max(size - offset - _OVERHEAD, 0)}"
            " left: it is truncated.",
            where=where,
            hint=_COPY_AGAIN,
        )
    if length > _LONGEST:
        raise RecordError(
            f"the record claims {length} bytes, more than the {_LONGEST} that any may have.",
            where=where,
            hint="The file is corrupt or no file of Waymo frames. " + _COPY_AGAIN,
        )
    return int(length)


def _check_payload(
    payload: bytes,
    footer: bytes,
    length: int,
    verify: bool,
    path: str | os.PathLike[str],
    place: int | str,
) -> None:
    where = f"{os.fspath(path)}, record {place}"
    if len(payload) < length or len(footer) < _FOOTER.size:
        raise RecordError("the file ends inside the record.", where=where, hint=_COPY_AGAIN)
    if verify and _FOOTER.unpack(footer)[0] != _masked_crc(payload):
        raise RecordError(
            "the checksum of the record's content is wrong.", where=where, hint=_COPY_AGAIN
        )


def _masked_crc(content: bytes) -> int:
    crc: int = google_crc32c.value(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
