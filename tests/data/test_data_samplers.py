from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd3d.data import TrainingSampler, ValidationSampler

sizes = st.integers(1, 60)
worlds = st.integers(1, 5)


def ranks(count, batch_size, world_size, *, seed=0, epoch=0):
    """The keys of every rank."""
    samplers = [
        TrainingSampler(
            range(count), batch_size=batch_size, seed=seed, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


@given(sizes, st.integers(1, 7), worlds, st.integers(0, 3))
def test_training_sees_every_frame_and_fills_the_last_batch(count, size, world, epoch):
    parts = ranks(count, size, world, epoch=epoch)
    steps = -(-count // (size * world))
    assert [len(part) for part in parts] == [steps * size] * world
    in_order = [
        key
        for step in range(steps)
        for part in parts
        for key in part[step * size : (step + 1) * size]
    ]
    assert {key[0] for key in in_order} == {epoch}
    frames = [key[1] for key in in_order]
    assert sorted(frames[:count]) == list(range(count))
    assert frames[count:] == [frames[i % count] for i in range(len(frames) - count)]


@given(sizes, st.integers(1, 4), worlds)
def test_order_does_not_depend_on_the_number_of_ranks(count, size, world):
    (alone,) = ranks(count, size * world, 1)
    together = ranks(count, size, world)
    for step in range(len(alone) // (size * world)):
        batch = alone[step * size * world : (step + 1) * size * world]
        assert batch == [k for part in together for k in part[step * size : (step + 1) * size]]


def test_order_changes_with_epoch_and_seed_only():
    assert ranks(40, 4, 2) == ranks(40, 4, 2)
    orders = [ranks(40, 4, 1, seed=seed, epoch=epoch)[0] for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(key[1] for key in order) for order in orders}) == 4


def test_training_counts_what_it_repeats():
    assert TrainingSampler(range(10), batch_size=2, world_size=2).filled == 2
    assert TrainingSampler(range(12), batch_size=2, world_size=2).filled == 0


@given(sizes, worlds)
def test_validation_sees_every_frame_exactly_once(count, world):
    parts = [ValidationSampler(range(count), rank=rank, world_size=world) for rank in range(world)]
    seen = Counter(key for part in parts for key in part)
    assert seen == Counter((0, frame) for frame in range(count))
    assert [len(part) for part in parts] == [len(list(part)) for part in parts]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_validation_stays_the_same_in_every_epoch():
    sampler = ValidationSampler(range(5), rank=1, world_size=2)
    sampler.set_epoch(3)
    assert list(sampler) == [(0, 1), (0, 3)]


def test_ranks_beyond_the_world_are_refused():
    with pytest.raises(ValueError, match="Invalid rank"):
        TrainingSampler(range(3), batch_size=1, rank=2, world_size=2)


@given(sizes, st.integers(1, 4), worlds, st.integers(0, 3), st.data())
def test_a_sampler_goes_on_after_the_keys_it_gave(count, size, world, epoch, data):
    def sampler(epoch=epoch):
        made = TrainingSampler(range(count), batch_size=size, rank=world - 1, world_size=world)
        made.set_epoch(epoch)
        return made

    first, rest, other = sampler(), sampler(), sampler(epoch + 1)
    given_before = data.draw(st.integers(0, len(first)))
    keys = iter(first)
    before = [next(keys) for _ in range(given_before)]
    for late in (rest, other):
        late.load_state_dict(first.state_dict())
    assert before + list(rest) == list(sampler())
    assert list(rest) == list(sampler())  # once only
    assert list(other) == list(sampler(epoch + 1))
