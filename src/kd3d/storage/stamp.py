"""What a file looked like, to notice that it changed."""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Stamp"]

#: What file systems call a file's version, the surest first.
_VERSION_FIELDS = (
    "etag",
    "generation",
    "md5hash",
    "crc32c",
    "content-md5",
    "digest",
    "checksum",
    "mtime",
    "lastmodified",
    "last_modified",
    "last-modified",
    "updated",
    "created",
)


class Stamp(NamedTuple):
    """A file's size and version.

    Args:
        size: in bytes.
        version: ``<kind>:<value>`` such as ``mtime:1712...`` or ``etag:abc``; empty where the
            file system tells nothing.
    """

    size: int
    version: str

    @classmethod
    def of_local(cls, path: str | os.PathLike[str]) -> "Stamp":
        """Look at a local file.

        Raises:
            OSError: if it cannot be looked at.
        """
        status = Path(path).stat()
        return cls(status.st_size, f"mtime:{status.st_mtime_ns}")

    @classmethod
    def of_remote(cls, info: Mapping[str, Any]) -> "Stamp | None":
        """Read what fsspec says about a file; nothing if it does not know the size."""
        if info.get("size") is None:
            return None
        known = {key.lower(): value for key, value in info.items() if value not in (None, "")}
        field = next((field for field in _VERSION_FIELDS if field in known), None)
        return cls(int(info["size"]), f"{field}:{_plain(known[field])}" if field else "")

    def change(self, now: "Stamp") -> str | None:
        """Say how a file changed since, nothing if it did not as far as can be known."""
        if now.size != self.size:
            return f"has {now.size:,} bytes; it had {self.size:,}"
        kind, _, version = self.version.partition(":")
        kind_now, _, version_now = now.version.partition(":")
        # A listing and a single look may know different things: only like is compared with like.
        if kind == kind_now and version != version_now:
            return f"has another {kind} ({version_now}; it was {version})"
        return None


def _plain(version: object) -> str:
    """Write a version in one way, however a listing and a single look at a file write it."""
    if isinstance(version, datetime):
        version = version.timestamp()
    if isinstance(version, float):
        return f"{version:.6f}"
    return str(version).removeprefix("W/").strip('"')
