"""Points made on the device are those that a worker makes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kd3d.data import (
    FrameDataset,
    ObjectPaste,
    SweptFrames,
    WaymoDataModule,
    WaymoFrames,
    WorldAugmentation,
    build_index,
    build_objects,
    collate_frames,
)
from kd3d.data.arrival import Arrival
from kd3d.data.device_decode import PixelBatch
from kd3d.errors import ConfigError, RecordError
from kd3d.simulate import default_sensors, render_frames, sample_scene
from kd3d.structures import PointBatch
from kd3d.waymo import decode_frame, encode_frame, iterate_records, write_segment
from kd3d.waymo.points_torch import RangePixels, decode_pixels

#: metres: a float32 step at 75 m
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def raw_frames():
    """Frames of five sensors on a moving car, with a pose per pixel and two returns."""
    scene = sample_scene(np.random.default_rng(3), duration=0.4, extent=30.0)
    return list(render_frames(scene, default_sensors(0.05), frames=3, name="drive", seed=(3,)))


@pytest.fixture(scope="module")
def drives(raw_frames, tmp_path_factory):
    root = tmp_path_factory.mktemp("drives")
    write_segment(root / "training" / "drive.tfrecord", raw_frames)
    write_segment(root / "validation" / "drive.tfrecord", raw_frames[:2])
    return root


def assert_same_points(found, expected):
    assert found.shape == expected.shape
    assert (found[:, :3] - expected[:, :3]).abs().max() <= TOLERANCE
    assert torch.equal(found[:, 3:], expected[:, 3:])


def assert_same_batch(found, expected):
    assert isinstance(found, PointBatch)
    assert_same_points(found.points, expected.points)
    for name in ("batch_index", "boxes", "labels", "num_points", "difficulty", "world"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.frame_ids == expected.frame_ids


def both_ways(*arguments, **options):
    return [
        WaymoDataModule(*arguments, decode_on=place, **options) for place in ("worker", "device")
    ]


def test_pixels_become_the_readers_points(raw_frames):
    payloads = [encode_frame(frame) for frame in raw_frames]
    frames = [decode_frame(payload, "record") for payload in payloads]
    rest, pixels = zip(*(decode_pixels(payload, "record") for payload in payloads), strict=True)
    together = RangePixels.concatenate(pixels).points()
    for frame, bare, cloud in zip(frames, rest, together, strict=True):
        assert_same_points(cloud, torch.from_numpy(frame.points))
        assert bare.points.shape == (0, 5)
        assert np.array_equal(bare.boxes, frame.boxes)
        assert np.array_equal(bare.pose, frame.pose)
        assert np.ptp(frame.laser) == 4
        assert set(frame.return_index.tolist()) == {1, 2}


def test_a_full_size_frame(shared_data):
    payload = next(iterate_records(shared_data / "frames" / "full_frame.tfrecord"))
    [cloud] = decode_pixels(payload, "record")[1].points()
    assert_same_points(cloud, torch.from_numpy(decode_frame(payload, "record").points))


def test_a_frame_without_sensors_has_no_points(raw_frames):
    empty = replace(raw_frames[0], lasers=())
    rest, pixels = decode_pixels(encode_frame(empty), "record")
    assert (len(pixels), len(rest.boxes)) == (0, len(empty.labels))
    assert [tuple(cloud.shape) for cloud in pixels.points()] == [(0, 5)]


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_what_is_not_finite_is_refused(raw_frames, channel):
    laser = raw_frames[0].lasers[1]
    image = laser.returns[0].copy()
    image[tuple(np.argwhere(image[..., 0] > 0)[0])][channel] = np.inf
    damaged = replace(raw_frames[0], lasers=(replace(laser, returns=(image,)),))
    for decode in (decode_frame, decode_pixels):
        with pytest.raises(RecordError, match=r"record.*not a number or infinite"):
            decode(encode_frame(damaged), "record")


@pytest.mark.parametrize("sweeps", [1, 2])
@pytest.mark.parametrize("pasting", [False, True])
def test_batches_are_the_same(drives, tmp_path, sweeps, pasting):
    options = {}
    if pasting:
        source = WaymoFrames(build_index(drives, "training/*.tfrecord"))
        swept = source if sweeps == 1 else SweptFrames(source, sweeps)
        build_objects(swept, tmp_path / "objects", workers=1, progress=False)
        limits = dict.fromkeys(("Vehicle", "Pedestrian"), 40)
        options["paste"] = ObjectPaste(tmp_path / "objects", limits, min_points=1)
    worker, device = both_ways(
        drives,
        batch_size=3,
        sweeps=sweeps,
        augmentation=WorldAugmentation(),
        point_range=(-25, -25, -5, 25, 25, 5),
        **options,
    )
    if pasting:
        assert max((worker.train_frames[0, n].pasted >= 0).sum() for n in range(3)) > 0
    for epoch in (0, 1):
        for data in (worker, device):
            data.loader = data.train_dataloader()
            data.loader.sampler.set_epoch(epoch)
        [expected], [found] = list(worker.loader), list(device.loader)
        assert_same_batch(found, expected)
    for expected, found in zip(worker.val_dataloader(), device.val_dataloader(), strict=True):
        assert_same_batch(found, expected)


def test_workers_hand_over_pixels(drives):
    worker, device = both_ways(drives, batch_size=2)
    device.num_workers, device.multiprocessing_context = 1, "fork"
    pairs = list(zip(worker.train_dataloader(), device.train_dataloader(), strict=True))
    assert len(pairs) == 2
    for expected, found in pairs:
        assert_same_batch(found, expected)


def test_a_pixel_batch_moves_as_a_whole(drives):
    index = build_index(drives, "training/*.tfrecord")
    frames = FrameDataset(index, decode_on="device")
    batch = collate_frames([frames[0], frames[1]])
    assert isinstance(batch, PixelBatch)
    assert len(batch) == 2
    moved = batch.to("meta")
    assert {moved.pixels.values.device, moved.orders.device, moved.batch.boxes.device} == {
        torch.device("meta")
    }
    there = Arrival.start(batch, torch.device("cpu"))
    assert there.copied is None
    assert_same_batch(there.take(), collate_frames([FrameDataset(index)[n] for n in (0, 1)]))


def test_frames_left_without_points_are_told_alike(drives):
    for data in both_ways(drives, point_range=(900, 900, -5, 1000, 1000, 5)):
        with pytest.raises(RecordError, match=r"drive\.tfrecord, record \d: none of the frame's"):
            next(iter(data.train_dataloader()))


def test_empty_records_are_left_out_before_the_device(drives, tmp_path, raw_frames):
    empty = replace(raw_frames[0], lasers=())
    write_segment(tmp_path / "training" / "drive.tfrecord", [empty, raw_frames[1]])
    data = WaymoDataModule(tmp_path, decode_on="device", on_error="skip", batch_size=2)
    with pytest.warns(UserWarning, match="no points"):
        [batch] = list(data.train_dataloader())
    assert len(set(batch.frame_ids)) == 1
    assert data.skipped_frames == 1


def test_what_cannot_be_left_to_the_device(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.decode_on: 'gpu' is no place"):
        WaymoDataModule(tmp_path, decode_on="gpu")

    class Scans:
        root = "my scans"
        classes = ("Car",)

    with pytest.raises(ConfigError, match=r"data\.decode_on: the frames of my scans are no range"):
        FrameDataset(Scans(), decode_on="device")
