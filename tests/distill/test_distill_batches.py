"""Reading batches of any kind."""

from collections import namedtuple
from dataclasses import dataclass, replace

import pytest
import torch
from distill_fakes import make_batch

from kd3d.distill import BatchView
from kd3d.errors import ConfigError
from kd3d.structures import TargetBoxes

BOXES, LABELS = torch.rand(2, 3, 7), torch.tensor([[0, 1, -1], [2, -1, -1]])
NAMES = ("a/1", "a/2")


@dataclass
class Plain:
    boxes: torch.Tensor
    labels: torch.Tensor
    frame_ids: tuple[str, ...] = NAMES
    targets: object = None

    def with_targets(self, targets):
        return replace(self, targets=targets)


Named = namedtuple("Named", ["points", "boxes", "labels", "frame_ids"])


class Pair:
    def __init__(self):
        self.points = BOXES


def some_targets():
    filled = torch.ones(2, 3)
    return TargetBoxes(BOXES, LABELS, filled > 0, filled, filled)


@pytest.mark.parametrize(
    "batch",
    [
        Plain(BOXES, LABELS),
        Named(None, BOXES, LABELS, NAMES),
        {"boxes": BOXES, "labels": LABELS, "frame_ids": list(NAMES)},
    ],
    ids=["dataclass", "named tuple", "mapping"],
)
def test_names_are_found(batch):
    view = BatchView()
    boxes, labels = view.read_truth(batch)
    assert boxes is BOXES
    assert labels is LABELS
    assert view.read_frame_ids(batch) == NAMES
    assert view.count(batch) == 2
    assert view.read_world(batch) is None


def test_point_batches_need_nothing():
    batch = replace(make_batch(), world=torch.eye(4).expand(2, 4, 4))
    view = BatchView()
    assert view.read_truth(batch)[0] is batch.boxes
    assert view.read_frame_ids(batch) == batch.frame_ids
    assert view.read_world(batch) is batch.world
    assert view.count(batch) == 2
    targets = some_targets()
    assert view.give_targets(batch, targets).targets is targets
    assert batch.targets is None


def test_functions_come_first():
    world = torch.eye(4)[None]
    view = BatchView(
        truth=lambda batch: (batch[1], batch[2]),
        frame_ids=lambda batch: ["x", "y"],
        with_targets=lambda batch, targets: (*batch, targets),
        size=lambda batch: 5,
        world=lambda batch: world,
    )
    batch = (None, BOXES, LABELS)
    assert view.read_truth(batch)[1] is LABELS
    assert view.read_frame_ids(batch) == ("x", "y")
    assert view.count(batch) == 5
    assert view.read_world(batch) is world
    targets = some_targets()
    assert view.give_targets(batch, targets) == (*batch, targets)
    assert BatchView(truth=view.truth).count(batch) == 2
    assert BatchView(frame_ids=view.frame_ids).count(batch) == 2


def test_lists_of_frames_are_padded():
    boxes, labels = BatchView().read_truth(
        {"boxes": [BOXES[0, :1], BOXES[1]], "labels": [LABELS[0, :1], LABELS[1]]}
    )
    assert boxes.shape == (2, 3, 7)
    assert torch.equal(boxes[0, 0], BOXES[0, 0])
    assert boxes[0, 1:].abs().sum() == 0
    assert labels.tolist() == [[0, -1, -1], [2, -1, -1]]


@pytest.mark.parametrize(
    ("method", "batch", "message"),
    [
        (
            "read_truth",
            {"points": 1, "cars": 2},
            r"with the keys 'points', 'cars' has no 'boxes'.*truth=",
        ),
        ("read_truth", (BOXES, LABELS), r"is a tuple of Tensor, Tensor has no 'boxes'.*truth="),
        ("read_truth", Pair(), "is a Pair with points has no 'boxes'"),
        ("read_truth", {"boxes": BOXES, "labels": LABELS[0]}, r"\[2, 3, 7\] and labels \[3\]"),
        ("read_truth", {"boxes": BOXES[..., :5], "labels": LABELS}, r"boxes \[2, 3, 5\]"),
        ("read_truth", {"boxes": "file", "labels": LABELS}, "boxes str and"),
        ("read_frame_ids", Pair(), "has no 'frame_ids'.*frame_ids="),
        ("read_world", {"world": torch.eye(4)}, r"not \[4, 4\].*world="),
        ("count", (BOXES,), "how many frames it has.*size="),
    ],
)
def test_what_is_missing_is_said(method, batch, message):
    with pytest.raises(ConfigError, match=message):
        getattr(BatchView(), method)(batch)


@pytest.mark.parametrize("batch", [Pair(), {"boxes": BOXES}, (BOXES,)])
def test_batches_that_cannot_be_given_targets(batch):
    assert not BatchView().can_give_targets(batch)
    with pytest.raises(ConfigError, match=r"cannot be given other targets.*with_targets="):
        BatchView().give_targets(batch, some_targets())
    assert BatchView(with_targets=lambda batch, targets: batch).can_give_targets(batch)


def test_a_dictionary_with_many_keys_is_cut():
    with pytest.raises(ConfigError, match="and 8 more"):
        BatchView().read_truth({f"key{i}": i for i in range(20)})
