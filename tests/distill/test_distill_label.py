"""Teacher boxes among the targets."""

import pytest
import torch
from distill_fakes import (
    TinyModule,
    make_batch,
    make_detector,
    make_grid,
    make_loader,
    make_trainer,
)

from kd3d.detectors.losses import center_box_loss, center_focal_loss
from kd3d.detectors.targets import assign_center_targets
from kd3d.distill import KDCallback, LabelKD, PivotalLogitKD, StepContext, Teacher
from kd3d.distill.batches import BatchView
from kd3d.distill.functional import (
    add_teacher_boxes,
    pivot_weights,
    probability,
    select_teacher_boxes,
    truth_targets,
)
from kd3d.distill.predicted import PredictedBoxes
from kd3d.errors import ConfigError, TeacherError
from kd3d.structures import Detections, HeadMaps, TargetBoxes

CLASSES = ("Vehicle", "Pedestrian", "Cyclist")


def found(scores, labels):
    boxes = torch.arange(len(scores), dtype=torch.float32)[:, None].expand(-1, 7) + 1
    return Detections(boxes, torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def filled(values, labels):
    """Rows without their empty slots."""
    return [row[mask].tolist() for row, mask in zip(values, labels >= 0, strict=True)]


def test_only_scores_above_the_class_threshold_stay_in_order():
    frames = [found([0.9, 0.65, 0.6, 0.55, 0.3], [0, 1, 0, 1, 2]), found([], [])]
    chosen = select_teacher_boxes(frames, (0.6, 0.5, 0.5))
    assert chosen.labels.tolist() == [[0, 1, 1, -1, -1], [-1] * 5]
    assert chosen.scores[0].tolist() == pytest.approx([0.9, 0.65, 0.55, 0.0, 0.0])
    assert chosen.boxes[0, :, 0].tolist() == [1.0, 2.0, 4.0, 0.0, 0.0]
    assert chosen.boxes[1].abs().sum() == 0


def test_the_first_of_each_frame_have_the_highest_scores():
    frames = [found([0.9, 0.8, 0.7], [0, 1, 0]), found([0.95], [2])]
    chosen = select_teacher_boxes(frames, (0.85, 0.5, 0.5))
    assert chosen.first(1).labels.tolist() == [[0], [2]]
    assert chosen.first(None).labels.tolist() == [[0, 1, -1], [2, -1, -1]]


def test_nothing_to_select():
    assert select_teacher_boxes([found([], [])] * 2, (0.5,) * 3).boxes.shape == (2, 0, 7)
    low = select_teacher_boxes([found([], []), found([0.1], [0])], (0.5, 0.5, 0.5))
    assert (low.labels == -1).all()


def make_targets(**options):
    boxes = torch.full((2, 3, 7), 50.0)
    boxes[:, :, 0] = torch.tensor([[100.0, 101.0, 0.0], [200.0, 0.0, 0.0]])
    truth = truth_targets(boxes, torch.tensor([[2, 1, -1], [0, -1, -1]]))
    teacher = select_teacher_boxes([found([0.9], [0]), found([0.9, 0.8], [1, 2])], (0.5,) * 3)
    return truth, teacher, add_teacher_boxes(truth, teacher, **options)


def test_ground_truth_first_without_gaps():
    _, _, targets = make_targets(heat_weight=0.5, box_weight=0.25)
    assert targets.labels.tolist() == [[2, 1, 0, -1, -1], [0, 1, 2, -1, -1]]
    assert filled(targets.from_teacher, targets.labels) == [
        [False, False, True],
        [False, True, True],
    ]
    assert filled(targets.boxes[..., 0], targets.labels) == [[100.0, 101.0, 1.0], [200.0, 1.0, 2.0]]
    assert filled(targets.heat_weight, targets.labels) == [[1.0, 1.0, 0.5], [1.0, 0.5, 0.5]]
    assert filled(targets.box_weight, targets.labels) == [[1.0, 1.0, 0.25], [1.0, 0.25, 0.25]]
    empty = targets.labels < 0
    assert not targets.from_teacher[empty].any()
    assert targets.heat_weight[empty].sum() == targets.box_weight[empty].sum() == 0


def test_reference_order_puts_the_teacher_first():
    _, _, targets = make_targets(teacher_first=True)
    assert filled(targets.labels, targets.labels) == [[0, 2, 1], [1, 2, 0]]
    assert filled(targets.from_teacher, targets.labels) == [
        [True, False, False],
        [True, True, False],
    ]


def test_a_second_teacher_adds_to_the_first():
    _, teacher, once = make_targets()
    twice = add_teacher_boxes(once, teacher)
    assert filled(twice.labels, twice.labels) == [[2, 1, 0, 0], [0, 1, 2, 1, 2]]
    assert twice.from_teacher.sum(dim=1).tolist() == [2, 4]


def test_no_peak_is_higher_than_one():
    _, _, targets = make_targets(heat_weight=3.0)
    assert targets.heat_weight.max() == 1.0


def test_columns():
    truth, teacher, _ = make_targets()
    wide = truth_targets(torch.cat((truth.boxes, truth.boxes[..., :2]), dim=-1), truth.labels)
    with pytest.raises(ConfigError, match=r"9 columns, the teacher's boxes 7"):
        add_teacher_boxes(wide, teacher)
    wider = [Detections(torch.rand(1, 9), torch.ones(1), torch.zeros(1, dtype=torch.int64))] * 2
    added = add_teacher_boxes(truth, select_teacher_boxes(wider, (0.5,) * 3))
    assert torch.equal(added.boxes[0, 2], wider[0].boxes[0, :7])


def slow_targets(boxes, labels, frames, thresholds, *, teacher_first):
    """The paper's list of targets, one object at a time."""
    result = []
    for own_boxes, own_labels, frame in zip(boxes, labels, frames, strict=True):
        own = [
            (box.tolist(), int(label))
            for box, label in zip(own_boxes, own_labels, strict=True)
            if label >= 0
        ]
        added = [
            (box.tolist(), int(label))
            for box, score, label in zip(frame.boxes, frame.scores, frame.labels, strict=True)
            if score > thresholds[label]
        ]
        result.append(added + own if teacher_first else own + added)
    return result


@pytest.mark.parametrize("teacher_first", [False, True])
def test_agrees_with_a_plain_list(teacher_first):
    random = torch.Generator().manual_seed(0)
    frames = []
    for count in (7, 0, 40):
        scores = torch.rand(count, generator=random).sort(descending=True).values
        labels = torch.randint(0, 3, (count,), generator=random)
        frames.append(Detections(torch.rand(count, 7, generator=random), scores, labels))
    boxes = torch.rand(3, 5, 7, generator=random)
    labels = torch.randint(-1, 3, (3, 5), generator=random)
    thresholds = (0.6, 0.5, 0.2)
    targets = add_teacher_boxes(
        truth_targets(boxes, labels),
        select_teacher_boxes(frames, thresholds),
        teacher_first=teacher_first,
    )
    slow = slow_targets(boxes, labels, frames, thresholds, teacher_first=teacher_first)
    assert filled(targets.boxes, targets.labels) == [[box for box, _ in frame] for frame in slow]
    assert filled(targets.labels, targets.labels) == [[one for _, one in frame] for frame in slow]


# What the weights do in the targets and losses of a center head


def crowd(count, label, seed):
    """Boxes all over the grid of 64 m."""
    random = torch.Generator().manual_seed(seed)
    boxes = torch.rand(1, count, 7, generator=random) + 1
    boxes[..., :2] = (torch.rand(1, count, 2, generator=random) - 0.5) * 62
    return boxes, torch.full((1, count), label)


def assign(targets, max_objects=500):
    return assign_center_targets(
        targets.boxes, targets.labels, make_grid(64, half=32.0), 3,
        heat_weight=targets.heat_weight, box_weight=targets.box_weight, max_objects=max_objects,
    )  # fmt: skip


@pytest.mark.parametrize("reference_order", [False, True])
def test_more_than_500_targets(reference_order):
    boxes, labels = crowd(40, 0, seed=0)
    others, other_labels = crowd(490, 1, seed=1)
    frame = Detections(others[0], torch.linspace(0.99, 0.61, 490), other_labels[0])
    joined = add_teacher_boxes(
        truth_targets(boxes, labels),
        select_teacher_boxes([frame], (0.6,) * 3),
        teacher_first=reference_order,
    )
    drawn = assign(joined)
    alone = assign(truth_targets(boxes, labels))
    survivors = (drawn.labels == 0).sum().item()
    assert survivors == (10 if reference_order else 40)
    assert drawn.mask.sum() == 500
    if not reference_order:
        assert torch.equal(drawn.heatmap[:, 0], alone.heatmap[:, 0])
        assert torch.equal(drawn.codes[:, :40], alone.codes)
    else:
        assert (drawn.heatmap[:, 0] == 1).sum() < (alone.heatmap[:, 0] == 1).sum()


def joined_with_one_box(**options):
    """Ground truth in one corner, one teacher box of class 1 with score 0.8 in another."""
    box = torch.tensor([[[-20.5, -20.5, 0.0, 4.0, 2.0, 1.5, 0.0]]])
    other = box[0] * torch.tensor([-1.0, -1, 1, 1, 1, 1, 1])
    frame = Detections(other, torch.tensor([0.8]), torch.tensor([1]))
    chosen = select_teacher_boxes([frame], (0.5,) * 3)
    return add_teacher_boxes(truth_targets(box, torch.tensor([[0]])), chosen, **options)


def test_for_the_heatmap_only():
    targets = assign(joined_with_one_box(box_weight=0.0))
    assert targets.heatmap[0, 1].max() == 1.0
    assert targets.weight.tolist() == [[1.0, 0.0]]


def test_for_the_box_loss_only():
    targets = assign(joined_with_one_box(heat_weight=0.0))
    assert targets.heatmap[0, 1].max() == 0.0
    assert targets.weight.tolist() == [[1.0, 1.0]]


def test_soft_targets_soften_the_negatives_and_make_no_positive():
    hard, soft = (assign(joined_with_one_box(soft=soft)) for soft in (False, True))
    alone = assign(joined_with_one_box(heat_weight=0.0))
    assert soft.heatmap[0, 1].max().item() == pytest.approx(0.8)
    assert torch.allclose(soft.heatmap[:, 1], 0.8 * hard.heatmap[:, 1])
    assert torch.equal(soft.heatmap[:, 0], hard.heatmap[:, 0])
    assert (soft.heatmap >= 1).sum() == 1
    assert (hard.heatmap >= 1).sum() == 2
    logits = torch.randn(soft.heatmap.shape, generator=torch.Generator().manual_seed(0))
    # -log(1 - p) p^2 (1 - h G)^4 in place of -log(1 - p) p^2, over one positive
    p = logits.sigmoid()[:, 1]
    softened = (-(1 - p).log() * p**2 * (1 - (1 - 0.8 * hard.heatmap[:, 1]) ** 4)).sum()
    difference = center_focal_loss(logits, alone.heatmap) - center_focal_loss(logits, soft.heatmap)
    assert difference.item() == pytest.approx(softened.item(), rel=1e-3)


def test_all_slots_count_in_the_box_loss_even_two_in_one_cell():
    box = torch.tensor([[[0.5, 0.5, 0.0, 4.0, 2.0, 1.5, 0.0]]])
    frame = Detections(box[0] + 0.25, torch.tensor([0.9]), torch.tensor([0]))
    chosen = select_teacher_boxes([frame], (0.5,) * 3)
    joined = add_teacher_boxes(truth_targets(box, torch.tensor([[0]])), chosen, teacher_first=True)
    targets = assign(joined)
    assert targets.indices[0, 0] == targets.indices[0, 1]
    flat = torch.zeros(1, 8, 64, 64)
    maps = HeadMaps(torch.zeros(1, 3, 64, 64), *flat.split((2, 1, 3, 2), dim=1), targets.grid)
    assert center_box_loss(maps, targets).item() == pytest.approx(
        targets.codes.abs().sum().item() / 2, rel=1e-6
    )


# The objective


def make_context(batch, **changes):
    teacher = Teacher(make_detector(1))
    return StepContext(
        batch, teacher, teacher.teach(batch), BatchView(), **{"classes": CLASSES, **changes}
    )


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


def test_other_objectives_see_the_ground_truth():
    batch = make_batch()
    plain, amended = make_context(batch), make_context(batch)
    LabelKD(0.0).amend(amended, batch)
    assert amended.targets.from_teacher.any()
    assert torch.equal(amended.boxes, plain.boxes)
    assert torch.equal(amended.labels, plain.labels)
    heat = [context.teacher_targets.heatmap for context in (plain, amended)]
    assert torch.equal(*heat)
    weights = [
        pivot_weights(probability(context.outputs.maps.heatmap), context.teacher_targets.heatmap)
        for context in (plain, amended)
    ]
    assert torch.equal(*weights)
    outputs = amended.teacher.teach(batch)
    terms = [PivotalLogitKD()(outputs, outputs, context) for context in (plain, amended)]
    assert torch.equal(*terms)


def test_metrics_see_the_ground_truth():
    batch = make_batch()
    amended = LabelKD(0.0).amend(make_context(batch), batch)
    for before, after in zip(batch.ground_truth(), amended.ground_truth(), strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


class Watching(PivotalLogitKD):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, student, teacher, context):
        self.seen.append((context.boxes, context.teacher_targets.heatmap))
        return super().forward(student, teacher, context)


@pytest.mark.parametrize("label_first", [True, False])
def test_a_step_of_training(label_first):
    watching, label = Watching(), LabelKD(0.0)
    objectives = {"label": label, "logit": watching} if label_first else [watching, label]
    module = TinyModule(make_detector(0))
    callback = KDCallback(make_detector(1), objectives, teacher_check_frames=0)
    make_trainer(callback).fit(module, make_loader(4))
    batch = make_batch()
    assert torch.equal(watching.seen[0][0], batch.boxes)
    truth = make_detector(1).assign_targets(batch.boxes, batch.labels)
    assert torch.equal(watching.seen[0][1], truth.heatmap)
    assert all(targets.from_teacher.any() for targets in module.seen_targets)


def test_a_batch_that_is_a_mapping_is_given_targets_by_its_view():
    batch = make_batch()
    mapping = {"boxes": batch.boxes, "labels": batch.labels, "points": batch}
    view = BatchView(with_targets=lambda batch, targets: {**batch, "wanted": targets})
    context = make_context(batch)
    context.batch, context.batch_view = mapping, view
    amended = LabelKD(0.0).amend(context, mapping)
    assert isinstance(amended["wanted"], TargetBoxes)
    assert "wanted" not in mapping
    first = amended["wanted"].from_teacher.sum()
    twice = LabelKD(0.0, duplicates="keep").amend(context, amended)
    assert twice["wanted"].from_teacher.sum() == 2 * first > 0


def test_duplicates_of_the_ground_truth_are_dropped():
    batch = make_batch()
    exact = [
        Detections(boxes, torch.full((len(boxes),), 0.9), labels)
        for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
    ]
    options = {"keep": {}, "cell": {"student_grid": make_grid(16)}, "iou": {}}
    kept = {}
    for rule, changes in options.items():
        context = make_context(batch, **changes)
        context.__dict__["teacher_boxes"] = exact
        LabelKD(0.5, duplicates=rule).amend(context, batch)
        kept[rule] = context.observed["teacher_boxes"].item()
    assert kept == {"keep": 3.0, "cell": 0.0, "iou": 0.0}


def recorded(batch, scores=(0.9, 0.55, 0.2)):
    """Predictions for every frame of a batch: its boxes, 4 m further along x."""
    shift = torch.tensor([4.0, 0, 0, 0, 0, 0, 0])
    return {
        name: Detections(boxes + shift, torch.tensor(scores), labels)
        for name, boxes, labels in zip(batch.frame_ids, batch.boxes, batch.labels, strict=True)
    }


def without_teacher(batch, **changes):
    return StepContext(batch, None, None, BatchView(), **{"classes": CLASSES, **changes})


@pytest.mark.parametrize("opened", [True, False])
def test_boxes_from_files(opened):
    batch = make_batch()
    boxes = recorded(batch)
    label = LabelKD(0.5, predictions=PredictedBoxes(boxes, CLASSES) if opened else boxes)
    assert not label.needs_teacher
    assert not label.teacher_methods
    context = without_teacher(batch)
    amended = label.amend(context, batch)
    added = amended.targets.boxes[amended.targets.from_teacher]
    assert torch.equal(added, torch.cat([boxes[name].boxes[:2] for name in batch.frame_ids]))
    assert context.observed["teacher_boxes"].item() == 2.0


def test_boxes_from_files_move_with_the_scene_and_stay_on_the_grid():
    batch = make_batch()
    world = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0])).expand(2, 4, 4)
    view = BatchView(world=lambda batch: world)
    context = without_teacher(batch, student_grid=make_grid(16))
    context.batch_view = view
    boxes = recorded(batch)
    LabelKD(0.5, predictions=boxes).amend(context, batch)
    added = context.targets.boxes[context.targets.from_teacher]
    moved = torch.cat([boxes[name].boxes[:2, :2] for name in batch.frame_ids])
    moved[:, 0] *= -1
    on_grid = (moved.abs() < 8).all(dim=1)
    assert 0 < on_grid.sum() < len(moved)
    assert torch.allclose(added[:, :2], moved[on_grid])


def test_training_without_a_teacher():
    module = TinyModule(make_detector(0))
    batches = list(make_loader(4))
    boxes = recorded(batches[0]) | recorded(batches[1])
    callback = KDCallback(None, [LabelKD(0.5, predictions=boxes)], teacher_check_frames=0)
    make_trainer(callback).fit(module, make_loader(4))
    assert [targets.from_teacher.sum().item() for targets in module.seen_targets] == [4, 4]


def test_predictions_of_other_classes():
    batch = make_batch()
    label = LabelKD(0.5, predictions=PredictedBoxes(recorded(batch), CLASSES[::-1]))
    with pytest.raises(TeacherError, match=r"\['Cyclist', .* are not the student's \['Vehicle'"):
        label.amend(without_teacher(batch), batch)
    label = LabelKD(0.5, predictions={"another": recorded(batch)["0"]})
    with pytest.raises(TeacherError, match="frame"):
        label.amend(without_teacher(batch), batch)


def test_max_boxes_counts_no_duplicates():
    batch = make_batch()
    boxes = torch.cat((batch.boxes[0, :1], batch.boxes[0, :1] + 0.01, batch.boxes[0, :2] + 5.0))
    frame = Detections(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.zeros(4, dtype=torch.int64))
    context = make_context(batch)
    context.__dict__["teacher_boxes"] = [frame, found([], [])]
    LabelKD(0.5, duplicates="iou", max_boxes=1).amend(context, batch)
    added = context.targets.boxes[context.targets.from_teacher]
    assert torch.equal(added, boxes[2:3])


def test_the_grid_of_the_cells_must_be_known():
    batch = make_batch()
    objective = LabelKD(0.0, duplicates="cell")
    with pytest.raises(ConfigError, match=r"those of the student's grid, which is not known"):
        objective.amend(make_context(batch), batch)
    counts = []
    for cells in (4, 64):
        context = make_context(batch)
        LabelKD(0.0, duplicates="cell", grid=make_grid(cells)).amend(context, batch)
        counts.append(context.observed["teacher_boxes"].item())
    assert 0 < counts[0] < counts[1]


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_boxes": 0}, "at least one box"),
        ({"weight": -1.0}, "cannot be negative"),
        ({"thresholds": [0.5, -0.1]}, r"thresholds: -0\.1 is no score"),
        ({"thresholds": {"Vehicle": 60}}, r"60\.0 is no score"),
        ({"heat_weight": -0.5}, r"heat_weight: -0\.5 is no weight"),
        ({"box_weight": float("nan")}, "box_weight: nan is no weight"),
        ({"heat_weight": 0.0, "box_weight": 0.0}, "teach nothing"),
        ({"duplicates": "drop"}, r"'drop' is not one of \['keep', 'cell', 'iou'\]"),
        ({"duplicates": "iou", "duplicate_overlap": 1.5}, r"1\.5 is no overlap"),
        ({"reference_order": True, "soft_targets": True}, "neither soft targets nor"),
        ({"reference_order": True, "duplicates": "cell"}, "neither soft targets nor"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        LabelKD(**options)


def test_a_batch_that_cannot_be_given_targets():
    batch = make_batch()
    context = make_context(batch)
    with pytest.raises(ConfigError, match="cannot be given other targets"):
        LabelKD(0.5).amend(context, {"points": batch.points})
