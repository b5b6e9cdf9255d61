"""Batches on their way from a worker."""

import pytest
import torch

from kd3d.data import FrameDataset, Selection, WaymoDataModule, build_index, collate_frames
from kd3d.data.dataset import pack_frames
from kd3d.data.loading import LoadedBatch
from kd3d.data.packed_batch import PackedBatch
from kd3d.errors import InputError


@pytest.fixture
def samples(waymo_root):
    """Frames of different sizes."""
    frames = FrameDataset(
        build_index(waymo_root, "training/*.tfrecord"),
        Selection(point_range=(0, -30, -9, 30, 30, 9)),
        training=True,
    )
    return [frames[0], frames[6], frames[11]]


def test_a_packed_batch_leaves_the_frames_of_points_to_where_it_is_used(samples):
    packed = pack_frames(samples)
    assert isinstance(packed, PackedBatch)
    assert len(packed) == 3
    assert packed.batch.batch_index.numel() == 0
    assert packed.counts == tuple(len(sample.points) for sample in samples)
    whole = packed.decode()
    expected = [place for place, sample in enumerate(samples) for _ in sample.points]
    assert whole.batch_index.tolist() == expected
    assert whole.batch_index.dtype == torch.int64
    assert torch.equal(whole.points, torch.cat([sample.points for sample in samples]))


def test_a_packed_batch_is_made_whole_on_its_device(samples):
    moved = pack_frames(samples).to("meta").decode()
    assert moved.batch_index.is_meta
    assert moved.batch_index.shape == moved.points.shape[:1]


def test_loading_gives_what_collating_does(samples):
    found, expected = LoadedBatch(pack_frames(samples)).take(), collate_frames(samples)
    for name in ("points", "batch_index", "boxes", "labels", "num_points", "difficulty", "world"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert found.frame_ids == expected.frame_ids


def test_frames_of_different_features_are_no_batch(samples):
    cloud = samples[1].cloud
    wider = type(cloud)(torch.cat((cloud.points, cloud.points), 1), cloud.positions, cloud.order)
    object.__setattr__(samples[1], "cloud", wider)
    with pytest.raises(InputError, match=r"segment-b/\d+: points must be \[N, F\] with one F"):
        pack_frames(samples)


@pytest.mark.parametrize("decode_on", ["worker", "device"])
def test_a_worker_hands_over_what_the_main_process_reads_by_itself(waymo_root, decode_on):
    batches = [
        list(
            WaymoDataModule(
                waymo_root, batch_size=2, num_workers=workers, decode_on=decode_on
            ).train_dataloader()
        )
        for workers in (0, 1)
    ]
    assert len(batches[0]) == 6
    for alone, worked in zip(*batches, strict=True):
        assert alone.frame_ids == worked.frame_ids
        assert torch.equal(alone.points, worked.points)
        assert torch.equal(alone.batch_index, worked.batch_index)
        assert worked.points.is_shared() == (decode_on == "worker")
