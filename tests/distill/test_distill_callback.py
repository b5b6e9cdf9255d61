"""What a distilled run computes."""

import copy

import pytest
import torch
from distill_fakes import (
    TinyModule,
    constant_score,
    detection_loss,
    make_batch,
    make_detector,
    make_loader,
    make_trainer,
)

from kd3d.detectors import create_detector, save_detector
from kd3d.distill import KDCallback, LabelKD, Objective, PivotalLogitKD, RegressionKD, View
from kd3d.distill.functional import pivotal_logit_loss, regression_kd_loss
from kd3d.structures import HeadMaps
from kd3d.training import DetectorModule

pytestmark = pytest.mark.filterwarnings("ignore")


def make_objectives(logit=5.0, regression=0.5, label=0.0):
    return {
        "logit": PivotalLogitKD(logit),
        "regression": RegressionKD(regression),
        "label": LabelKD(0.3, weight=label),
    }


def make_callback(teacher=None, objectives=None, **options):
    teacher = teacher if teacher is not None else make_detector(1, cells=32)
    settings = {"teacher_check_frames": 0, **options}
    return KDCallback(teacher, objectives or make_objectives(), **settings)


def kd_by_hand(student, teacher, batch, logit=5.0, regression=0.5):
    """The two losses, written out with the functional core."""
    with torch.no_grad():
        theirs = teacher.eval()(batch)
    mine = student(batch)
    targets = teacher.assign_targets(batch.boxes, batch.labels)
    grids = {"student_grid": student.grid, "teacher_grid": teacher.grid}
    first = pivotal_logit_loss(mine.heatmap, theirs.heatmap, targets.heatmap, **grids)
    second = regression_kd_loss(mine, theirs, batch.boxes, batch.labels)
    own = detection_loss(mine, student.assign_targets(batch.boxes, batch.labels))
    return own, logit * first, regression * second


def test_loss_and_logs_of_a_step():
    student, teacher = make_detector(0), make_detector(1, cells=32)
    module = TinyModule(copy.deepcopy(student))
    trainer = make_trainer(make_callback(teacher), max_steps=1)
    trainer.fit(module, make_loader())
    own, logit, regression = kd_by_hand(student, teacher, make_batch())
    logged = trainer.callback_metrics
    assert logged["kd/logit"].item() == pytest.approx(logit.item(), rel=1e-6)
    assert logged["kd/regression"].item() == pytest.approx(regression.item(), rel=1e-6)
    assert logged["kd/total"].item() == pytest.approx((logit + regression).item(), rel=1e-6)
    assert module.losses == [pytest.approx((own + logit + regression).item(), rel=1e-6)]
    assert logit > 0
    assert regression > 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_equal_a_loop_by_hand(accumulate):
    student, teacher = make_detector(0), make_detector(1, cells=32)
    module = TinyModule(copy.deepcopy(student))
    trainer = make_trainer(make_callback(teacher), accumulate_grad_batches=accumulate)
    trainer.fit(module, make_loader(8))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    for index, batch in enumerate(make_loader(8)):
        (sum(kd_by_hand(student, teacher, batch)) / accumulate).backward()
        if (index + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
    for mine, theirs in zip(module.detector.parameters(), student.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def pillars(seed, cell=0.64):
    torch.manual_seed(seed)
    return create_detector(
        "cp_pillar_v064",
        cell_size=(cell, cell),
        point_cloud_range=(-10.24, -10.24, -2.0, 10.24, 10.24, 4.0),
        width={"encoder": 0.125, "backbone_2d": 0.125, "head": 0.125},
        depth=(0, 0, 0),
        score_threshold=0.5,
    )


@pytest.mark.parametrize("teacher_mode", ["eval", "batch_stats", "train"])
def test_zero_weights_equal_the_plain_run_bit_by_bit(tmp_path, teacher_mode):
    save_detector(pillars(1), tmp_path / "teacher.pt")
    results = []
    for distilled in (False, True):
        callbacks = []
        if distilled:
            callbacks = [
                KDCallback(
                    tmp_path / "teacher.pt",
                    make_objectives(0.0, 0.0, 0.0),
                    teacher_mode=teacher_mode,
                    teacher_check_frames=4,
                )
            ]
        torch.manual_seed(5)
        module = TinyModule(make_detector(0, dropout=0.3))
        make_trainer(*callbacks, max_epochs=2).fit(
            module, make_loader(8, shuffle=True), make_loader(4)
        )
        results.append((module.losses, module.state_dict(), torch.rand(3)))
    (plain_losses, plain, plain_random), (losses, state, random) = results
    assert losses == plain_losses
    assert len(losses) == 8
    assert plain.keys() == state.keys()
    assert all(torch.equal(plain[name], state[name]) for name in plain)
    assert torch.equal(plain_random, random)


def test_a_student_approaches_a_teacher_of_other_make_and_grid(tmp_path):
    teacher = pillars(1)
    save_detector(teacher, tmp_path / "teacher.pt")
    module = TinyModule(make_detector(0))
    callback = make_callback(tmp_path / "teacher.pt", [PivotalLogitKD(1.0, pivots="all")])
    trainer = make_trainer(callback, max_epochs=6)
    trainer.fit(module, make_loader())

    def distance(student):
        return pivotal_logit_loss(
            student(batch).heatmap,
            teacher.eval()(batch).heatmap,
            pivots="all",
            student_grid=student.grid,
            teacher_grid=teacher.grid,
        ).item()

    batch = make_batch()
    assert distance(module.detector) < 0.5 * distance(make_detector(0))


@pytest.mark.parametrize("returns", ["mapping", "none"])
def test_other_returns(returns):
    module = TinyModule(make_detector(0), returns=returns)
    trainer = make_trainer(make_callback(), max_steps=1, max_epochs=1)
    trainer.fit(module, make_loader(2))
    if returns == "none":
        assert module.losses == []
        assert "kd/total" not in trainer.callback_metrics
    else:
        own, *terms = kd_by_hand(make_detector(0), make_detector(1, cells=32), make_batch())
        assert module.losses == [pytest.approx((own + sum(terms)).item(), rel=1e-6)]


@pytest.mark.parametrize("pivots", ["gaussian", "confidence", "rank", "all"])
@pytest.mark.parametrize("teacher_mode", ["eval", "batch_stats"])
def test_frames_without_boxes(pivots, teacher_mode):
    module = TinyModule(make_detector(0))
    objectives = [PivotalLogitKD(5.0, pivots=pivots), RegressionKD(0.5), LabelKD(0.999)]
    trainer = make_trainer(make_callback(objectives=objectives, teacher_mode=teacher_mode))
    trainer.fit(module, make_loader(4, objects=0))
    assert trainer.callback_metrics["kd/regression"] == 0
    assert trainer.callback_metrics["kd/logit"].isfinite()
    assert (trainer.callback_metrics["kd/logit"] == 0) == (pivots == "gaussian")
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_bf16_mixed():
    module = TinyModule(make_detector(0))
    seen = []

    class Watch(Objective):
        name = "watch"

        def forward(self, student, teacher, context):
            seen.append((student.maps.heatmap.dtype, torch.is_autocast_enabled("cpu")))
            return student.maps.heatmap.float().mean() * 0

    objectives = [*make_objectives().values(), Watch()]
    trainer = make_trainer(make_callback(objectives=objectives), precision="bf16-mixed")
    trainer.fit(module, make_loader(4))
    assert seen == [(torch.bfloat16, False)] * 2
    assert trainer.callback_metrics["kd/total"].dtype == torch.float32
    assert 0 < trainer.callback_metrics["kd/total"] < 100
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_label_kd_reaches_the_step_and_only_the_step():
    module = TinyModule(make_detector(0))
    seen = []

    class Watch(Objective):
        name = "watch"

        def forward(self, student, teacher, context):
            seen.append((context.batch.targets, context.labels.shape[1]))
            return student.maps.heatmap.sum() * 0

    trainer = make_trainer(make_callback(objectives=[LabelKD(0.4), Watch()]), max_steps=2)
    trainer.fit(module, make_loader(4))
    assert seen == [(None, 3)] * 2
    assert all(targets.from_teacher.any() for targets in module.seen_targets)
    assert all(not targets.from_teacher[:, :3].any() for targets in module.seen_targets)
    assert trainer.callback_metrics["kd/teacher_boxes"] > 0


def test_kd3ds_own_module_and_detectors():
    module = DetectorModule(pillars(0), total_steps=4)
    callback = make_callback(
        pillars(1, cell=0.32), make_objectives(label=1.0), teacher_mode="batch_stats"
    )
    trainer = make_trainer(callback, gradient_clip_val=10.0)
    before = [value.clone() for value in module.parameters()]
    trainer.fit(module, make_loader())
    logged = trainer.callback_metrics
    assert all(logged[f"kd/{name}"] > 0 for name in ("logit", "regression", "total"))
    assert all(value.isfinite().all() for value in module.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_label_kd_alone_needs_no_student_maps():
    module = TinyModule(make_detector(0))
    trainer = make_trainer(make_callback(objectives=[LabelKD(0.4)]), max_steps=1)
    trainer.fit(module, make_loader(4))
    assert "kd/total" not in trainer.callback_metrics
    own = make_detector(0)
    targets = module.seen_targets[0]
    expected = detection_loss(own(make_batch()), own.assign_targets(targets.boxes, targets.labels))
    assert module.losses == [pytest.approx(expected.item(), rel=1e-6)]


def test_a_weight_may_change_during_training():
    module = TinyModule(make_detector(0))
    callback = make_callback(objectives=[PivotalLogitKD(0.0)])
    trainer = make_trainer(callback, max_epochs=2)
    module.on_train_epoch_start = lambda: setattr(
        callback.objectives["logit"], "weight", float(trainer.current_epoch)
    )
    trainer.fit(module, make_loader(2))
    own = TinyModule(make_detector(0))
    make_trainer().fit(own, make_loader(2))
    assert module.losses[0] == own.losses[0]
    assert trainer.callback_metrics["kd/logit"] > 0


class ForeignNetwork(torch.nn.Module):
    """Returns a dictionary, and knows neither kd3d nor its maps."""

    def __init__(self, seed):
        super().__init__()
        self.inner = make_detector(seed)
        self.head = torch.nn.Identity()

    def forward(self, batch):
        return {"hm": self.head(self.inner(batch).heatmap)}


def read_foreign(network, captured):
    heatmap = captured["head"]
    rest = [heatmap.new_zeros(len(heatmap), k, 16, 16) for k in (2, 1, 3, 2)]
    return HeadMaps(heatmap, *rest, network.inner.grid)


def test_foreign_student_and_teacher_through_views():
    class ForeignModule(TinyModule):
        def training_step(self, batch, batch_idx):
            return self.detector(batch)["hm"].square().mean()

    view = View(read_foreign, taps=("head",), classes=("Car", "Walker", "Bike"))
    callback = make_callback(
        ForeignNetwork(1),
        [PivotalLogitKD(5.0, pivots="confidence")],
        student_view=view,
        teacher_view=view,
    )
    student, teacher = make_detector(0), make_detector(1).eval()
    module = ForeignModule(ForeignNetwork(0))
    trainer = make_trainer(callback, max_steps=1)
    trainer.fit(module, make_loader())
    batch = make_batch()
    expected = 5.0 * pivotal_logit_loss(
        student(batch).heatmap, teacher(batch).heatmap, pivots="confidence"
    )
    assert trainer.callback_metrics["kd/logit"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_teacher_is_checked_on_validation_frames(capsys):
    callback = make_callback(
        teacher_check_frames=3, teacher_score=constant_score, teacher_min_score=4.0
    )
    make_trainer(callback, max_steps=1).fit(TinyModule(), make_loader(), make_loader(8))
    assert callback.teacher_result == 4.0  # two whole batches of two
    assert "4.0000 on about" in capsys.readouterr().out


def test_default_score_is_the_waymo_metric(capsys):
    callback = make_callback(make_detector(1), teacher_check_frames=2)
    make_trainer(callback, max_steps=1).fit(TinyModule(), make_loader(), make_loader())
    assert 0.0 <= callback.teacher_result <= 1.0
