import os

import pytest

from kd3d.errors import DatasetError
from kd3d.storage import Stamp, open_stored
from kd3d.storage.remote import (
    RemoteFile,
    _forget_parents_loop,
    file_system,
    remote_stamp,
)

URL = "memory://data/file.bin"
CONTENT = bytes(range(100))


@pytest.fixture
def file(bucket):
    bucket.pipe(URL, CONTENT)
    return bucket


@pytest.fixture
def answers(monkeypatch):
    """What the file system answers to the next reads, instead of the content; and the ranges."""
    system, _ = file_system(URL)
    original, planned, ranges = system.cat_file, [], []

    def read(path, start=None, end=None):
        ranges.append((start, end))
        answer = planned.pop(0) if planned else None
        if isinstance(answer, Exception):
            raise answer
        content = original(path, start=start, end=end)
        return content if answer is None else answer(content)

    monkeypatch.setattr(system, "cat_file", read)
    return planned, ranges


def test_parts_are_read_with_one_request(file, answers):
    with open_stored(URL) as opened:
        assert opened.size == 100
        assert opened.read_parts(10, 3, 0, 2) == (bytes([10, 11, 12]), b"", bytes([13, 14]))
    assert answers[1] == [(10, 15)]


def test_parts_at_the_end_are_short(file, tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    for name in (URL, tmp_path / "a"):
        with open_stored(name) as opened:
            assert opened.read_parts(97, 2, 2, 2) == (bytes([97, 98]), bytes([99]), b"")
            assert opened.read_parts(500, 1, 2**62) == (b"", b"")


def test_transient_failures_and_short_answers_are_read_again(file, answers, waits):
    planned, ranges = answers
    planned += [OSError("reset"), lambda content: content[:-1], TimeoutError()]
    assert open_stored(URL).read_parts(0, 4) == (CONTENT[:4],)
    assert (len(ranges), len(waits)) == (4, 3)


def test_a_file_that_shrank_is_named_at_once(file, answers, waits):
    opened = open_stored(URL)
    file.pipe(URL, CONTENT[:50])
    with pytest.raises(DatasetError, match=r"file\.bin: changed: it has 50 bytes; it had 100"):
        opened.read_parts(40, 20)
    assert waits == []


def test_a_file_that_went_is_named(file):
    opened = open_stored(URL)
    file.rm(URL)
    with pytest.raises(DatasetError, match=r"file\.bin: does not exist"):
        opened.read_parts(40, 20)
    with pytest.raises(DatasetError, match="does not exist"):
        open_stored(URL)


def test_a_known_file_is_looked_at_once(file, monkeypatch):
    expected = remote_stamp(URL)
    open_stored(URL, expected)
    system, _ = file_system(URL)
    monkeypatch.setattr(system, "info", lambda path: pytest.fail("looked again"))
    assert open_stored(URL, expected).read_parts(0, 1) == (b"\0",)


@pytest.mark.parametrize("content", [CONTENT[1:], CONTENT[::-1]])
def test_a_file_that_changed_since_is_refused(file, content):
    expected = remote_stamp(URL)
    file.pipe(URL, content)
    with pytest.raises(DatasetError, match=r"file\.bin: changed: .* when it was indexed"):
        open_stored(URL, expected)


def test_a_server_without_byte_ranges_is_named(file, answers):
    answers[0].append(lambda content: CONTENT)
    with pytest.raises(DatasetError, match="sent 100 bytes where 4 were asked for"):
        open_stored(URL).read_parts(0, 4)


def test_a_file_of_unknown_size_is_named(file, monkeypatch):
    system, _ = file_system(URL)
    monkeypatch.setattr(system, "info", lambda path: {"size": None})
    with pytest.raises(DatasetError, match="does not tell how long"):
        RemoteFile(URL)


def test_unknown_kinds_of_urls_are_named():
    with pytest.raises(DatasetError, match=r"quux://b/a: cannot be read .*Protocol not known"):
        open_stored("quux://b/a")


def test_chained_urls_work(file, tmp_path):
    url = "simplecache::" + URL
    assert open_stored(url).read_parts(10, 2) == (bytes([10, 11]),)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_each_process_makes_its_own_file_system(file):
    system, _ = file_system(URL)
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        same = file_system(URL)[0] is system
        os.write(sending, b"same" if same else b"new!")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiving, 4) == b"new!"
    assert file_system(URL)[0] is system


def test_a_stamp_may_be_given_for_a_file_without_versions(file):
    assert open_stored(URL, Stamp(100, "")).read_parts(99, 1) == (bytes([99]),)


def test_a_forked_process_does_not_wait_for_its_parents_loop(monkeypatch):
    """Nobody runs the loop there; older versions of fsspec do not see to it themselves."""
    asyn = pytest.importorskip("fsspec.asyn")
    parents = object()
    monkeypatch.setattr(asyn, "loop", [parents])
    monkeypatch.setattr(asyn, "iothread", [parents])
    monkeypatch.setattr(asyn, "_lock", parents)
    _forget_parents_loop()
    assert asyn.loop == asyn.iothread == [None]
    assert asyn._lock is not parents
