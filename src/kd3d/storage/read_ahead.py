"""Fetching what is needed next while something else is being done."""

import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

__all__ = ["ReadAhead"]

_Key = TypeVar("_Key", bound=Hashable)


class ReadAhead(Generic[_Key]):
    """Fetches the contents that its process needs next, in a few threads of its own.

    Announce what is needed with `expect`, get it with `take`. What was fetched but not yet taken,
    and what is being fetched, stays within `max_bytes` and `max_items`; the rest waits its turn. An
    error is raised by the `take` of the key that it belongs to. One thread announces and takes.
    Those that fetch start with the first announcement and never keep a process alive. After a fork,
    and when unpickled, it is empty.

    Args:
        fetch: gets the content of a key; any thread may call it.
        size: bytes of a key's content, known beforehand.
        max_bytes: that may be held. A single content that is larger is fetched alone.
        max_items: contents that may be held.
        threads: how many are fetched at once.
    """

    _held: dict[_Key, "Future[bytes]"]
    _waiting: deque[_Key]
    _queue: deque[tuple[_Key, "Future[bytes]"]]
    _workers: list[threading.Thread]

    def __init__(
        self,
        fetch: Callable[[_Key], bytes],
        size: Callable[[_Key], int],
        *,
        max_bytes: int = 64 * 2**20,
        max_items: int = 64,
        threads: int = 4,
    ) -> None:
        self._fetch = fetch
        self._size = size
        self.max_bytes = max_bytes
        self.max_items = max_items
        self.threads = threads
        self._start_empty()

    def __getstate__(self) -> dict[str, Any]:
        limits = ("_fetch", "_size", "max_bytes", "max_items", "threads")
        return {name: self.__dict__[name] for name in limits}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_empty()

    def expect(self, keys: Iterable[_Key]) -> None:
        """Say what is needed next, in order; whatever else was expected is forgotten."""
        self._forget_parent()
        with self._lock:
            wanted = list(dict.fromkeys(keys))
            self._held = {key: self._held[key] for key in wanted if key in self._held}
            self._waiting = deque(key for key in wanted if key not in self._held)
            self._start_fetches()

    def take(self, key: _Key) -> bytes:
        """Return a key's content: fetched ahead, or now.

        Raises:
            Exception: what `fetch` raised for it.
        """
        self._forget_parent()
        with self._lock:
            ahead = self._held.get(key)
            if ahead is None and key in self._waiting:
                self._waiting.remove(key)
        if ahead is None:
            return self._fetch(key)
        try:
            return ahead.result()
        finally:
            with self._lock:
                self._held.pop(key, None)
                self._start_fetches()

    def close(self) -> None:
        """Forget everything and let the threads end; it can be used again."""
        self._forget_parent()
        with self._lock:
            self._held.clear()
            self._waiting.clear()
            self._queue.clear()
            self._closing = True
            self._work.notify_all()
        for thread in self._workers:
            thread.join()
        self._start_empty()

    def _start_empty(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._held = {}
        self._waiting = deque()
        self._queue = deque()
        self._workers = []
        self._closing = False

    def _forget_parent(self) -> None:
        """After a fork the threads are gone, and a lock may be held by one of them for ever."""
        if self._process != os.getpid():
            self._start_empty()

    def _start_fetches(self) -> None:
        """Queue what fits into the limits; the lock is held."""
        held = sum(map(self._size, self._held))
        while self._waiting and len(self._held) < self.max_items:
            held += self._size(self._waiting[0])
            if self._held and held > self.max_bytes:
                break
            key = self._waiting.popleft()
            self._held[key] = Future()
            self._queue.append((key, self._held[key]))
            self._work.notify()
        while len(self._workers) < min(self.threads, len(self._held)):
            worker = threading.Thread(target=self._run, name="kd3d-read-ahead", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._queue and not self._closing:
                    self._work.wait()
                if self._closing:
                    return
                key, future = self._queue.popleft()
                if self._held.get(key) is not future:
                    continue  # forgotten meanwhile
            try:
                future.set_result(self._fetch(key))
            # Whatever it is, the one who takes the key must hear of it.
            except BaseException as error:
                future.set_exception(error)
