"""Frames without a box, and others that stand in for them."""

from dataclasses import replace

import pytest
import torch

from kd3d.data import CheckedFrames, FrameDataModule, FrameDataset, Selection
from kd3d.errors import DatasetError, RecordError

EMPTY = (0, 3, 4, 8)


@pytest.fixture
def scenes(make_scenes):
    """Eleven scenes in two segments, four of them without objects."""
    return emptied(make_scenes(), EMPTY)


class Emptied:
    def __init__(self, source, empty):
        self.source = source
        self.empty = empty

    def __getattr__(self, name):
        if name in ("source", "empty"):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self):
        return len(self.source)

    def read(self, frame):
        scan = self.source.read(frame)
        if frame not in self.empty:
            return scan
        nothing = {name: getattr(scan, name)[:0] for name in ("boxes", "labels", "num_points")}
        return replace(scan, **nothing, difficulty=scan.difficulty[:0])


def emptied(source, empty):
    return Emptied(source, empty)


def module(source, **options):
    return FrameDataModule(source, source, batch_size=1, replace_empty=True, **options)


def epoch_of(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def ids(batches):
    return [name for batch in batches for name in batch.frame_ids]


def test_without_it_every_frame_is_seen_once(scenes):
    data = FrameDataModule(scenes, scenes, batch_size=1)
    seen = ids(epoch_of(data))
    assert sorted(seen) == sorted(scenes.frame_id(frame) for frame in range(len(scenes)))
    assert data.replaced_frames == 0


def test_others_stand_in_at_their_places(scenes):
    plain = ids(epoch_of(FrameDataModule(scenes, scenes, batch_size=1)))
    data = module(scenes)
    batches = epoch_of(data)
    empty = {scenes.frame_id(frame) for frame in EMPTY}
    for before, now in zip(plain, ids(batches), strict=True):
        assert (now == before) == (before not in empty)
        assert now not in empty
    assert all((batch.labels >= 0).any() for batch in batches)
    assert data.replaced_frames == len(EMPTY)


def test_who_stands_in_depends_on_seed_epoch_and_frame_alone(scenes):
    def stand_ins(frames, epoch, order):
        checked = CheckedFrames(frames, "raise", replace_empty=True)
        return {number: checked[epoch, number].sample.frame_id for number in order}

    frames = FrameDataset(scenes, training=True)
    first = stand_ins(frames, 0, EMPTY)
    assert first == stand_ins(frames, 0, EMPTY[::-1])
    others = [stand_ins(frames, epoch, EMPTY) for epoch in (1, 2)]
    others.append(stand_ins(FrameDataset(scenes, training=True, seed=1), 0, EMPTY))
    assert all(other != first for other in others)


def test_a_stand_in_is_what_it_is_in_that_epoch(scenes):
    frames = FrameDataset(scenes, training=True)
    loaded = CheckedFrames(frames, "raise", replace_empty=True)[2, 3]
    assert loaded.replaced == scenes.frame_id(3)
    number = next(n for n in range(11) if scenes.frame_id(n) == loaded.sample.frame_id)
    assert torch.equal(loaded.sample.points, frames[2, number].points)


def test_workers_change_nothing(scenes):
    alone, together = module(scenes), module(scenes, num_workers=2)
    for one, other in zip(epoch_of(alone, 1), epoch_of(together, 1), strict=True):
        assert one.frame_ids == other.frame_ids
        assert torch.equal(one.points, other.points)
    assert together.replaced_frames == alone.replaced_frames == len(EMPTY)


@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_epoch_goes_on_alike_and_counts_all(scenes, stop):
    whole = ids(epoch_of(module(scenes)))
    first = module(scenes)
    reading = iter(first.train_dataloader())
    begun = [next(reading) for _ in range(stop)]
    state = first.state_dict()
    second = module(scenes)
    loader = second.train_dataloader()
    loader.load_state_dict(state["train"])
    second._skips.replaced.update(state["replaced"])
    assert ids(begun) + ids(loader) == whole
    assert second.replaced_frames == len(EMPTY)


def test_the_state_of_a_module_holds_the_count(scenes):
    first, second = module(scenes), module(scenes)
    epoch_of(first)
    second.load_state_dict(first.state_dict())
    assert second.replaced_frames == len(EMPTY)
    older = {name: value for name, value in first.state_dict().items() if name != "replaced"}
    third = module(scenes)
    third.load_state_dict(older)
    assert third.replaced_frames == 0


def test_validation_keeps_empty_frames(scenes):
    data = module(scenes)
    seen = ids(data.val_dataloader())
    assert sorted(seen) == sorted(scenes.frame_id(frame) for frame in range(len(scenes)))
    assert data.replaced_frames == 0


def test_a_box_out_of_range_is_no_box(make_scenes):
    """What counts is what is left after augmentation, choice of classes and cropping."""
    source = make_scenes()
    near = Selection(("Cyclist",), object_range=(-8, -8, -5, 8, 8, 5))
    checked = CheckedFrames(FrameDataset(source, near, training=True), "raise", replace_empty=True)
    loaded = [checked[0, number] for number in range(len(source))]
    assert {frame.replaced is None for frame in loaded} == {True, False}
    assert all(len(frame.sample.boxes) for frame in loaded)


def test_damaged_stand_ins_are_skipped_or_stop(make_scenes):
    source = make_scenes((3,))
    source.broken = (1,)
    frames = FrameDataset(emptied(source, (0,)), training=True)
    for epoch in range(6):  # some of these draw the broken frame first
        loaded = CheckedFrames(frames, "skip", replace_empty=True)[epoch, 0]
        assert loaded.sample.frame_id == source.frame_id(2)
        assert {record.name for record in loaded.skipped} <= {source.name(1)}
    errors = [CheckedFrames(frames, "raise", replace_empty=True)[epoch, 0] for epoch in range(6)]
    assert {type(loaded.error) for loaded in errors} == {type(None), RecordError}


def test_a_dataset_without_any_box_is_an_error(make_scenes):
    source = make_scenes((4,))
    frames = FrameDataset(emptied(source, range(4)), training=True)
    loaded = CheckedFrames(frames, "raise", replace_empty=True)[0, 2]
    assert loaded.sample is None
    assert isinstance(loaded.error, DatasetError)
    assert "no box is left of frame 0/2, nor of 4 others" in str(loaded.error)
    with pytest.raises(DatasetError, match=r"Check data\.classes, data\.point_range"):
        epoch_of(module(emptied(source, range(4))))
