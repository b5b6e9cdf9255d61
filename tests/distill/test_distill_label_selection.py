"""Which of the teacher's boxes become labels: by score, by overlap, or by class."""

import pytest
import slow_logit as slow
import torch
from distill_fakes import CLASSES
from logit_methods import Truth, make_truth

from kd3d.distill import LabelKD, StepContext
from kd3d.distill.batches import BatchView
from kd3d.distill.functional import select_teacher_boxes, truth_overlap
from kd3d.errors import ConfigError
from kd3d.structures import Detections

RULES = {
    "score": ("score", "score", "score"),
    "iou": ("iou", "iou", "iou"),
    "mixed": ("iou", "score", "score"),
}
THRESHOLDS = (0.4, 0.5, 0.3)


def make_detections(truth, *, seed=0, shift=0.3, dtype=torch.float32):
    """Boxes near the ground truth and elsewhere, in falling order of score."""
    random = torch.Generator().manual_seed(seed)
    frames = []
    for boxes in truth.boxes:
        near = boxes + shift * torch.randn(boxes.shape, generator=random)
        far = boxes + torch.tensor([40.0, 0, 0, 0, 0, 0, 0])
        found = torch.cat((near, boxes, far))
        found[:, 3:6] = found[:, 3:6].abs().clamp(min=0.5)
        scores = torch.rand(len(found), generator=random).sort(descending=True).values
        order = torch.randperm(len(found), generator=random)
        labels = torch.randint(len(CLASSES), (len(found),), generator=random)
        frames.append(Detections(found[order].to(dtype), scores.to(dtype), labels))
    return frames


def chosen_by(objective, truth, detections):
    """The teacher's boxes among the targets, frame by frame."""
    context = StepContext(truth, None, None, VIEW, CLASSES)
    context.__dict__["teacher_boxes"] = detections
    objective.amend(context, truth)
    targets = context.targets
    return [boxes[mine] for boxes, mine in zip(targets.boxes, targets.from_teacher, strict=True)]


VIEW = BatchView(with_targets=lambda batch, targets: targets)


@pytest.mark.parametrize("select_by", RULES)
@pytest.mark.parametrize("counts", [(5, 3), (4, 0), (0, 0), (1, 0), (500, 2)])
def test_it_is_its_rule(select_by, counts):
    truth = make_truth(counts)
    detections = make_detections(truth)
    if 500 in counts:  # the plain version compares every pair
        detections = [Detections(f.boxes[:9], f.scores[:9], f.labels[:9]) for f in detections]
    found = chosen_by(LabelKD(THRESHOLDS, select_by=select_by), truth, detections)
    for frame, given, boxes, labels in zip(found, detections, *truth, strict=True):
        expected = slow.label_choice(given, THRESHOLDS, RULES[select_by], boxes, labels)
        assert torch.equal(frame, given.boxes[expected])
    if counts == (5, 3):
        assert all(
            0 < len(frame) < len(given) for frame, given in zip(found, detections, strict=True)
        )


def test_no_two_rules_choose_the_same():
    truth = make_truth((6, 6))
    detections = make_detections(truth)
    found = {
        name: chosen_by(LabelKD(0.5, select_by=name), truth, detections)[0].tolist()
        for name in RULES
    }
    assert found["score"] != found["iou"] != found["mixed"] != found["score"]


def test_rules_by_name():
    truth = make_truth((6, 6))
    detections = make_detections(truth)
    by_name = dict(zip(CLASSES, RULES["mixed"], strict=True))
    for one, other in zip(
        chosen_by(LabelKD(0.5, select_by=by_name), truth, detections),
        chosen_by(LabelKD(0.5, select_by="mixed"), truth, detections),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_overlap_by_hand():
    """A box that is one metre off along its four metres, one of half the height, one elsewhere."""
    own = torch.tensor([0.0, 0, 0, 4, 2, 2, 0])
    found = own.repeat(3, 1)
    found[0, 0] += 1.0
    found[1, 5] = 1.0
    found[2, 1] = 30.0
    boxes = torch.stack((own, torch.zeros(7)))[None]
    overlap = truth_overlap(found[None], boxes, torch.tensor([[1, -1]]))
    assert overlap[0].tolist() == pytest.approx([3 / 5, 1 / 2, 0.0])
    nowhere = truth_overlap(found[None], boxes, torch.tensor([[-1, -1]]))
    assert nowhere[0].tolist() == [0.0, 0.0, 0.0]
    assert truth_overlap(found[None], boxes[:, :0], torch.zeros(1, 0)).tolist() == [[0.0] * 3]


def test_half_precision():
    truth = make_truth((5, 3))
    half = make_detections(truth, dtype=torch.float16)
    chosen = select_teacher_boxes(
        half, THRESHOLDS, by_overlap=(True, True, False), boxes=truth.boxes, labels=truth.labels
    )
    assert chosen.boxes.dtype == torch.float16
    assert chosen.boxes.isfinite().all()
    for index, frame in enumerate(half):
        whole = Detections(frame.boxes.float(), frame.scores.float(), frame.labels)
        expected = slow.label_choice(
            whole, THRESHOLDS, ("iou", "iou", "score"), truth.boxes[index], truth.labels[index]
        )
        assert torch.equal(chosen.boxes[index][chosen.labels[index] >= 0], frame.boxes[expected])


@pytest.mark.parametrize(
    ("select_by", "match"),
    [
        ("best", r"select_by: 'best' is not one of \['score', 'iou', 'mixed'\]"),
        ({"Vehicle": "mixed"}, r"select_by\.Vehicle: 'mixed' is not one of \['score', 'iou'\]"),
    ],
)
def test_unknown_rules(select_by, match):
    with pytest.raises(ConfigError, match=match):
        LabelKD(select_by=select_by)


def test_rules_of_other_classes():
    context = StepContext(Truth(torch.ones(1, 1, 7), torch.zeros(1, 1)), None, None, VIEW, ("Car",))
    context.__dict__["teacher_boxes"] = []
    for select_by, match in (
        ("mixed", r"called Vehicle, classes are \['Car'\].*'Car': 'iou'"),
        ({"Vehicle": "iou"}, r"rules for \['Vehicle'\], classes are \['Car'\]"),
    ):
        with pytest.raises(ConfigError, match=match):
            LabelKD(select_by=select_by).amend(context, context.batch)


def test_overlap_without_ground_truth():
    with pytest.raises(ConfigError, match=r"overlap with the ground truth, which is not given"):
        select_teacher_boxes(make_detections(make_truth((1,))), (0.5,) * 3, by_overlap=(True,) * 3)
