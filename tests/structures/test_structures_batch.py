"""Batches of point clouds."""

import pickle

import pytest
import torch

from kd3d.errors import InputError, Kd3dError, RecordError
from kd3d.structures import Detections, PointBatch, TargetBoxes
from kd3d.structures.joining import handed_over


def test_frames_are_concatenated_and_boxes_padded():
    batch = PointBatch.from_points(
        [torch.ones(3, 5), torch.zeros(0, 5), torch.full((2, 5), 2.0)],
        boxes=[torch.ones(2, 7), torch.zeros(0, 7), torch.ones(1, 7)],
        labels=[torch.tensor([0, 2]), torch.zeros(0, dtype=torch.int64), torch.tensor([1])],
        frame_ids=["a", "b", "c"],
    )
    assert len(batch) == 3
    assert batch.batch_index.tolist() == [0, 0, 0, 2, 2]
    assert batch.labels.tolist() == [[0, 2], [-1, -1], [1, -1]]
    assert batch.num_points.tolist() == [[-1, -1], [-1, -1], [-1, -1]]
    assert batch.boxes.shape == (3, 2, 7)
    assert batch.boxes[2, 1].abs().sum() == 0
    assert batch.points_of(2).tolist() == [[2.0] * 5] * 2
    assert len(batch.points_of(1)) == 0


def test_ground_truth_comes_back_without_padding():
    boxes = [torch.arange(16.0).view(2, 8), torch.zeros(0, 8)]
    labels = [torch.tensor([0, 2]), torch.zeros(0, dtype=torch.int64)]
    batch = PointBatch.from_points([torch.ones(3, 5)] * 2, boxes=boxes, labels=labels)
    first, second = batch.ground_truth()
    assert torch.equal(first["boxes"], boxes[0][:, :7])
    assert first["labels"].tolist() == [0, 2]
    assert first["num_points"].tolist() == [-1, -1]
    assert second["boxes"].shape == (0, 7)


def test_points_alone_are_enough():
    batch = PointBatch.from_points([torch.ones(3, 4)])
    assert batch.frame_ids == ("0",)
    assert batch.boxes.shape == (1, 0, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": []}, "at least one frame"),
        ({"points": [torch.ones(3, 2)]}, "points must be"),
        ({"points": [torch.ones(3, 5), torch.ones(3, 4)]}, "frame 1: points must be"),
        ({"points": [torch.ones(3, 5)], "boxes": [torch.ones(1, 7)]}, "without labels"),
        (
            {"points": [torch.ones(3, 5)], "boxes": [torch.ones(1, 6)], "labels": [torch.ones(1)]},
            "boxes must be",
        ),
        (
            {"points": [torch.ones(3, 5)], "boxes": [torch.ones(2, 7)], "labels": [torch.ones(1)]},
            "differ in length",
        ),
        ({"points": [torch.ones(3, 5)], "frame_ids": ["a", "b"]}, "2 frame_ids for 1 frames"),
    ],
)
def test_bad_frames_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PointBatch.from_points(**arguments)


def test_everything_moves_together_and_the_original_stays():
    batch = PointBatch.from_points(
        [torch.ones(3, 5)], boxes=[torch.ones(1, 7)], labels=[torch.zeros(1, dtype=torch.int64)]
    )
    targets = TargetBoxes(
        boxes=torch.ones(1, 1, 7),
        labels=torch.zeros(1, 1, dtype=torch.int64),
        from_teacher=torch.zeros(1, 1, dtype=torch.bool),
        heat_weight=torch.ones(1, 1),
        box_weight=torch.ones(1, 1),
    )
    moved = batch.with_targets(targets).to("meta")
    assert batch.targets is None
    assert moved.points.device.type == "meta"
    assert moved.targets is not None
    assert moved.targets.boxes.device.type == "meta"
    assert batch.device.type == "cpu"


def test_detections_give_what_metrics_take():
    found = Detections(torch.ones(2, 9), torch.tensor([0.9, 0.1]), torch.tensor([0, 1]))
    assert len(found) == 2
    assert found.as_dict()["boxes"].shape == (2, 7)


def test_errors_say_what_where_and_what_next_and_survive_pickling():
    error = RecordError("is cut short.", where="a.tfrecord, record 3", hint="Download it again.")
    assert str(error) == "a.tfrecord, record 3: is cut short. Download it again."
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is RecordError
    assert isinstance(back, Kd3dError)
    assert (str(back), back.hint) == (str(error), "Download it again.")


def test_world_travels_with_the_batch():
    points = [torch.zeros(3, 5), torch.zeros(2, 5)]
    world = [torch.eye(4, dtype=torch.float64), 2 * torch.eye(4)]
    batch = PointBatch.from_points(points, world=world)
    assert batch.world.dtype == torch.float32
    assert batch.to("meta").world.is_meta
    assert PointBatch.from_points(points).world is None
    with pytest.raises(InputError, match=r"1 matrices of shapes \[\(3, 3\)\] for 2 frames"):
        PointBatch.from_points(points, world=[torch.eye(3)])


class OneFrame(torch.utils.data.Dataset):
    """A frame per number, with as many points as the number says."""

    def __len__(self):
        return 4

    def __getitem__(self, number):
        return torch.full((number, 5), float(number))


def collate_and_tell(frames):
    batch = PointBatch.from_points(frames)
    return batch, batch.points.is_shared() and batch.batch_index.is_shared()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_joins_points_where_they_are_handed_over(workers):
    loader = torch.utils.data.DataLoader(
        OneFrame(), batch_size=4, num_workers=workers, collate_fn=collate_and_tell
    )
    ((batch, shared),) = loader
    assert shared == bool(workers)
    assert batch.batch_index.tolist() == [1, 2, 2, 3, 3, 3]
    assert batch.points[:, 0].tolist() == [1, 2, 2, 3, 3, 3]
    assert batch.points.shape == (6, 5)


def hand_over(frames):
    whole = torch.cat(frames)
    given = [whole, whole[:, 1:3], whole[:0], whole.double()]
    brought = [handed_over(tensor) for tensor in given]
    return brought, [tensor.is_shared() for tensor in brought]


def test_a_worker_brings_tensors_of_any_kind_to_shared_memory():
    loader = torch.utils.data.DataLoader(
        OneFrame(), batch_size=4, num_workers=1, collate_fn=hand_over
    )
    ((brought, shared),) = loader
    whole = torch.cat([OneFrame()[number] for number in range(4)])
    for found, expected in zip(
        brought, [whole, whole[:, 1:3], whole[:0], whole.double()], strict=True
    ):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    assert shared == [True, True, False, True]  # there is nothing to bring of an empty one


def test_outside_of_a_worker_nothing_is_copied():
    tensor = torch.ones(3)
    assert handed_over(tensor) is tensor
