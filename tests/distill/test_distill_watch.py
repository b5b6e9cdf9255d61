"""Shares of the gradient and agreement with the teacher: their meaning, and that they only look."""

import copy
import csv
import math
from dataclasses import replace

import pytest
import torch
from distill_fakes import (
    CLASSES,
    FeatureKD,
    TinyDetector,
    TinyModule,
    make_detector,
    make_grid,
    make_loader,
    make_trainer,
    random_maps,
)
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel

from kd3d.distill import KDCallback, LabelKD, Objective, PivotalLogitKD, RegressionKD, View
from kd3d.distill.functional import pivotal_logit_loss, regression_kd_loss
from kd3d.distill.watch import gradient_shares, pivot_overlap, pulled_tensors, score_correlation
from kd3d.errors import ConfigError, TapError
from kd3d.structures import ClassMaps, HeadMaps

pytestmark = pytest.mark.filterwarnings("ignore")

SHARES = {"detection", "logit", "regression"}


def peaks(cells: int, seed: int = 0, half: float = 8.0) -> HeadMaps:
    """Logits of a handful of smooth peaks at fixed places in metres, the same on any grid."""
    random = torch.Generator().manual_seed(seed)
    maps = random_maps(cells, half=half, seed=seed)
    centers = maps.grid.centers()[None, None, None]
    places = (torch.rand(2, 3, 6, 1, 1, 2, generator=random) - 0.5) * 12
    heights = torch.rand(2, 3, 6, 1, 1, generator=random) * 5
    bumps = heights * (-(centers - places).square().sum(-1) / 4).exp()
    return replace(maps, heatmap=bumps.sum(2) - 4)


# --- agreement


@given(seed=st.integers(0, 99), top_k=st.integers(2, 300))
def test_equal_maps_agree_fully(seed, top_k):
    maps = random_maps(16, seed=seed)
    assert pivot_overlap(maps, maps, top_k=top_k) == 1
    assert score_correlation(maps, maps, top_k=top_k) == pytest.approx(1, abs=1e-5)


@given(seed=st.integers(0, 99))
def test_shuffled_maps_agree_by_chance_only(seed):
    teacher = random_maps(32, seed=seed)
    cells = torch.randperm(32 * 32 * 3, generator=torch.Generator().manual_seed(seed + 1))
    mixed = teacher.heatmap.flatten(1)[:, cells].view_as(teacher.heatmap)
    student = replace(teacher, heatmap=mixed)
    chance = 100 / (32 * 32 * 3)  # 0.033; of 200 pivots so many are shared, give or take 2.5
    assert abs(pivot_overlap(student, teacher).item() - chance) < 0.06
    assert abs(score_correlation(student, teacher).item()) < 0.35  # 1 / sqrt(200) = 0.07


def test_agreement_is_counted_in_metres_on_other_grids():
    student, teacher = peaks(24), peaks(40)
    assert pivot_overlap(student, teacher) > 0.85
    assert score_correlation(student, teacher) > 0.95
    other = peaks(24, seed=1)
    assert pivot_overlap(other, teacher) < 0.3
    assert score_correlation(other, teacher) < 0.75


def test_the_share_of_pivots_that_both_have():
    teacher = random_maps(4, frames=1, classes=1)
    scores = torch.arange(16.0).view(1, 1, 4, 4)
    teacher = ClassMaps(scores, teacher.grid)
    student = scores.clone()
    student.view(-1)[13:] = -1  # cells 13, 14, 15 are the teacher's best three of four
    student = ClassMaps(student, teacher.grid)
    assert pivot_overlap(student, teacher, top_k=4) == 0.25


def test_correlation_is_pearson_s_at_the_teacher_s_pivots():
    student, teacher = random_maps(16, seed=1), random_maps(16, seed=2)
    student = replace(student, heatmap=student.heatmap + teacher.heatmap)
    theirs, places = teacher.heatmap.sigmoid().flatten(1).topk(7, dim=1)
    mine = student.heatmap.sigmoid().flatten(1).gather(1, places)
    expected = torch.corrcoef(torch.stack((mine.flatten(), theirs.flatten())))[0, 1]
    assert score_correlation(student, teacher, top_k=7) == pytest.approx(expected.item(), abs=1e-5)


def test_cells_outside_the_student_s_range_are_no_pivots():
    student, teacher = peaks(16, half=8.0), peaks(32, half=16.0)
    far = teacher.heatmap.clone()
    outside = ~student.grid.contains(teacher.grid.centers())
    far[..., outside] = 9.0
    changed = replace(teacher, heatmap=far)
    assert pivot_overlap(student, changed) == pivot_overlap(student, teacher)
    assert score_correlation(student, changed) == score_correlation(student, teacher)


@pytest.mark.parametrize("logit", [-30.0, 0.0, 1.7, 30.0])
def test_maps_without_peaks_correlate_with_nothing(logit):
    flat = replace(random_maps(16), heatmap=torch.full((2, 3, 16, 16), logit))
    assert score_correlation(flat, flat) == 0
    assert score_correlation(random_maps(16), flat) == 0
    assert score_correlation(flat, random_maps(16)) == 0
    assert 0 <= pivot_overlap(flat, random_maps(16)) <= 1


def test_half_precision_maps_agree_as_float32_does():
    student, teacher = peaks(16), peaks(16, seed=3)
    halves = [replace(maps, heatmap=maps.heatmap.half()) for maps in (student, teacher)]
    assert score_correlation(*halves) == pytest.approx(
        score_correlation(student, teacher).item(), abs=0.01
    )
    assert score_correlation(*halves).dtype == pivot_overlap(*halves).dtype == torch.float32


@pytest.mark.parametrize("measure", [pivot_overlap, score_correlation])
def test_agreement_refuses_what_does_not_compare(measure):
    maps = random_maps(16)
    with pytest.raises(ConfigError, match="differ in frames or classes"):
        measure(random_maps(16, classes=2), maps)
    with pytest.raises(ConfigError, match="top_k: at least one pivot, not 0"):
        measure(maps, maps, top_k=0)
    with pytest.raises(ConfigError, match="do not lie on a grid"):
        measure(replace(maps, grid=make_grid(8)), maps)
    with pytest.raises(ConfigError, match="share no range along x"):
        measure(replace(maps, grid=replace(maps.grid, x_min=100.0)), maps)


# --- shares


def test_shares_are_the_lengths_of_the_gradients():
    z = torch.randn(2, 3, requires_grad=True)
    other = torch.randn(4, requires_grad=True)
    terms = {
        "detection": (3 * z).sum() + (4 * other).sum(),
        "logit": 5 * z[0, 0],
        "constant": torch.tensor(2.0),
        "elsewhere": torch.randn(2, requires_grad=True).sum(),
    }
    shares = gradient_shares(terms, [z, other, torch.zeros(3)])
    first, second = math.sqrt(9 * 6 + 16 * 4), 5.0
    expected = {"detection": first / (first + second), "logit": second / (first + second)}
    for name, value in {**expected, "constant": 0.0, "elsewhere": 0.0}.items():
        assert shares[name].item() == pytest.approx(value), name
    assert z.grad is None
    sum(terms.values()).backward()  # the graph is whole
    assert z.grad is not None


def test_no_pull_at_all_is_zero_and_not_nan():
    z = torch.randn(3, requires_grad=True)
    shares = gradient_shares({"detection": (0 * z).sum(), "logit": (0 * z).sum()}, [z])
    assert [value.item() for value in shares.values()] == [0, 0]


def test_tiny_gradients_in_half_precision_are_not_lost():
    z = torch.full((100,), 0.1, dtype=torch.float16, requires_grad=True)
    terms = {"detection": z.float().sum() * 1e-8, "logit": z.float().sum() * 3e-8}
    shares = gradient_shares(terms, [z])
    assert shares["logit"].item() == pytest.approx(0.75, abs=0.02)


def test_shares_need_something_to_be_measured_at():
    with pytest.raises(TapError, match="no captured tensor takes part"):
        gradient_shares({"detection": torch.ones((), requires_grad=True)}, [torch.zeros(3)])
    z = torch.randn(3, requires_grad=True)
    with pytest.raises(TapError, match="detection: the loss does not depend"):
        gradient_shares(
            {"detection": torch.ones((), requires_grad=True), "logit": z.sum()},
            [z],
            must_reach=["detection"],
        )


def test_tensors_are_found_once_in_what_modules_return():
    loss, plain = torch.randn(2, 3, requires_grad=True).unbind()
    maps = replace(random_maps(4), heatmap=torch.randn(2, 3, 4, 4, requires_grad=True))
    found = pulled_tensors({"": maps, "again": [maps.heatmap, {"x": plain}], "loss": loss.sum()})
    assert [id(tensor) for tensor in found] == [id(maps.heatmap), id(plain)]


# --- in a training run


def make_objectives():
    return {"logit": PivotalLogitKD(5.0), "regression": RegressionKD(0.5)}


def make_callback(objectives=None, teacher=None, **options):
    settings = {"teacher_check_frames": 0, "watch_every_n_steps": 1, **options}
    return KDCallback(
        teacher or make_detector(1, cells=32), objectives or make_objectives(), **settings
    )


class Record(Callback):
    """Keeps what was logged after each step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, *arguments):
        kept = trainer.callback_metrics.items()
        self.steps.append({name: value.item() for name, value in kept if name.startswith("kd")})


def fit(*callbacks, module=None, **options):
    torch.manual_seed(0)
    module = module if module is not None else TinyModule(make_detector(0))
    record = Record()
    trainer = make_trainer(*callbacks, record, **options)
    trainer.fit(module, make_loader(8))
    return module, record.steps


def of_group(step, group):
    return {name.partition("/")[2]: step[name] for name in step if name.startswith(f"{group}/")}


def test_a_step_logs_shares_and_agreement():
    _, steps = fit(make_callback())
    for step in steps:
        shares = of_group(step, "kd_share")
        assert set(shares) == SHARES
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert all(0 < value < 1 for value in shares.values())
        assert 0 <= step["kd/agreement_pivots"] <= 1
        assert -1 <= step["kd/agreement_scores"] <= 1


def test_shares_of_a_step_equal_those_by_hand():
    student, teacher = make_detector(0), make_detector(1, cells=32)
    _, steps = fit(
        make_callback(teacher=teacher), module=TinyModule(copy.deepcopy(student)), max_steps=1
    )
    (batch,) = [next(iter(make_loader(8)))]
    module = TinyModule(student)
    maps = []
    student.register_forward_hook(lambda network, arguments, output: maps.append(output))
    loss = module.training_step(batch, 0)
    with torch.no_grad():
        theirs = teacher.eval()(batch)
    heat = teacher.assign_targets(batch.boxes, batch.labels).heatmap
    mine = maps[0]
    grids = {"student_grid": mine.grid, "teacher_grid": theirs.grid}
    logit = pivotal_logit_loss(mine.heatmap, theirs.heatmap, heat, **grids)
    regression = regression_kd_loss(mine, theirs, batch.boxes, batch.labels)
    z = [mine.heatmap, mine.center, mine.center_z, mine.dim, mine.rot]

    def length(term):
        found = torch.autograd.grad(term, z, retain_graph=True, allow_unused=True)
        return sum(part.square().sum() for part in found if part is not None).sqrt().item()

    lengths = {
        "detection": length(loss), "logit": length(5 * logit), "regression": length(regression / 2)
    }  # fmt: skip
    for name, value in lengths.items():
        assert steps[0][f"kd_share/{name}"] == pytest.approx(
            value / sum(lengths.values()), rel=1e-4
        )


@pytest.mark.parametrize(
    "options", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}]
)
def test_watching_changes_no_weight(options):
    def trained(every):
        network = make_detector(0, dropout=0.3)
        callback = make_callback(
            {**make_objectives(), "feature": FeatureKD(0.5)}, watch_every_n_steps=every
        )
        module, steps = fit(callback, module=TinyModule(network), max_epochs=2, **options)
        return module.state_dict(), steps, torch.rand(3)

    plain, unwatched, random = trained(0)
    watched, steps, later = trained(1)
    assert torch.equal(random, later)
    for name, value in plain.items():
        assert torch.equal(value, watched[name]), name
    assert not any("kd_share/detection" in step for step in unwatched)
    assert not any("kd/agreement_pivots" in step for step in unwatched)
    assert all(set(of_group(step, "kd_share")) == SHARES | {"feature"} for step in steps)


def test_only_every_nth_step_is_watched_and_the_first(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "kd3d.distill.watch.step_watch.gradient_shares",
        lambda terms, *rest, **options: seen.append(len(steps_so_far)) or {},
    )
    steps_so_far = []

    class Count(Callback):
        def on_train_batch_start(self, *arguments):
            steps_so_far.append(1)

    fit(make_callback(watch_every_n_steps=3), Count(), max_epochs=2)  # 4 batches an epoch
    assert seen == [1, 3, 6]


def test_labels_have_no_share_but_their_boxes_are_counted():
    _, steps = fit(make_callback({**make_objectives(), "label": LabelKD(0.3)}))
    assert set(of_group(steps[0], "kd_share")) == SHARES
    assert steps[0]["kd/teacher_boxes"] > 0


def test_labels_alone_still_show_agreement():
    module, steps = fit(make_callback({"label": LabelKD(0.3)}, watch_every_n_steps=2))
    assert 0 <= steps[0]["kd/agreement_pivots"] <= 1
    assert not of_group(steps[0], "kd_share")
    assert not any(capture.outputs for capture in module.detector._forward_hooks.values())


class Unreadable(TinyDetector):
    def forward(self, batch):
        return {"maps": super().forward(batch)}


class UnreadableModule(TinyModule):
    def training_step(self, batch, batch_idx):
        targets = self.detector.assign_targets(batch.targets.boxes, batch.targets.labels)
        maps = self.detector(batch)["maps"]
        return (maps.heatmap.sigmoid() - targets.heatmap).square().mean()


def test_labels_alone_need_no_readable_student(recwarn):
    _, steps = fit(make_callback({"label": LabelKD(0.3)}), module=UnreadableModule(Unreadable()))
    assert "kd/agreement_pivots" not in steps[-1]
    assert not [w for w in recwarn if "cannot be watched" in str(w.message)]


@pytest.mark.filterwarnings("default")
def test_a_loss_that_autograd_cannot_follow_is_said_once():
    class Detached(TinyModule):
        def training_step(self, batch, batch_idx):
            self.detector(batch)
            return self.detector.head["box"].weight.square().sum()

    with pytest.warns(
        UserWarning, match=r"shares of the gradient cannot be watched.*depend"
    ) as said:
        _, steps = fit(make_callback(), module=Detached(make_detector(0)))
    assert len([w for w in said if "cannot be watched" in str(w.message)]) == 1
    assert not of_group(steps[-1], "kd_share")
    assert "kd/agreement_pivots" in steps[-1]


def test_a_student_of_features_alone():
    class Own(Objective):
        name = "own"
        needs_teacher = False
        student_taps = ("body",)

        def forward(self, student, teacher, context):
            return student.taps["body"].square().mean()

    network = TinyDetector()
    callback = KDCallback(None, [Own()], watch_every_n_steps=1)
    _, steps = fit(callback, module=TinyModule(network))
    assert set(of_group(steps[0], "kd_share")) == {"detection", "own"}
    assert "kd/agreement_pivots" not in steps[0]


def test_a_foreign_student_is_measured_at_what_its_view_taps():
    def read(network, captured):
        heat, box = captured["head.heatmap"], captured["head.box"]
        return HeadMaps(heat, *box.split((2, 1, 3, 2), dim=1), network.grid)

    view = View(read, taps=("head.heatmap", "head.box"), classes=CLASSES)
    callback = make_callback(student_view=view)
    _, steps = fit(callback, module=UnreadableTargets(Unreadable()))
    assert all(value > 0 for value in of_group(steps[0], "kd_share").values())


class UnreadableTargets(UnreadableModule):
    def training_step(self, batch, batch_idx):
        return super().training_step(
            batch.with_targets(batch if batch.targets is None else batch.targets), batch_idx
        )


def test_curves_show_the_latest_watched_step(tmp_path):
    callback = make_callback(watch_every_n_steps=3)
    fit(
        callback, logger=CSVLogger(tmp_path, name="", version=""), log_every_n_steps=2, max_epochs=1
    )
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "3"]
    assert all(float(row["kd_share/detection"]) > 0 for row in rows)
    assert rows[0]["kd_share/detection"] != rows[1]["kd_share/detection"]


def test_watching_waits_for_no_device():
    with FakeTensorMode():
        heat = torch.randn(2, 3, 8, 8, requires_grad=True)
        student = ClassMaps(heat, make_grid(8))
        teacher = ClassMaps(torch.randn(2, 3, 16, 16), make_grid(16))
        losses = {"detection": heat.sum(), "logit": heat.square().sum()}
        shares = gradient_shares(losses, [heat])
        values = (pivot_overlap(student, teacher), score_correlation(student, teacher))
    assert shares.keys() == losses.keys()
    assert all(value.shape == () for value in (*values, *shares.values()))


def test_shares_start_no_communication_between_processes(tmp_path):
    distributed = torch.distributed
    start = (tmp_path / "start").as_uri()
    distributed.init_process_group("gloo", init_method=start, rank=0, world_size=1)
    try:
        network = DistributedDataParallel(nn.Linear(3, 2))
        sent = []

        def send(state, bucket):
            sent.append(bucket.index())
            return distributed.all_reduce(bucket.buffer(), async_op=True).get_future().then(first)

        network.register_comm_hook(None, send)
        z = network(torch.randn(4, 3))
        gradient_shares({"detection": z.sum(), "logit": z.square().sum()}, [z])
        assert not sent
        (z.sum() + z.square().sum()).backward()
        assert sent
    finally:
        distributed.destroy_process_group()


def first(future):
    return future.value()[0]


def test_a_compiled_network_is_measured():
    network = make_detector(0)
    network.compile(backend="aot_eager")
    _, steps = fit(make_callback(), module=TinyModule(network), max_steps=1)
    assert of_group(steps[0], "kd_share")["logit"] > 0
    assert "kd/agreement_pivots" in steps[0]
