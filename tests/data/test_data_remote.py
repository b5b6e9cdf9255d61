"""Training data from a bucket and from a web server: nothing is downloaded, all is the same."""

import pickle

import fsspec
import numpy as np
import pytest
import torch
from web_server import running_server

from kd3d.data import FrameKey, WaymoDataModule, WaymoFrames, build_index
from kd3d.data.facts import collect_facts
from kd3d.data.lookahead import Lookahead
from kd3d.errors import DatasetError, RecordError

TRAINING = "training/*.tfrecord"


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that retries would have waited."""
    seconds = []
    monkeypatch.setattr("kd3d.storage.retry.sleep", seconds.append)
    return seconds


@pytest.fixture
def server():
    with running_server() as web:
        yield web


@pytest.fixture
def bucket(waymo_root):
    """The tiny dataset in memory."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.put(str(waymo_root) + "/", "/waymo", recursive=True)
    yield "memory://waymo"
    memory.store.clear()


def batches_of(root, **options):
    data = WaymoDataModule(root, batch_size=3, seed=4, **options)
    found = []
    for loader in (data.train_dataloader(), data.val_dataloader()):
        found += [(batch.frame_ids, batch.points, batch.boxes) for batch in loader]
    return found


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[0] == theirs[0]
        assert torch.equal(ours[1], theirs[1])
        assert torch.equal(ours[2], theirs[2])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bucket_gives_the_batches_of_the_disk(bucket, waymo_root, num_workers):
    assert_same(batches_of(bucket, num_workers=num_workers), batches_of(waymo_root))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_web_server_gives_the_batches_of_the_disk(server, waymo_root, num_workers):
    root = server.serve(waymo_root)
    # Every file fails now and then, in the listing, in the index, and (on workers' side) in frames.
    for path in server.files:
        server.failures[path] = 2
    data = WaymoDataModule(root, batch_size=3, seed=4, num_workers=num_workers)
    data.prepare_data()
    for path in server.files:
        server.failures[path] = 1
    found = [
        (batch.frame_ids, batch.points, batch.boxes)
        for loader in (data.train_dataloader(), data.val_dataloader())
        for batch in loader
    ]
    assert_same(found, batches_of(waymo_root))
    served = [path for path in server.files if path.endswith(".tfrecord")]
    assert [server.failures[path] for path in served] == [0] * 3


def test_the_index_reads_twelve_bytes_per_record(server, waymo_root):
    root = server.serve(waymo_root)
    found = build_index(root, TRAINING)
    local = build_index(waymo_root, TRAINING)
    assert found.files == local.files
    assert np.array_equal(found.offsets, local.offsets)
    headers = [last - first + 1 for path, first, last in server.ranges if "index" not in path]
    assert headers == [12] * len(local)


def test_the_index_is_remembered_and_renewed_where_an_etag_changed(server, waymo_root, write):
    root = server.serve(waymo_root)
    build_index(root, TRAINING)
    server.ranges.clear()
    assert len(build_index(root, TRAINING)) == 12
    assert [path for path, *_ in server.ranges if "tfrecord" in path] == []
    # The same length, other bytes.
    content = bytearray(server.files["/waymo/training/segment-b.tfrecord"])
    content[-1] ^= 1
    server.files["/waymo/training/segment-b.tfrecord"] = bytes(content)
    build_index(root, TRAINING)
    scanned = {path for path, *_ in server.ranges if "tfrecord" in path}
    assert scanned == {"/waymo/training/segment-b.tfrecord"}


def test_a_frame_is_one_request(server, waymo_root):
    root = server.serve(waymo_root)
    found = build_index(root, TRAINING)
    server.ranges.clear()
    found.read(6)
    first = found.offsets[6]
    assert server.ranges == [
        ("/waymo/training/segment-b.tfrecord", first, first + found.lengths[6] + 15)
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[: len(content) // 2], r"changed: it has [\d,]+ bytes; it had"),
        (lambda content: content[::-1], "changed: it has another etag"),
        (lambda content: None, "does not exist"),
    ],
    ids=["shrank", "rewritten", "removed"],
)
@pytest.mark.parametrize(("opened", "num_workers"), [(False, 0), (True, 0), (True, 1)])
def test_a_file_that_changed_stops_the_run(
    server, waymo_root, change, message, opened, num_workers
):
    root = server.serve(waymo_root)
    name = "/waymo/validation/segment-c.tfrecord"
    data = WaymoDataModule(root, on_error="skip", num_workers=num_workers, val_batch_size=1)
    batches = iter(data.val_dataloader())
    if opened:
        next(batches)
    server.files[name] = change(server.files[name])
    with pytest.raises(DatasetError, match=rf"http://.*segment-c\.tfrecord: {message}"):
        list(batches)


def test_a_damaged_record_of_an_unchanged_file_is_left_out(server, waymo_root, tmp_path):
    root = server.serve(waymo_root)
    name = "/waymo/validation/segment-c.tfrecord"
    content = bytearray(server.files[name])
    content[len(content) // 2] ^= 1
    server.files[name] = bytes(content)
    index = build_index(root, "validation/*")
    bad = [frame for frame in range(5) if not _reads(index, frame)]
    assert len(bad) == 1
    data = WaymoDataModule(root, on_error="skip")
    with pytest.warns(UserWarning, match="left out"):
        assert sum(len(batch.frame_ids) for batch in data.val_dataloader()) == 4


def _reads(index, frame):
    try:
        return bool(index.read(frame))
    except RecordError:
        return False


def test_a_forbidden_file_is_named(server, waymo_root, waits):
    root = server.serve(waymo_root)
    server.forbidden.add("/waymo/training/segment-a.tfrecord")
    with pytest.raises(DatasetError, match=r"segment-a\.tfrecord: may not be read .*credentials"):
        build_index(root, TRAINING)
    assert waits == []


def test_a_server_that_stays_down_is_named(server, waymo_root, waits):
    root = server.serve(waymo_root)
    server.failures["/waymo/training/segment-a.tfrecord"] = 1000
    with pytest.raises(DatasetError, match=r"segment-a\.tfrecord: 6 attempts failed.*503"):
        build_index(root, TRAINING)
    assert len(waits) == 5


def test_a_server_without_ranges_is_named(server, waymo_root):
    root = server.serve(waymo_root)
    server.knows_ranges = False
    with pytest.raises(DatasetError, match="does not know byte ranges"):
        build_index(root, TRAINING)


def test_links_of_a_page_do_where_there_is_no_index(server, waymo_root):
    root = server.serve(waymo_root)
    del server.files["/waymo/index.txt"]
    page = "".join(f'<a href="segment-{name}.tfrecord">x</a>' for name in "ab")
    server.files["/waymo/training/"] = page.encode()
    assert len(build_index(root, TRAINING)) == 12


def test_a_server_that_lists_nothing_asks_for_an_index(server, waymo_root):
    root = server.serve(waymo_root)
    del server.files["/waymo/index.txt"]
    with pytest.raises(DatasetError, match=r"(index\.txt|does not exist)"):
        build_index(root, TRAINING)
    server.files["/waymo/index.txt"] = b"test/segment.tfrecord"
    with pytest.raises(DatasetError, match=r"none of its 1 names matches .*'test/segment"):
        build_index(root, TRAINING)
    data = WaymoDataModule(root, train=["training/segment-a.tfrecord"])
    assert len(data.train_frames) == 5


def test_expected_frames_are_fetched_meanwhile(server, waymo_root):
    root = server.serve(waymo_root)
    source = WaymoFrames(build_index(root, TRAINING))
    assert source.reads_ahead
    server.ranges.clear()
    source.expect([3, 4, 5])
    read = [source.read(frame).frame_id for frame in (3, 4, 5)]
    assert read == ["segment-a/1300000", "segment-a/1400000", "segment-b/1000000"]
    assert len(server.ranges) == 3
    assert not WaymoFrames(build_index(waymo_root, TRAINING)).reads_ahead


def test_a_loader_s_dataset_travels_to_other_processes(bucket):
    data = WaymoDataModule(bucket, batch_size=3, seed=4)
    loader = data.train_dataloader()
    batches = list(loader)
    keys = [(0, frame) for frame in loader.sampler.share(0)[3:6].tolist()]
    copy = pickle.loads(pickle.dumps(loader.dataset))
    frames = [loaded.sample for loaded in copy.__getitems__(keys)]
    assert tuple(frame.frame_id for frame in frames) == tuple(batches[1].frame_ids)
    assert copy.lookahead.source is copy.frames.source


class Listener:
    reads_ahead = True

    def __init__(self):
        self.heard = []

    def expect(self, frames):
        self.heard.append(list(frames))


def test_a_batch_and_the_next_one_are_announced():
    source = Listener()
    shares = {0: [4, 1, 3, 0, 2, 5, 4, 1], 1: [5, 4, 3, 2, 1, 0, 5, 4]}
    lookahead = Lookahead(source, shares.__getitem__, batch_size=2, num_frames=6)
    for epoch in (0, 1):
        keys: list[FrameKey] = [(epoch, frame) for frame in shares[epoch]]
        for start in range(0, 8, 2):
            lookahead.announce(keys[start : start + 2])
    assert source.heard == [
        *([4, 1, 3, 0], [3, 0, 2, 5], [2, 5, 4, 1], [4, 1, 3, 0]),
        *([5, 4, 3, 2], [3, 2, 1, 0], [1, 0, 5, 4], [5, 4, 3, 2]),
    ]


def test_a_worker_announces_its_own_next_batch(monkeypatch):
    source = Listener()
    lookahead = Lookahead(source, lambda epoch: range(10), batch_size=2, num_frames=10)
    worker = type("Worker", (), {"num_workers": 3})
    monkeypatch.setattr("kd3d.data.lookahead.get_worker_info", lambda: worker)
    for start in (0, 6):
        lookahead.announce([start, start + 1])
    assert source.heard == [[0, 1, 6, 7], [6, 7]]


def test_facts_read_a_small_part_of_a_remote_file(server, waymo_root):
    root = server.serve(waymo_root)
    facts = collect_facts(build_index(root, TRAINING), TRAINING)
    local = collect_facts(build_index(waymo_root, TRAINING), TRAINING)
    assert facts.contexts == local.contexts == ("segment-a", "segment-b")
    assert np.array_equal(facts.boxes, local.boxes)
