"""Teacher boxes among the targets."""

import pytest
import torch
from distill_fakes import make_batch, make_detector

from kd3d.distill import LabelKD, StepContext, Teacher
from kd3d.distill.functional import add_teacher_boxes, select_teacher_boxes
from kd3d.errors import ConfigError
from kd3d.structures import Detections


def found(scores, labels):
    boxes = torch.arange(len(scores), dtype=torch.float32)[:, None].expand(-1, 7) + 1
    return Detections(boxes, torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def test_only_scores_above_the_class_threshold_stay_in_order():
    frames = [found([0.9, 0.65, 0.6, 0.55, 0.3], [0, 1, 0, 1, 2]), found([], [])]
    chosen = select_teacher_boxes(frames, (0.6, 0.5, 0.5))
    assert chosen.labels.tolist() == [[0, 1, 1], [-1, -1, -1]]
    assert chosen.scores[0].tolist() == pytest.approx([0.9, 0.65, 0.55])
    assert chosen.boxes[0, :, 0].tolist() == [1.0, 2.0, 4.0]
    assert chosen.boxes[1].abs().sum() == 0


def test_max_boxes_keeps_the_highest_scores():
    frames = [found([0.9, 0.8, 0.7], [0, 1, 0]), found([0.95], [2])]
    chosen = select_teacher_boxes(frames, (0.85, 0.5, 0.5), max_boxes=1)
    assert chosen.labels.tolist() == [[0], [2]]


def test_nothing_to_select():
    chosen = select_teacher_boxes([found([], []), found([0.1], [0])], (0.5, 0.5, 0.5))
    assert chosen.boxes.shape == (2, 0, 7)


def make_targets(**options):
    boxes = torch.full((2, 3, 7), 50.0)
    boxes[:, :, 0] = torch.tensor([[100.0, 101.0, 0.0], [200.0, 0.0, 0.0]])
    labels = torch.tensor([[2, 1, -1], [0, -1, -1]])
    teacher = select_teacher_boxes([found([0.9], [0]), found([0.9, 0.8], [1, 2])], (0.5,) * 3)
    return boxes, labels, teacher, add_teacher_boxes(boxes, labels, teacher, **options)


def test_ground_truth_first_without_gaps():
    _, _, _, targets = make_targets(heat_weight=0.5, box_weight=0.25)
    assert targets.labels.tolist() == [[2, 1, 0], [0, 1, 2]]
    assert targets.from_teacher.tolist() == [[False, False, True], [False, True, True]]
    assert targets.boxes[..., 0].tolist() == [[100.0, 101.0, 1.0], [200.0, 1.0, 2.0]]
    assert targets.heat_weight.tolist() == [[1.0, 1.0, 0.5], [1.0, 0.5, 0.5]]
    assert targets.box_weight.tolist() == [[1.0, 1.0, 0.25], [1.0, 0.25, 0.25]]


def test_reference_order_puts_the_teacher_first():
    _, _, _, targets = make_targets(teacher_first=True)
    assert targets.labels.tolist() == [[0, 2, 1], [1, 2, 0]]
    assert targets.from_teacher.tolist() == [[True, False, False], [True, True, False]]


def test_a_second_teacher_adds_to_the_first():
    boxes, labels, teacher, once = make_targets()
    twice = add_teacher_boxes(boxes, labels, teacher, given=once)
    assert twice.labels.tolist() == [[2, 1, 0, 0, -1], [0, 1, 2, 1, 2]]
    assert twice.from_teacher.sum(dim=1).tolist() == [2, 4]


def test_other_columns_are_refused():
    boxes, labels, teacher, _ = make_targets()
    with pytest.raises(ConfigError, match="9 columns, the teacher's boxes 7"):
        add_teacher_boxes(torch.cat((boxes, boxes[..., :2]), dim=-1), labels, teacher)


def make_context(batch):
    teacher = Teacher(make_detector(1))
    return StepContext(batch, teacher, teacher.teach(batch))


def test_the_objective_leaves_the_batch_untouched():
    batch = make_batch()
    before = batch.boxes.clone()
    context = make_context(batch)
    amended = LabelKD({"Vehicle": 0.0, "Pedestrian": 0.0, "Cyclist": 0.99}).amend(context, batch)
    assert batch.targets is None
    assert torch.equal(batch.boxes, before)
    assert amended.boxes is batch.boxes
    assert torch.equal(amended.targets.boxes[:, :3], batch.boxes)
    assert amended.targets.from_teacher[:, 3:].any()
    assert 2 not in amended.targets.labels[amended.targets.from_teacher]
    added = amended.targets.from_teacher.sum() / len(batch)
    assert context.observed["teacher_boxes"].item() == pytest.approx(added.item())


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ([0.5, 0.5], "2 thresholds for 3 classes"),
        ({"Vehicle": 0.5, "Truck": 0.5}, r"thresholds for \['Truck', 'Vehicle'\]"),
    ],
)
def test_thresholds_that_do_not_fit(thresholds, message):
    batch = make_batch()
    with pytest.raises(ConfigError, match=message):
        LabelKD(thresholds).amend(make_context(batch), batch)


def test_bad_options():
    with pytest.raises(ConfigError, match="at least one box"):
        LabelKD(0.5, max_boxes=0)
    with pytest.raises(ConfigError, match="cannot be negative"):
        LabelKD(0.5, weight=-1.0)
    batch = make_batch()
    with pytest.raises(ConfigError, match="cannot be given other targets"):
        LabelKD(0.5).amend(make_context(batch), {"points": batch.points})
