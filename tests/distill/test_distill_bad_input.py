"""What goes wrong in practice: one clear error, or a defined result, in a whole fit.

Where it can be known before the first step, nothing has been learned when the error comes.
"""

import pytest
import torch
from distill_fakes import (
    CLASSES,
    FeatureKD,
    Scenes,
    TinyDetector,
    TinyModule,
    collate,
    make_detector,
    make_loader,
    make_trainer,
)
from torch import nn
from torch.utils.data import DataLoader

from kd3d.distill import KDCallback, LabelKD, PivotalLogitKD, RegressionKD, View
from kd3d.errors import ConfigError, InputError, Kd3dError, TapError, TeacherError
from kd3d.structures import Detections, HeadMaps

pytestmark = pytest.mark.filterwarnings("ignore")


def make_callback(teacher=None, objectives=None, **options):
    teacher = teacher if teacher is not None else make_detector(1, cells=32)
    objectives = objectives if objectives is not None else [PivotalLogitKD(5.0)]
    return KDCallback(teacher, objectives, **{"teacher_check_frames": 0, **options})


class Counting(TinyModule):
    """Counts its steps."""

    steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx)


def refuse(kind, match, callback, *, steps, module=None, loader=None):
    """Check that a fit is refused after so many forward passes of the student, and harmlessly."""
    module = module if module is not None else Counting(make_detector(0))
    before = [value.clone() for value in module.parameters()]
    with pytest.raises(kind, match=match) as caught:
        make_trainer(callback).fit(module, loader if loader is not None else make_loader(4))
    assert isinstance(caught.value, Kd3dError)
    assert caught.value.hint
    assert module.steps == steps
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert "training_step" not in vars(module)
    for network in (module, callback._source):
        if isinstance(network, nn.Module):
            assert not any(child._forward_hooks for child in network.modules())


class Tapping(FeatureKD):
    """Reads other paths, and has no adapters."""

    def __init__(self, student="body", teacher="body"):
        super().__init__()
        self.student_taps, self.teacher_taps = (student,), (teacher,)

    def build_adapters(self, channels):
        return {}

    def forward(self, student, teacher, context):
        mine = student.taps[self.student_taps[0]]
        return (mine - teacher.taps[self.teacher_taps[0]]).square().mean()


def test_a_wrong_tap():
    same = make_detector(1)
    refuse(
        TapError, r"bodi: the student .* Nearest: 'body'",
        make_callback(same, [Tapping(student="bodi")]), steps=0,
    )  # fmt: skip
    refuse(
        TapError, r"head\.heatmap\.1: the teacher .* 'head\.heatmap'",
        make_callback(same, [Tapping(teacher="head.heatmap.1")]), steps=0,
    )  # fmt: skip
    refuse(
        TapError, r"student_path='detecto': .* has 'detector'",
        make_callback(same, student_path="detecto"), steps=0,
    )  # fmt: skip


class Bypassed(TinyDetector):
    """Has a module that its forward goes around."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Conv2d(1, 4, 3)

    def forward(self, batch):
        self.body[0].forward(self.count_points(batch))
        return super().forward(batch)


def test_a_tap_that_does_not_fire():
    refuse(
        TapError, r"spare: the teacher's Conv2d did not run.*Nearest that did run: '",
        make_callback(Bypassed(), [Tapping(teacher="spare")]), steps=0,
    )  # fmt: skip
    refuse(
        TapError, r"spare: the student's Conv2d did not run.*Nearest that did run: '",
        make_callback(make_detector(1), [Tapping(student="spare")]), steps=1,
        module=Counting(Bypassed()),
    )  # fmt: skip


class Overwriting(TinyDetector):
    def __init__(self):
        super().__init__()
        self.body[2] = nn.ReLU(inplace=True)


def test_a_tap_that_is_overwritten():
    match = r"BatchNorm2d gave, \[2, 4, 16, 16\] float32, was overwritten .* 'body\.2', a ReLU"
    refuse(TapError, match, make_callback(Overwriting(), [Tapping(teacher="body.1")]), steps=0)
    refuse(
        TapError, match, make_callback(make_detector(1), [Tapping(student="body.1")]), steps=1,
        module=Counting(Overwriting()),
    )  # fmt: skip


def test_shapes_that_cannot_be_aligned():
    refuse(
        InputError,
        r"objectives.feature: the student's 'detector.body' \[2, 4, 16, 16\] does not go with the "
        r"teacher's 'body' \[2, 4, 32, 32\] \(.*size of tensor.*sample_at_centers",
        make_callback(objectives=[Tapping()]), steps=1,
    )  # fmt: skip
    refuse(
        InputError, r"'body' \[2, 6, 16, 16\].*build_adapters",
        make_callback(make_detector(1, channels=6), [Tapping()]), steps=1,
    )  # fmt: skip


def test_maps_that_do_not_lie_on_their_grid():
    def read(network, captured):
        maps = captured[""]
        parts = (maps.heatmap[..., :-1], maps.center, maps.center_z, maps.dim, maps.rot)
        return HeadMaps(*parts, maps.grid)

    refuse(
        ConfigError, r"heatmap is \[2, 3, 32, 31\], but 3 classes on a grid of 32 rows",
        make_callback(teacher_view=View(read)), steps=0,
    )  # fmt: skip


@pytest.mark.parametrize("classes", [CLASSES[::-1], CLASSES[:2], (*CLASSES, "Sign")])
def test_other_classes(classes):
    match = r"teacher's classes \[.*\] are not the student's \['Vehicle', 'Pedestrian', 'Cyclist'\]"
    refuse(TeacherError, match, make_callback(make_detector(1, classes=classes)), steps=0)


class Elsewhere(TinyDetector):
    """Looks at another place."""

    def __init__(self, shift):
        super().__init__()
        grid = self.grid
        self.grid = type(grid)(grid.x_min + shift, grid.y_min, 1.0, 1.0, 16, 16)


@pytest.mark.parametrize("objective", [PivotalLogitKD(), RegressionKD(), LabelKD()])
def test_a_teacher_of_another_range(objective):
    match = r"point_cloud_range: the teacher sees x 8 to 24 m, .* student x -8 to 8 m.*overlap"
    refuse(TeacherError, match, make_callback(Elsewhere(16.0), [objective]), steps=0)


def test_a_teacher_that_sees_a_part():
    callback = make_callback(Elsewhere(8.0), [PivotalLogitKD(5.0), RegressionKD()])
    module = Counting(make_detector(0))
    trainer = make_trainer(callback)
    with pytest.warns(UserWarning, match=r"50 % of the teacher's cells lie outside"):
        trainer.fit(module, make_loader(4))
    assert "x 0 to 8 m, y -8 to 8 m; it holds 50 % of the teacher's cells" in callback.summary()
    assert trainer.callback_metrics["kd/total"].isfinite()


class Watched(Counting):
    """Keeps the gradients of its steps."""

    def __init__(self, detector):
        super().__init__(detector)
        self.gradients = []

    def on_after_backward(self):
        self.gradients.append([value.grad.clone() for value in self.parameters()])


def steps_of(callbacks, loader):
    module = Watched(make_detector(0))
    trainer = make_trainer(*callbacks)
    trainer.fit(module, loader)
    return module, trainer.callback_metrics


NO_PIVOT = {
    "gaussian": (PivotalLogitKD(5.0), 0),
    "gaussian, pooled": (PivotalLogitKD(5.0, alignment="pool"), 0),
    "confidence": (PivotalLogitKD(5.0, pivots="confidence", threshold=0.9999), 3),
    "regression": (RegressionKD(0.5), 0),
    "labels": (LabelKD(0.9999), 3),
}


@pytest.mark.usefixtures("one_thread")  # with several, a step is not the same twice
@pytest.mark.parametrize("name", NO_PIVOT)
def test_no_pivot_in_a_batch(name):
    """It adds zero, and gradients are those of the plain step."""
    objective, objects = NO_PIVOT[name]
    loader = make_loader(4, objects=objects)
    plain, _ = steps_of([], loader)
    module, logged = steps_of([make_callback(objectives=[objective])], loader)
    if objective.has_loss:
        assert logged["kd/total"] == 0
    assert module.losses == plain.losses
    for mine, theirs in zip(module.gradients, plain.gradients, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
        assert all(value.isfinite().all() for value in mine)


class SomeEmpty(Scenes):
    """Every other frame has no boxes."""

    def __getitem__(self, index):
        frame = super().__getitem__(index)
        if index % 2:
            frame["boxes"], frame["labels"] = frame["boxes"][:0], frame["labels"][:0]
        return frame


def test_a_frame_without_boxes():
    objectives = [PivotalLogitKD(5.0), RegressionKD(0.5), LabelKD(0.4, duplicates="iou")]
    loader = DataLoader(SomeEmpty(4), batch_size=2, collate_fn=collate)
    module, logged = steps_of([make_callback(objectives=objectives)], loader)
    assert logged["kd/logit"] > 0
    assert logged["kd/regression"] > 0
    assert all(value.isfinite().all() for step in module.gradients for value in step)
    targets = module.seen_targets[0]
    assert (targets.labels[1] >= 0).any()  # the empty frame has the teacher's boxes
    assert not (targets.heat_weight[1] > 0).logical_and(~targets.from_teacher[1]).any()


@pytest.mark.parametrize(("part", "where"), [("heatmap", "heatmap"), ("box", "center")])
def test_a_teacher_that_gives_nan(part, where):
    teacher = make_detector(1)
    with torch.no_grad():
        teacher.head[part].bias[0] = float("nan")
    refuse(TeacherError, rf"{where}: the teacher gives NaN.*checkpoint", make_callback(teacher),
           steps=0)  # fmt: skip


class Skips(Watched):
    """Returns None in every other step."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 2 == 0 else loss


def test_a_step_that_returns_none():
    module, callback = Skips(make_detector(0)), make_callback()
    trainer = make_trainer(callback)
    trainer.fit(module, make_loader(8))
    assert module.steps == 4
    assert len(module.losses) == len(module.gradients) == 2
    assert trainer.callback_metrics["kd/logit"] > 0
    assert "heatmap [2, 3, 16, 16]" in callback.summary()  # of the first step with a loss


class Named(Scenes):
    """Frames that tell their names, before any is read."""

    @property
    def frame_ids(self):
        return [f"training/{index}" for index in range(self.frames)]


def named_collate(split):
    def join(frames):
        batch = collate(frames)
        names = tuple(f"{split}/{index}" for index in range(len(frames)))
        object.__setattr__(batch, "frame_ids", names)
        return batch

    return join


def predictions_of(split, frames=8):
    box = Detections(torch.ones(1, 7), torch.ones(1), torch.zeros(1, dtype=torch.int64))
    return {f"{split}/{index}": box for index in range(frames)}


@pytest.mark.parametrize("dataset", [Named(8), Scenes(8)])
def test_a_teacher_file_of_another_split(dataset):
    """An error before the first step, or in it before the student runs; and with counts."""
    loader = DataLoader(dataset, batch_size=2, collate_fn=named_collate("training"))
    objective = LabelKD(0.4, predictions=predictions_of("validation"))
    asked = 8 if isinstance(dataset, Named) else 2
    refuse(
        TeacherError,
        rf"none of the {asked} frames asked for is among its 8 frames.*another split\? .*"
        r"'training/0', it has 'validation/0'",
        KDCallback(None, [objective]), steps=0, loader=loader,
    )  # fmt: skip


def test_a_teacher_file_of_this_split():
    loader = DataLoader(Named(8), batch_size=2, collate_fn=named_collate("training"))
    callback = KDCallback(None, [LabelKD(0.4, predictions=predictions_of("training"))])
    module, logged = steps_of([callback], loader)
    assert module.steps == 4
    assert logged["kd/teacher_boxes"] == 1
