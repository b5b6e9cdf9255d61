"""Files behind a URL, read by byte ranges."""

import functools
import os
import sys
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import Any

from kd3d.errors import DatasetError
from kd3d.storage.retry import ShortReadError, is_transient, patiently
from kd3d.storage.stamp import Stamp

__all__ = ["RemoteFile", "file_system", "remote_stamp"]


class RemoteFile(AbstractContextManager["RemoteFile", None]):
    """A file of a file system that fsspec knows. Nothing is kept open; any thread may read.

    Args:
        url: where it lies.
        expected: what it must look like; what it looks like now by default.

    Raises:
        DatasetError: if it cannot be looked at, or does not look as expected.
    """

    def __init__(self, url: str, expected: Stamp | None = None) -> None:
        self.url = url
        self._system, self._path = file_system(url)
        self._stamp = expected or remote_stamp(url)
        self.size = self._stamp.size
        if expected is not None:
            self.refuse_change()

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def read_parts(self, offset: int, *sizes: int) -> tuple[bytes, ...]:
        """Read neighbouring parts with one request; the last ones are short at the file's end.

        Raises:
            DatasetError: if the file changed, the server knows no byte ranges, or it cannot be read
                in spite of retries.
        """
        end = min(offset + sum(sizes), self.size)
        content = self._read(offset, end) if offset < end else b""
        ends = list(accumulate(sizes))
        return tuple(content[stop - size : stop] for size, stop in zip(sizes, ends, strict=True))

    def refuse_change(self) -> None:
        """Look at the file again.

        Raises:
            DatasetError: if it is not what it was.
        """
        change = self._stamp.change(remote_stamp(self.url))
        if change is not None:
            raise DatasetError(
                f"changed: it {change} when it was indexed.",
                where=self.url,
                hint="Start again to index it anew, and do not write to it meanwhile.",
            )

    def _read(self, start: int, end: int) -> bytes:
        try:
            content = patiently(lambda: self._request(start, end), self.url)
        except DatasetError as error:
            # That the file shrank says more than that its end cannot be read.
            if error.__cause__ is not None and not is_transient(error.__cause__):
                self.refuse_change()
            raise
        if len(content) > end - start:
            raise DatasetError(
                f"the server sent {len(content)} bytes where {end - start} were asked for: it does"
                " not know byte ranges.",
                where=self.url,
                hint="Serve the files with a server that does (nginx, Apache, any bucket).",
            )
        return content

    def _request(self, start: int, end: int) -> bytes:
        content: bytes = self._system.cat_file(self._path, start=start, end=end)
        if len(content) < end - start:
            self.refuse_change()
            raise ShortReadError(f"{len(content)} bytes came where {end - start} were asked for")
        return content


def remote_stamp(url: str) -> Stamp:
    """Look at a remote file.

    Raises:
        DatasetError: if it cannot be looked at, or its size is unknown.
    """
    system, path = file_system(url)

    def look() -> Stamp | None:
        system.invalidate_cache()
        return Stamp.of_remote(system.info(path))

    stamp = patiently(look, url)
    if stamp is None:
        raise DatasetError(
            "its server does not tell how long it is.",
            where=url,
            hint="Serve it with a Content-Length, as web servers and buckets do.",
        )
    return stamp


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, made in this process, and the path in it.

    A file system with connections does not survive a fork: each process makes its own.

    Raises:
        DatasetError: if fsspec does not know such URLs, or lacks a package for them.
    """
    # The rest of a chained URL (simplecache::gs://...) is a part of its file system.
    chained = "::" in url
    place = url if chained else "/".join(url.split("/", 3)[:3])
    system, path = patiently(lambda: _make_system(os.getpid(), place), url)
    return system, path if chained else str(system._strip_protocol(url))


@functools.lru_cache(maxsize=64)
def _make_system(process: int, place: str) -> tuple[Any, str]:
    import fsspec.core

    system, path = fsspec.core.url_to_fs(place, skip_instance_cache=True)
    return system, str(path)


def _forget_parents_loop() -> None:
    """Have fsspec start anew in a forked process, whose threads are gone.

    Its event loop is the parent's, and nobody runs it: the first request would wait for ever.
    From 2025.5 on fsspec sees to that itself.
    """
    if "fsspec.asyn" in sys.modules:
        sys.modules["fsspec.asyn"].reset_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_loop)
