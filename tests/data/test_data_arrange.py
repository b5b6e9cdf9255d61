"""Points are laid out once, as plain steps one after the other would leave them."""

import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd3d.data import Selection, WorldTransform
from kd3d.data.arrange import ArrangedPoints, Arrangement, PointSteps, are_uncovered, lay_out
from kd3d.data.scratch import Scratch

BOUNDS = (-20.0, -15.0, -2.0, 20.0, 25.0, 4.0)
TRANSFORM = WorldTransform(flip_x=True, angle=0.4, scale=1.03)


def cloud_of(count, *, features=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 20 * torch.randn(count, features, generator=generator)


def arrangement_of(recorded, pasted=None, cleared=None, *, transform=TRANSFORM, bounds=BOUNDS):
    pasted = recorded[:0] if pasted is None else pasted
    count = len(recorded) + len(pasted)
    return Arrangement(
        steps=PointSteps(transform, Selection(point_range=bounds)),
        order=torch.from_numpy(np.random.default_rng(3).permutation(count)),
        pasted=pasted,
        cleared=torch.empty(0, 7) if cleared is None else cleared,
    )


def step_by_step(arrangement, recorded):
    """Clear, paste, change, shuffle, crop."""
    steps = arrangement.steps
    there = torch.ones(len(arrangement.order), dtype=torch.bool)
    there[len(arrangement.pasted) :] = are_uncovered(recorded, arrangement.cleared)
    points = steps.transform.points(torch.cat((arrangement.pasted, recorded)))
    points, there = points[arrangement.order], there[arrangement.order]
    return points[there & steps.selection.covers(points[:, 0], points[:, 1])]


def same_bits(found, expected):
    return found.numpy().tobytes() == expected.numpy().tobytes()


@given(
    seed=st.integers(0, 99),
    count=st.integers(1, 60),
    pasting=st.integers(0, 9),
    features=st.integers(3, 6),
    flips=st.tuples(st.booleans(), st.booleans()),
    angle=st.floats(-math.pi, math.pi),
    bounds=st.sampled_from([None, BOUNDS]),
)
def test_points_are_those_of_plain_steps(seed, count, pasting, features, flips, angle, bounds):
    recorded = cloud_of(count, features=features, seed=seed)
    before = recorded.clone()
    pasted = cloud_of(pasting, features=features, seed=seed + 1)
    cleared = torch.tensor([[0.0, 0.0, 0.0, 18.0, 12.0, 60.0, 0.3]])[: min(pasting, 1)]
    arrangement = arrangement_of(
        recorded, pasted, cleared, transform=WorldTransform(*flips, angle, 0.97), bounds=bounds
    )
    found = lay_out([arrangement.apply(recorded)])
    assert same_bits(found, step_by_step(arrangement, recorded))
    assert torch.equal(recorded, before)


def test_frames_are_laid_out_one_after_the_other():
    clouds = [cloud_of(count, seed=count) for count in (40, 7, 90)]
    arrangements = [arrangement_of(cloud) for cloud in clouds]
    pairs = list(zip(arrangements, clouds, strict=True))
    expected = torch.cat([step_by_step(arrangement, cloud) for arrangement, cloud in pairs])
    assert 0 < len(expected) < 137
    found = lay_out([arrangement.apply(cloud) for arrangement, cloud in pairs])
    assert same_bits(found, expected)


def test_what_was_laid_out_stays_when_more_is():
    first, second = (arrangement_of(cloud_of(50)).apply(cloud_of(50, seed=s)) for s in (1, 2))
    points = lay_out([first])
    before = points.clone()
    other = lay_out([second])
    assert not torch.equal(points[:5], other[:5])
    assert torch.equal(points, before)


def test_no_points_are_laid_out_to_none():
    assert len(ArrangedPoints.none(5)) == 0
    assert lay_out([ArrangedPoints.none(5), ArrangedPoints.none(5)]).shape == (0, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_scratch_gives_what_is_asked_for(dtype):
    scratch = Scratch()
    for shape in ((3, 5), (40, 5), (2, 3, 4), (0, 5)):
        room = scratch.room(torch.empty(0, dtype=dtype), shape)
        assert room.shape == shape
        assert room.dtype == dtype
        room.fill_(1)
        assert room.sum() == room.numel()


def test_scratch_is_used_again_in_a_thread_and_by_no_other():
    scratch, like = Scratch(), torch.empty(0)
    mine, again = scratch.room(like, (8, 5)), scratch.room(like, (4, 5))
    assert mine.data_ptr() == again.data_ptr()
    others = []
    thread = threading.Thread(target=lambda: others.append(scratch.room(like, (8, 5))))
    thread.start()
    thread.join()
    assert others[0].data_ptr() != mine.data_ptr()


def test_scratch_keeps_no_memory_of_other_devices():
    like = torch.empty(0, device="meta")
    assert Scratch().room(like, (8, 5)).is_meta
