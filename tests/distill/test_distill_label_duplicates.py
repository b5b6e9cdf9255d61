"""Teacher boxes that repeat an object."""

import pytest
import torch
from distill_fakes import make_grid

from kd3d.distill.functional import TeacherBoxes, drop_duplicates
from kd3d.errors import ConfigError
from kd3d.geometry import iou_bev

GRID = make_grid(16)


def scene(seed, frames=3, own=6, found=30):
    """Ground truth and crowded teacher boxes of 2 m by 1 m, some slots empty."""
    random = torch.Generator().manual_seed(seed)

    def boxes(count):
        boxes = torch.rand(frames, count, 7, generator=random)
        boxes[..., :2] = (boxes[..., :2] - 0.5) * 17  # some outside the grid of 16 m
        boxes[..., 3:6] = torch.tensor([2.0, 1.0, 1.5])
        return boxes

    labels = torch.randint(-1, 3, (frames, own), generator=random)
    filled = torch.arange(found) < torch.tensor([[found], [0], [found // 2]])[:frames]
    scores = torch.rand(frames, found, generator=random).sort(descending=True).values * filled
    classes = torch.where(filled, torch.randint(0, 3, (frames, found), generator=random), -1)
    teacher = TeacherBoxes(boxes(found) * filled[..., None], classes, scores)
    return teacher, boxes(own), labels


def left(teacher):
    """Scores of the boxes that are left, per frame."""
    return [
        row[labels >= 0].tolist()
        for row, labels in zip(teacher.scores, teacher.labels, strict=True)
    ]


def slow_cells(teacher, boxes, labels):
    def cell(box):
        return tuple(int(min(max((v + 8.0) // 1.0, 0), 15)) for v in box[:2].tolist())

    kept = []
    for frame in range(len(labels)):
        taken = {cell(b) for b, one in zip(boxes[frame], labels[frame], strict=True) if one >= 0}
        kept.append([])
        for box, label, score in zip(
            teacher.boxes[frame], teacher.labels[frame], teacher.scores[frame], strict=True
        ):
            if label >= 0 and cell(box) not in taken:
                taken.add(cell(box))
                kept[-1].append(score.item())
    return kept


def slow_overlaps(teacher, boxes, labels, overlap):
    kept = []
    for frame in range(len(labels)):
        own = boxes[frame][labels[frame] >= 0]
        chosen = []
        for k in (teacher.labels[frame] >= 0).nonzero()[:, 0].tolist():
            box = teacher.boxes[frame, k : k + 1]
            others = torch.cat((own, teacher.boxes[frame, chosen]))
            if not (iou_bev(box, others) > overlap).any():
                chosen.append(k)
        kept.append(teacher.scores[frame, chosen].tolist())
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_cells_agree_with_plain_loops(seed):
    teacher, boxes, labels = scene(seed)
    kept = drop_duplicates(teacher, boxes, labels, rule="cell", grid=GRID)
    assert left(kept) == slow_cells(teacher, boxes, labels)
    assert sum(map(len, left(kept))) < sum(map(len, left(teacher)))


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_agree_with_plain_loops(seed):
    teacher, boxes, labels = scene(seed)
    kept = drop_duplicates(teacher, boxes, labels, rule="iou", overlap=0.05)
    assert left(kept) == slow_overlaps(teacher, boxes, labels, 0.05)
    assert sum(map(len, left(kept))) < sum(map(len, left(teacher)))


@pytest.mark.parametrize("rule", ["cell", "iou"])
def test_the_boxes_that_are_left_come_first_in_order(rule):
    teacher, boxes, labels = scene(0)
    kept = drop_duplicates(teacher, boxes, labels, rule=rule, grid=GRID, overlap=0.1)
    filled = kept.labels >= 0
    assert kept.labels.shape == teacher.labels.shape
    assert (filled[:, :-1] >= filled[:, 1:]).all()
    assert (kept.scores[:, :-1] >= kept.scores[:, 1:]).all()
    assert kept.boxes[~filled].abs().sum() == 0


def test_keep_and_nothing_to_drop():
    teacher, boxes, labels = scene(0)
    assert drop_duplicates(teacher, boxes, labels, rule="keep") is teacher
    none = TeacherBoxes(boxes[:, :0], labels[:, :0], boxes[:, :0, 0])
    assert drop_duplicates(none, boxes, labels, rule="iou") is none
    for rule in ("cell", "iou"):
        alone = drop_duplicates(
            teacher, boxes[:, :0], labels[:, :0], rule=rule, grid=GRID, overlap=1.0
        )
        assert len(left(alone)[0]) > 0


def test_classes_do_not_matter():
    box = torch.tensor([[[0.5, 0.5, 0.0, 2.0, 1.0, 1.5, 0.0]]])
    teacher = TeacherBoxes(box, torch.tensor([[1]]), torch.tensor([[0.9]]))
    for rule in ("cell", "iou"):
        kept = drop_duplicates(teacher, box, torch.tensor([[0]]), rule=rule, grid=GRID)
        assert left(kept) == [[]]
        kept = drop_duplicates(teacher, box, torch.tensor([[-1]]), rule=rule, grid=GRID)
        assert left(kept) == [[pytest.approx(0.9)]]


def test_bad_input():
    teacher, boxes, labels = scene(0)
    with pytest.raises(ConfigError, match="student's grid, which is not known"):
        drop_duplicates(teacher, boxes, labels, rule="cell")
    with pytest.raises(ConfigError, match="'drop' is not one of"):
        drop_duplicates(teacher, boxes, labels, rule="drop")
    with pytest.raises(ConfigError, match="no overlap in"):
        drop_duplicates(teacher, boxes, labels, rule="iou", overlap=-0.1)
