import asyncio
import logging

import aiohttp
import pytest

from kd3d.errors import DatasetError, RecordError
from kd3d.storage.retry import ATTEMPTS, MissingFileError, is_transient, patiently


class WithStatus(Exception):
    def __init__(self, status, name="status"):
        super().__init__(f"answer {status}")
        setattr(self, name, status)


def chained(error, cause):
    error.__cause__ = cause
    return error


class Flaky:
    """Fails so many times, then works."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "content"


TRANSIENT = [
    OSError("broken pipe"),
    TimeoutError(),
    asyncio.TimeoutError(),
    ConnectionResetError(),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError("half"),
    WithStatus(503),
    WithStatus(429),
    WithStatus(500, "code"),
    chained(FileNotFoundError("url"), WithStatus(502)),  # what fsspec's HTTP says to a 502
]
FINAL = [
    FileNotFoundError("gone"),
    PermissionError("no"),
    IsADirectoryError("folder"),
    WithStatus(404),
    WithStatus(403, "code"),
    WithStatus(416),
    ValueError("no such protocol"),
    ImportError("install gcsfs"),
    chained(FileNotFoundError("url"), WithStatus(403)),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_transient_errors_are_tried_again(error, waits):
    assert is_transient(error)
    assert patiently(Flaky(error, error), "gs://b/a") == "content"
    assert len(waits) == 2
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_other_errors_are_final(error, waits):
    action = Flaky(error)
    with pytest.raises(DatasetError, match=r"gs://b/a: ") as told:
        patiently(action, "gs://b/a")
    assert told.value.__cause__ is error
    assert (action.calls, waits) == (1, [])


def test_gives_up_after_so_many_attempts(waits):
    action = Flaky(*[WithStatus(503)] * 99)
    with pytest.raises(DatasetError, match=rf"gs://b/a: {ATTEMPTS} attempts failed.*answer 503"):
        patiently(action, "gs://b/a")
    assert action.calls == ATTEMPTS
    assert sum(waits) < 16


def test_every_retry_is_logged(caplog):
    with caplog.at_level(logging.WARNING, "kd3d.storage"):
        patiently(Flaky(WithStatus(503)), "gs://b/a")
    assert "gs://b/a: WithStatus: answer 503; attempt 2 of 6 follows in" in caplog.text


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FileNotFoundError("x"), MissingFileError, "does not exist. Check the URL"),
        (WithStatus(404), MissingFileError, "does not exist"),
        (PermissionError("x"), DatasetError, "may not be read .*credentials"),
        (chained(FileNotFoundError(), WithStatus(401)), DatasetError, "may not be read"),
        (ImportError("No module named 'gcsfs'"), DatasetError, r"pip install 'kd3d\[cloud\]'"),
        (ValueError("Protocol not known: q"), DatasetError, "cannot be read .*Protocol not known"),
    ],
)
def test_messages_say_what_to_do(error, kind, message):
    with pytest.raises(kind, match=message):
        patiently(Flaky(error), "gs://b/a")


def test_our_own_errors_pass_unchanged(waits):
    error = RecordError("is bad.", where="a")
    with pytest.raises(RecordError) as told:
        patiently(Flaky(error), "gs://b/a")
    assert told.value is error
    assert waits == []
