"""In which order an epoch goes through the frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd3d.data import FrameOrder, TrainingSampler
from kd3d.errors import ConfigError

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=8)
shuffles = st.sampled_from(["frames", "segment_blocks", "none"])
orders = st.builds(FrameOrder, shuffles, st.integers(1, 12), st.integers(1, 6))


def segments_of(lengths):
    return np.repeat(np.arange(len(lengths)), lengths)


@given(lengths, orders, st.integers(0, 5), st.integers(0, 5))
def test_every_frame_comes_once(lengths, order, seed, epoch):
    segments = segments_of(lengths)
    frames = order.frames(segments, seed=seed, epoch=epoch)
    assert sorted(frames.tolist()) == list(range(len(segments)))
    assert frames.tolist() == order.frames(segments, seed=seed, epoch=epoch).tolist()


@pytest.mark.parametrize("shuffle", ["frames", "segment_blocks"])
def test_order_changes_with_epoch_and_seed(shuffle):
    segments = segments_of([30, 30])
    seen = {
        tuple(FrameOrder(shuffle).frames(segments, seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(seen) == 4


def test_no_shuffling_keeps_the_files_order():
    frames = FrameOrder("none").frames(segments_of([3, 4]), seed=1, epoch=2)
    assert frames.tolist() == list(range(7))


@given(lengths, st.integers(1, 12), st.integers(1, 6), st.integers(0, 3))
def test_blocks_are_read_forwards_and_soon(lengths, block, mixed, epoch):
    """Every frame but a block's first follows its neighbour, within the blocks read together."""
    segments = segments_of(lengths)
    frames = FrameOrder("segment_blocks", block, mixed).frames(segments, seed=0, epoch=epoch)
    when = np.empty(len(frames), np.int64)
    when[frames] = np.arange(len(frames))
    gaps = np.diff(when)
    follows = (np.diff(segments) == 0) & (gaps > 0) & (gaps < mixed * block)
    blocks = sum(-(-(length - 1) // block) + 1 for length in lengths)
    assert len(frames) - follows.sum() <= blocks


def test_a_batch_holds_frames_of_different_blocks():
    segments = segments_of([200] * 40)
    order = FrameOrder("segment_blocks", block_frames=20, mixed_blocks=32)
    frames = order.frames(segments, seed=0, epoch=0)
    batches = frames[: len(frames) // 16 * 16].reshape(-1, 16)
    gaps = np.diff(np.sort(batches, axis=1), axis=1)
    neighbours = (gaps < 3).any(axis=1)
    assert neighbours.mean() < 0.03


def test_blocks_are_cut_elsewhere_in_every_epoch():
    segments = segments_of([60])
    order = FrameOrder("segment_blocks", block_frames=20, mixed_blocks=1)
    cuts = []
    for epoch in range(8):
        frames = order.frames(segments, seed=0, epoch=epoch)
        starts = frames[np.flatnonzero(np.diff(frames, prepend=-9) != 1)]
        cuts.append(tuple(sorted(starts)))
    assert len(set(cuts)) > 3


@given(lengths, orders, st.integers(1, 4), st.integers(1, 4))
def test_ranks_share_the_order_whatever_it_is(lengths, order, size, world):
    segments = segments_of(lengths)

    def keys(size, world):
        parts = [
            list(
                TrainingSampler(
                    segments,
                    batch_size=size,
                    rank=rank,
                    world_size=world,
                    order=order,
                    segments=segments,
                )
            )
            for rank in range(world)
        ]
        steps = len(parts[0]) // size
        return [k for s in range(steps) for part in parts for k in part[s * size : (s + 1) * size]]

    alone = keys(size * world, 1)
    assert keys(size, world) == alone
    expected = order.frames(segments, seed=0, epoch=0).tolist()
    assert [frame for _, frame in alone] == list(np.resize(expected, len(alone)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": "segments"}, r"data\.shuffle: 'segments' is no order.*segment_blocks"),
        ({"block_frames": 0}, r"data\.block_frames: 0 is below 1"),
        ({"mixed_blocks": -1}, r"data\.mixed_blocks: -1 is below 1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FrameOrder(**options)
