import shutil

import numpy as np
import pytest
import torch

from kd3d.data import (
    FrameDataset,
    Selection,
    WorldAugmentation,
    WorldTransform,
    build_index,
    collate_frames,
)
from kd3d.errors import ConfigError, InputError, RecordError
from kd3d.geometry import count_points_in_boxes, move_boxes
from kd3d.waymo import read_frames

TRAINING = "training/*.tfrecord"


@pytest.fixture
def index(waymo_root):
    return build_index(waymo_root, TRAINING)


@pytest.fixture
def recorded(waymo_root):
    """The first training frame as the reader gives it."""
    return next(read_frames(waymo_root / "training" / "segment-a.tfrecord"))


def sorted_rows(points):
    return torch.tensor(sorted(points.tolist()))


def names_of(sample):
    """Objects by their annotated number of points, which differ."""
    return sample.num_points.tolist()


def test_validation_frame_is_what_was_recorded(index, recorded):
    sample = FrameDataset(index)[0]
    assert sample.frame_id == "segment-a/1000000"
    assert sample.points.shape == (240, 5)
    assert torch.equal(sorted_rows(sample.points), sorted_rows(torch.tensor(recorded.points)))
    assert not torch.equal(sample.points, torch.tensor(recorded.points))
    assert sample.labels.tolist() == [0, 0, 0, 1, 2]
    assert names_of(sample) == [30, 9, 0, 4, 11]
    assert sample.difficulty.tolist() == [0, 0, 0, 2, 0]
    assert torch.equal(sample.boxes, torch.tensor(recorded.boxes[:5]))
    assert sample.transform == WorldTransform()
    dtypes = [sample.points.dtype, sample.boxes.dtype, sample.labels.dtype, sample.num_points.dtype]
    assert dtypes == [torch.float32, torch.float32, torch.int64, torch.int64]


def test_training_leaves_out_boxes_without_points(index):
    assert names_of(FrameDataset(index, training=True)[0]) == [30, 9, 4, 11]


def test_points_in_no_label_zones_are_kept(index, recorded):
    assert recorded.in_nlz.sum() == 40
    assert len(FrameDataset(index, training=True)[0].points) == 240


def test_validation_ignores_epoch_and_seed(index):
    plain, other = FrameDataset(index), FrameDataset(index, seed=9)
    assert torch.equal(plain[0, 3].points, other[7, 3].points)
    assert plain[3].frame_id == plain[7, 3].frame_id


def test_training_follows_seed_epoch_and_frame(index):
    def sample(seed, epoch, number):
        frames = FrameDataset(index, training=True, seed=seed, augmentation=WorldAugmentation())
        return frames[epoch, number]

    first, again = sample(0, 0, 0), sample(0, 0, 0)
    assert torch.equal(first.points, again.points)
    others = [sample(1, 0, 0), sample(0, 1, 0), sample(0, 0, 1)]
    assert first.transform not in [other.transform for other in others]
    assert len({other.transform for other in others}) == 3


def test_recorded_transform_leads_back_to_the_frame(index):
    changed = FrameDataset(index, training=True, augmentation=WorldAugmentation())[4, 2]
    plain = FrameDataset(index, training=True)[4, 2]
    assert changed.transform != plain.transform
    assert torch.allclose(
        changed.transform.inverse().points(changed.points), plain.points, atol=1e-4
    )
    assert torch.allclose(changed.transform.inverse().boxes(changed.boxes), plain.boxes, atol=1e-4)


def test_real_points_stay_in_their_boxes(shared_data):
    index = build_index(shared_data / "real_lidar", "*.tfrecord")
    frames = FrameDataset(index, training=True, augmentation=WorldAugmentation())
    for epoch in range(3):
        sample = frames[epoch, 0]
        assert len(sample.boxes) > 30
        found = count_points_in_boxes(sample.points, sample.boxes)
        # Rounding may carry a point over a face.
        assert (found - sample.num_points).abs().max() <= 2


def test_sample_is_free_of_global_random_state(index):
    frames = FrameDataset(index, training=True, augmentation=WorldAugmentation())
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    frames[0, 0]
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_classes_choose_and_number_the_labels(index):
    frames = FrameDataset(index, Selection(classes=["Cyclist", "Vehicle"]), training=True)
    assert list(zip(frames[0].labels.tolist(), names_of(frames[0]), strict=True)) == [
        (1, 30),
        (1, 9),
        (0, 11),
    ]


def test_point_range_crops_in_xy_and_drops_boxes_outside_in_training(index, recorded):
    bounds = (-20.0, -20.0, -1.0, 20.0, 20.0, 3.0)
    recorded_points = torch.tensor(recorded.points)
    expected = recorded_points[(recorded_points[:, :2].abs() <= 20).all(dim=1)]
    assert (expected[:, 2] < -1).any()  # z does not crop
    assert 0 < len(expected) < len(recorded_points)
    for training, kept in ((True, [30, 4, 11]), (False, [30, 9, 0, 4, 11])):
        sample = FrameDataset(index, Selection(point_range=bounds), training=training)[0]
        assert torch.equal(sorted_rows(sample.points), sorted_rows(expected))
        assert names_of(sample) == kept


def test_point_range_keeps_what_lies_on_its_border():
    selection = Selection(point_range=[-1, -1, -1, 1, 1, 1])
    points = torch.tensor([[1.0, -1.0, 9.0], [1.0001, 0.0, 0.0]])
    assert points[selection.covers(points[:, 0], points[:, 1])].tolist() == [[1, -1, 9]]


def test_boxes_need_one_corner_within_point_range():
    selection = Selection(point_range=[-10, -10, -2, 10, 10, 4])
    x = torch.tensor([9.0, 11.9, 12.1, 0.0])
    boxes = torch.zeros(4, 7)
    boxes[:, 0], boxes[:, 3:6] = x, torch.tensor([4.0, 2.0, 1.0])
    boxes[3, 2] = 4.6
    kept = selection.keep(boxes, torch.zeros(4).long(), torch.ones(4).long(), training=True)
    assert kept.tolist() == [True, True, False, False]


@pytest.mark.parametrize("training", [True, False])
def test_object_range_looks_at_centres_always(index, training):
    bounds = (-20, -20, -2, 20, 20, 4)
    sample = FrameDataset(index, Selection(object_range=bounds), training=training)[0]
    assert names_of(sample) == ([30, 4, 11] if training else [30, 0, 4, 11])
    assert len(sample.points) == 240


def test_ranges_apply_to_the_changed_scene(index):
    turn = WorldAugmentation(0, 0, rotation=(1.57, 1.57), scaling=(1, 1))
    selection = Selection(object_range=(0, -50, -5, 50, 50, 5))
    plain = FrameDataset(index, selection, training=True)[0]
    turned = FrameDataset(index, selection, training=True, augmentation=turn)[0]
    assert names_of(plain) == [30, 9, 11]
    assert names_of(turned) == [11]


@pytest.mark.parametrize(
    "options",
    [{"classes": []}, {"classes": ["Vehicle", "Vehicle"]}],
)
def test_impossible_choices_of_classes_are_named(options):
    with pytest.raises(ConfigError, match=r"data.classes: .* at most once, and at least one"):
        Selection(**options)


def test_a_class_that_the_source_lacks_is_named(index):
    with pytest.raises(ConfigError, match=r"no class 'Car'.* out of Vehicle, Pedestrian, Cyclist"):
        FrameDataset(index, Selection(classes=["Car"]))


@pytest.mark.parametrize("option", ["point_range", "object_range"])
@pytest.mark.parametrize("bounds", [(0, 0, 0, 1, 1), (0, 0, 5, 1, 1, 5)])
def test_impossible_ranges_are_named(option, bounds):
    with pytest.raises(ConfigError, match=rf"data.{option}: .* is not \(x_min"):
        Selection(**{option: bounds})


def test_damaged_record_is_named(waymo_root, tmp_path, damage):
    root = shutil.copytree(waymo_root, tmp_path / "copy")
    damage(root / "training" / "segment-b.tfrecord", 2)
    frames = FrameDataset(build_index(root, TRAINING))
    assert len(frames[6].points) == 240
    with pytest.raises(RecordError, match=r"segment-b.tfrecord, record 2: .*checksum"):
        frames[7]


def test_checksums_can_be_left_unchecked(waymo_root, tmp_path):
    root = shutil.copytree(waymo_root, tmp_path / "copy")
    path = root / "validation" / "segment-c.tfrecord"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    index = build_index(root, "validation/*")
    assert len(FrameDataset(index, verify=False)[4].points) == 240
    with pytest.raises(RecordError, match="checksum"):
        FrameDataset(index)[4]


def test_frame_without_points_is_named(tmp_path, write):
    write(tmp_path / "void.tfrecord", 1, ranges=0.0)
    with pytest.raises(RecordError, match=r"void.tfrecord, record 0: the frame has no points"):
        FrameDataset(build_index(tmp_path, "*"))[0]


def test_frame_without_points_in_range_is_named(index):
    selection = Selection(point_range=(500, 500, 0, 501, 501, 1))
    with pytest.raises(RecordError, match=r"none of the frame's 240 points is within data.point_r"):
        FrameDataset(index, selection)[0]


def test_frame_with_points_that_are_no_numbers_is_named(tmp_path, write):
    write(tmp_path / "nan.tfrecord", 1, ranges=np.inf)
    with pytest.raises(RecordError, match=r"nan.tfrecord, record 0: point 0 is not a number"):
        FrameDataset(build_index(tmp_path, "*"))[0]


def test_collates_frames_of_different_sizes(index):
    frames = FrameDataset(index, Selection(point_range=(0, -30, -9, 30, 30, 9)), training=True)
    samples = [frames[0], frames[6], frames[11]]
    batch = collate_frames(samples)
    assert len(batch) == 3
    assert batch.frame_ids == ("segment-a/1000000", "segment-b/1100000", "segment-b/1600000")
    for number, sample in enumerate(samples):
        assert torch.equal(batch.points_of(number), sample.points)
        assert torch.equal(batch.boxes[number, : len(sample.boxes)], sample.boxes)


def test_a_batch_says_how_its_scenes_were_moved(index):
    frames = FrameDataset(index, training=True, augmentation=WorldAugmentation(), seed=3)
    samples = [frames[1, 0], frames[1, 4]]
    batch = collate_frames(samples)
    assert batch.world.shape == (2, 4, 4)
    for sample, matrix in zip(samples, batch.world, strict=True):
        still = sample.transform.inverse()
        cloud = torch.cat(
            (still.points(sample.points)[:, :3], torch.ones(len(sample.points), 1)), 1
        )
        assert torch.allclose(
            cloud @ matrix.T, torch.cat((sample.points[:, :3], cloud[:, 3:]), 1), atol=1e-4
        )
        moved = move_boxes(still.boxes(sample.boxes), matrix)
        assert torch.allclose(moved[:, :6], sample.boxes[:, :6], atol=1e-4)
        assert torch.allclose((moved[:, 6] - sample.boxes[:, 6]).cos(), torch.ones(len(moved)))


def test_validation_batches_are_as_recorded(index):
    frames = FrameDataset(index)
    assert torch.equal(collate_frames([frames[0]]).world, torch.eye(4)[None])


def test_some_names_without_decoding_points(index):
    frames = FrameDataset(index)
    names = [frames[number].frame_id for number in range(len(frames))]
    assert frames.sample_frame_ids(100) == tuple(names)
    some = frames.sample_frame_ids(3)
    assert len(some) == 3
    assert some[0] == names[0]
    assert set(some) < set(names)
    assert frames.sample_frame_ids(0) == ()


def test_nothing_collates_to_an_error():
    with pytest.raises(InputError, match="at least one frame"):
        collate_frames([])
