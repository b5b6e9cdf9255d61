import os
import pickle
import threading

import pytest

from kd3d.errors import RecordError
from kd3d.storage import ReadAhead


def text(key):
    return str(key).encode()


class Fetcher:
    """Notes what is fetched; waits where it is told to."""

    def __init__(self):
        self.fetched = []
        self.open = threading.Event()
        self.open.set()
        self.changed = threading.Condition()

    def __call__(self, key):
        with self.changed:
            self.fetched.append(key)
            self.changed.notify_all()
        assert self.open.wait(10)
        if key < 0:
            raise RecordError("is bad.", where=str(key))
        return text(key)

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.fetched) >= count, timeout=10)
        return sorted(self.fetched)


@pytest.fixture
def fetcher():
    return Fetcher()


def make(fetcher, **limits):
    return ReadAhead(fetcher, lambda key: 10, **limits)


def test_fetches_before_it_is_asked(fetcher):
    ahead = make(fetcher)
    ahead.expect([1, 2, 3])
    assert fetcher.wait_for(3) == [1, 2, 3]
    assert [ahead.take(key) for key in (1, 2, 3)] == [b"1", b"2", b"3"]
    assert len(fetcher.fetched) == 3
    ahead.close()


def test_fetches_what_was_not_expected(fetcher):
    ahead = make(fetcher)
    assert ahead.take(7) == b"7"
    ahead.expect([1])
    assert ahead.take(8) == b"8"
    assert ahead.take(1) == b"1"
    ahead.close()


@pytest.mark.parametrize("limits", [{"max_items": 2}, {"max_bytes": 29}])
def test_holds_no_more_than_the_limits(fetcher, limits):
    ahead = make(fetcher, **limits)
    ahead.expect(range(6))
    for taken in range(6):
        assert fetcher.wait_for(min(taken + 2, 6)) == list(range(min(taken + 2, 6)))
        assert ahead.take(taken) == text(taken)
    assert sorted(fetcher.fetched) == list(range(6))
    ahead.close()


def test_one_content_may_be_larger_than_the_limit(fetcher):
    ahead = make(fetcher, max_bytes=5)
    ahead.expect([1, 2])
    assert fetcher.wait_for(1) == [1]
    assert (ahead.take(1), ahead.take(2)) == (b"1", b"2")
    ahead.close()


def test_errors_belong_to_their_key(fetcher):
    ahead = make(fetcher)
    ahead.expect([1, -5, 2])
    assert ahead.take(1) == b"1"
    with pytest.raises(RecordError, match="-5: is bad"):
        ahead.take(-5)
    assert ahead.take(2) == b"2"
    ahead.close()


def test_a_failed_key_is_fetched_again(fetcher):
    ahead = make(fetcher)
    ahead.expect([-5])
    for _ in range(2):
        with pytest.raises(RecordError):
            ahead.take(-5)
    assert fetcher.fetched == [-5, -5]
    ahead.close()


def test_what_is_no_longer_expected_is_forgotten(fetcher):
    ahead = make(fetcher, threads=1)
    fetcher.open.clear()
    ahead.expect([1, 2, 3])
    fetcher.wait_for(1)
    ahead.expect([3, 4])
    fetcher.open.set()
    assert (ahead.take(3), ahead.take(4)) == (b"3", b"4")
    assert fetcher.fetched == [1, 3, 4]
    ahead.close()


def test_expecting_again_fetches_nothing_twice(fetcher):
    ahead = make(fetcher)
    ahead.expect([1, 2])
    fetcher.wait_for(2)
    ahead.expect([2, 3])
    assert (ahead.take(2), ahead.take(3)) == (b"2", b"3")
    assert sorted(fetcher.fetched) == [1, 2, 3]
    ahead.close()


def test_a_waiting_key_is_not_fetched_twice(fetcher):
    ahead = make(fetcher, max_items=1)
    ahead.expect([1, 2])
    assert ahead.take(2) == b"2"
    assert ahead.take(1) == b"1"
    assert sorted(fetcher.fetched) == [1, 2]
    ahead.close()


def test_closing_ends_the_threads_and_leaves_it_usable(fetcher):
    before = threading.active_count()
    ahead = make(fetcher)
    ahead.expect(range(20))
    fetcher.wait_for(4)
    ahead.close()
    assert threading.active_count() == before
    ahead.expect([1])
    assert ahead.take(1) == b"1"
    ahead.close()
    assert threading.active_count() == before


def test_travels_to_other_processes_empty():
    ahead = ReadAhead(text, len, max_items=3)
    ahead.expect(["a", "b"])
    copy = pickle.loads(pickle.dumps(ahead))
    assert (copy.max_items, copy.take("c")) == (3, b"c")
    ahead.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_survives_a_fork_with_its_lock_held(fetcher):
    ahead = make(fetcher)
    ahead.expect([1, 2])
    fetcher.wait_for(2)
    receiving, sending = os.pipe()
    with ahead._lock:
        child = os.fork()
        if child == 0:
            ahead.expect([5])
            os.write(sending, ahead.take(5) + ahead.take(1))
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiving, 10) == b"51"
    assert ahead.take(1) == b"1"
    ahead.close()
