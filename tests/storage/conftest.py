"""A bucket in memory, and no waiting."""

import fsspec
import pytest


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that retries would have waited."""
    seconds = []
    monkeypatch.setattr("kd3d.storage.retry.sleep", seconds.append)
    return seconds


@pytest.fixture
def bucket():
    """Fsspec's file system in memory, empty before and after."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()
