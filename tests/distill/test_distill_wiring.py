"""The table of what is connected to what, and what is checked with it."""

from itertools import pairwise

import pytest
import torch
from distill_fakes import (
    FeatureKD,
    TinyDetector,
    TinyModule,
    make_detector,
    make_grid,
    make_loader,
    make_trainer,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kd3d.distill import KDCallback, LabelKD, Objective, PivotalLogitKD, RegressionKD, View
from kd3d.distill.connections import Connection, Wiring, table_width
from kd3d.distill.functional import sample_at_centers
from kd3d.distill.ranges import share_range
from kd3d.errors import InputError, TapError, TeacherError
from kd3d.geometry import BEVGrid
from kd3d.structures import ClassMaps, Detections, HeadMaps

pytestmark = pytest.mark.filterwarnings("ignore")


def make_callback(teacher=None, objectives=None, **options):
    teacher = teacher if teacher is not None else make_detector(1, cells=32)
    objectives = objectives if objectives is not None else [PivotalLogitKD(5.0)]
    return KDCallback(teacher, objectives, **{"teacher_check_frames": 0, **options})


def fit(callback, module=None, steps=2, **options):
    module = module if module is not None else TinyModule(make_detector(0))
    make_trainer(callback, max_steps=steps, **options).fit(module, make_loader(2 * steps))
    return module


def columns(text):
    """Give the four cells of every row of the table, each in one line."""
    head, _, *lines = text.splitlines()[1:]
    starts = [head.index(name) for name in ("objective", "student", "teacher", "how")]
    rows = [[]]
    for line in lines:
        if line.startswith(("Shared range", "Classes")):
            break
        if line:
            rows[-1].append(line)
        else:
            rows.append([])
    spans = list(pairwise([*starts, 200]))
    return [
        [" ".join(line[start:stop].strip() for line in row).strip() for start, stop in spans]
        for row in rows
    ]


def test_the_table_is_printed_once_and_kept(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    callback = make_callback()
    assert callback.summary().count("\n") == 0
    assert "Nothing is connected yet" in callback.summary()
    fit(callback, steps=3)
    printed = capsys.readouterr().out
    assert printed.count("What distillation connects") == 1
    assert callback.summary() in printed
    assert columns(callback.summary()) == [
        [
            "logit PivotalLogitKD weight 5",
            "detector: TinyDetector heatmap [2, 3, 16, 16] float32 cells of 1 x 1 m",
            "TinyDetector heatmap [2, 3, 32, 32] float32 cells of 0.5 x 0.5 m",
            "pivot: student sampled at the teacher's cells; pivots: gaussian "
            "1 cell = 2 x 2 of the teacher's",
        ]
    ]
    assert (
        "Shared range: x -8 to 8 m, y -8 to 8 m; it holds 100 % of the teacher's cells and 100 % "
        "of the student's." in callback.summary()
    )
    assert "Classes: Vehicle, Pedestrian, Cyclist." in callback.summary()
    assert "runs in mode 'eval'" in callback.summary()
    assert "Warning" not in callback.summary()


class SameShape(FeatureKD):
    def forward(self, student, teacher, context):
        mine = self.adapters["project"](student.taps["body"].float())
        theirs = nn.functional.avg_pool2d(teacher.taps["body"].float(), 2)
        return self.weight * (mine - theirs).square().mean()


def test_every_kind_of_objective_is_told():
    callback = make_callback(
        make_detector(1, cells=32, channels=6),
        {
            "stretched": PivotalLogitKD(alignment="resize", pivots="all"),
            "pooled": PivotalLogitKD(alignment="pool"),
            "boxes": RegressionKD(0.0),
            "decoded": LabelKD(0.4),
            "body": SameShape(0.5),
        },
        teacher_mode="batch_stats",
    )
    fit(callback)
    rows = {row[0].split()[0]: row for row in columns(callback.summary())}
    assert "resize: student's map stretched" in rows["stretched"][3]
    assert "pivots: all" in rows["stretched"][3]
    assert "pool: finer map averaged" in rows["pooled"][3]
    assert rows["boxes"][0] == "boxes RegressionKD off (weight 0)"
    assert "center_z [2, 1, 16, 16]" in rows["boxes"][1]
    assert "in metres" in rows["boxes"][3]
    assert rows["decoded"][2] == "TinyDetector decode()"
    assert "that score more than 0.4 join" in rows["decoded"][3]
    assert rows["body"][1].startswith("detector.body: Sequential [2, 4, 16, 16] float32 cells of 1")
    assert rows["body"][2].startswith("body: Sequential [2, 6, 32, 32] float32 cells of 0.5 x")
    assert "compared by its forward()" in rows["body"][3]
    assert "adapter 'project': Sequential, 4 to 6 channels" in rows["body"][3]
    assert "mode 'batch_stats'" in callback.summary()


def test_precision_is_told():
    callback = make_callback()
    fit(callback, precision="bf16-mixed")
    assert "[2, 3, 16, 16] bfloat16" in callback.summary()


def test_a_file_as_the_teacher():
    found = {"a": Detections(torch.ones(1, 7), torch.ones(1), torch.zeros(1, dtype=torch.int64))}
    callback = KDCallback(None, [LabelKD(predictions=found)])
    module = TinyModule(make_detector(0))
    loader = make_loader(2)
    collate = loader.collate_fn

    def named(frames):
        batch = collate(frames)
        object.__setattr__(batch, "frame_ids", ("a", "a"))
        return batch

    loader.collate_fn = named
    make_trainer(callback, max_steps=1).fit(module, loader)
    (row,) = columns(callback.summary())
    assert row[1:3] == ["the targets that its training step gets", "no network"]
    assert "boxes of PredictedBoxes" in row[3]
    assert "Shared range" not in callback.summary()


def test_views_are_told_by_their_taps():
    view = View(
        lambda network, captured: ClassMaps(captured["head.heatmap"], network.grid),
        taps=("head.heatmap",),
    )
    callback = make_callback(make_detector(1), teacher_view=view, student_view=view)
    fit(callback)
    (row,) = columns(callback.summary())
    assert row[1].startswith("detector.head.heatmap: Conv2d [2, 3, 16, 16] float32 cells of 1 x 1")


def test_an_objective_that_is_switched_on_later_is_told_then(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    callback = make_callback(objectives=[PivotalLogitKD(0.0), LabelKD(0.4)])
    module = TinyModule(make_detector(0))
    module.on_train_epoch_start = lambda: setattr(
        callback.objectives["logit"], "weight", float(module.current_epoch)
    )
    make_trainer(callback, max_epochs=3).fit(module, make_loader(4))
    first, second = capsys.readouterr().out.split("What distillation connects")[1:]
    assert "off (weight 0)" in first
    assert "(not read now)" in first
    assert "weight 1" in second
    assert second.strip().splitlines()[-1] in callback.summary()


def test_a_narrow_terminal(monkeypatch):
    lines = ("a word or two that are long enough to be broken into lines somewhere",)
    wiring = Wiring((Connection(("name",), lines, lines, lines),), ("A fact.",))
    for width in (72, 116):
        assert max(map(len, wiring.text(width).splitlines())) <= width
    assert str(wiring) == wiring.text(116)
    for columns_of_terminal, width in ((20, 72), (100, 100), (300, 116)):
        monkeypatch.setenv("COLUMNS", str(columns_of_terminal))
        assert table_width() == width


@st.composite
def grids(draw):
    """Grids on whole eighths of a metre, for which float32 is exact."""
    x, y = draw(st.integers(-400, 400)) / 8, draw(st.integers(-400, 400)) / 8
    cell_x, cell_y = draw(st.integers(1, 24)) / 8, draw(st.integers(1, 24)) / 8
    return BEVGrid(x, y, cell_x, cell_y, draw(st.integers(1, 40)), draw(st.integers(1, 40)))


@given(grids(), grids())
def test_shares_equal_those_of_the_losses(student, teacher):
    expected = student.contains(teacher.centers()).double().mean().item()
    if not expected:
        with pytest.raises(TeacherError, match="share nothing that could be compared"):
            share_range(student, teacher)
        return
    shared = share_range(student, teacher)
    _, inside = sample_at_centers(torch.zeros(1, 1, *student.shape), student, teacher)
    assert shared.teacher_share == pytest.approx(expected)
    assert shared.teacher_share == pytest.approx(inside.double().mean().item())
    other = teacher.contains(student.centers()).double().mean().item()
    assert shared.student_share == pytest.approx(other)
    assert shared.x[0] == max(student.x_min, teacher.x_min)
    assert shared.cells == (student.cell_x / teacher.cell_x, student.cell_y / teacher.cell_y)


def test_shares_by_hand():
    student, teacher = make_grid(16, half=8.0), make_grid(40, half=10.0)
    shared = share_range(student, teacher)
    assert shared.teacher_share == pytest.approx((32 / 40) ** 2)
    assert shared.student_share == 1.0
    assert shared.x == shared.y == (-8.0, 8.0)
    assert shared.shift == 2.0
    assert shared.ratio == "1 cell = 2 x 2 of the teacher's"
    assert "36 % of the teacher's cells lie outside the student's range" in shared.warning
    assert "not taught" in share_range(teacher, student).warning


@pytest.mark.parametrize(("half", "warns"), [(8.0, False), (8.1, False), (9.0, True)])
def test_much_of_another_range_is_a_warning_and_in_the_table(half, warns):
    callback = make_callback(make_detector(1, cells=90, half=half))
    with pytest.WarningsRecorder(_ispytest=True) as caught:
        fit(callback)
    told = [str(one.message) for one in caught if "do not count" in str(one.message)]
    assert len(told) == warns
    assert ("Warning: " in callback.summary()) == warns
    assert ("100 % of the teacher's cells" in callback.summary()) == (half == 8.0)


def test_stretching_other_ranges_is_a_warning():
    callback = make_callback(
        make_detector(1, cells=16, half=8.1), [PivotalLogitKD(alignment="resize")]
    )
    with pytest.warns(UserWarning, match=r"borders are up to 0\.1 m apart; alignment='pivot'"):
        fit(callback)


class Unknown(TinyDetector):
    """Does not tell its grid before it runs."""

    def __init__(self, half):
        super().__init__(half=half)
        self.hidden = self.grid
        self.origin = half

    def forward(self, batch):
        maps = super().forward(batch)
        shifted = BEVGrid(self.origin, self.origin, 1.0, 1.0, 16, 16)
        return HeadMaps(maps.heatmap, maps.center, maps.center_z, maps.dim, maps.rot, shifted)


def test_ranges_that_only_the_first_step_shows():
    callback = make_callback(Unknown(8.0))
    module = TinyModule(make_detector(0))
    before = [value.clone() for value in module.parameters()]
    with pytest.raises(TeacherError, match=r"x 8 to 24 m.*the student x -8 to 8 m.*share nothing"):
        fit(callback, module)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


class Many(TinyDetector):
    def forward(self, batch):
        maps = super().forward(batch)
        parts = (maps.heatmap, maps.center, maps.center_z, maps.dim, maps.rot)
        return HeadMaps(*(torch.cat((part, part)) for part in parts), maps.grid)


@pytest.mark.parametrize("objective", [PivotalLogitKD(pivots="all"), RegressionKD()])
def test_other_frames(objective):
    with pytest.raises(InputError, match=r"\[2, 3, 16, 16\] .* 2 frames, .* \[4, 3, 16, 16\]"):
        fit(make_callback(Many(), [objective]))


class Odd(Objective):
    def __init__(self, gives):
        super().__init__()
        self.gives = gives

    def forward(self, student, teacher, context):
        return self.gives(student.maps.heatmap)


def test_terms_that_are_no_scalars():
    with pytest.raises(InputError, match=r"gave \[2\] float32, not a scalar"):
        fit(make_callback(objectives=[Odd(lambda heat: heat.mean(dim=(1, 2, 3)))]))
    with pytest.raises(InputError, match="gave float, not a scalar"):
        fit(make_callback(objectives=[Odd(lambda heat: 1.0)]))
    with pytest.warns(UserWarning, match=r"objectives.objective: its term has no gradient"):
        fit(make_callback(objectives=[Odd(lambda heat: heat.detach().mean())]))


def test_errors_that_are_not_about_shapes_stay_as_they_are():
    def fails(heat):
        raise RuntimeError("of another kind")

    with pytest.raises(RuntimeError, match="of another kind") as caught:
        fit(make_callback(make_detector(1), [Odd(fails)]))
    assert type(caught.value) is RuntimeError


class Sigmoids(TinyDetector):
    """Decodes as some do: in place."""

    def decode(self, maps, *, nms=True):
        maps.heatmap.sigmoid_()
        return super().decode(maps, nms=nms)


def test_a_teacher_that_decodes_in_place():
    callback = make_callback(Sigmoids(), [LabelKD(0.4), PivotalLogitKD()])
    with pytest.raises(TapError, match=r"objectives.label: teacher.maps.heatmap \[2, 3, 16, 16\]"):
        fit(callback)


def test_a_view_that_reads_in_place():
    def read(network, captured):
        return ClassMaps(captured["head.heatmap"].sigmoid_(), network.grid)

    view = View(read, taps=("head.heatmap",))
    with pytest.raises(TapError, match=r"teacher_view.read: head.heatmap .* in place"):
        fit(make_callback(make_detector(1), teacher_view=view))


def test_an_objective_that_computes_in_place():
    callback = make_callback(objectives=[Odd(lambda heat: heat.mul_(2).mean())])
    with pytest.raises(TapError, match=r"objectives.objective: student.maps.heatmap .* in place"):
        fit(callback)


class InPlaceLoss(TinyModule):
    """A training step that applies the sigmoid to the logits in place."""

    def training_step(self, batch, batch_idx):
        return self.detector(batch).heatmap.sigmoid_().mean()


def test_a_training_step_that_overwrites_the_logits():
    module = InPlaceLoss(make_detector(0))
    with pytest.raises(TapError, match=r"'heatmap' of what .* outside its modules, after the net"):
        fit(make_callback(), module)
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_the_second_step_is_not_watched_module_by_module():
    module = TinyModule(make_detector(0))
    seen = []
    convolution = module.detector.body[0]
    convolution.register_forward_hook(lambda *_: seen.append(len(convolution._forward_hooks) - 1))
    fit(make_callback(), module, steps=3)
    assert seen == [1, 0, 0]
