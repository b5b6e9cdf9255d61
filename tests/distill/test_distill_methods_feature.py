"""That every feature method is the formula that it says it is, and no other."""

import itertools
import re
from pathlib import Path

import kd3d.conf
import pytest
import slow_feature as slow
import torch
from distill_fakes import TinyDetector, TinyModule, make_loader, make_trainer
from feature_methods import METHODS, logit_terms, make_feature_case, term
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from kd3d.distill import (
    ChannelWiseKD,
    FitNetKD,
    ForegroundKD,
    GIDFeatureKD,
    KDCallback,
    MimicKD,
    PearsonKD,
)
from kd3d.distill.functional import align_features, feature_pair, pearson_loss, select_instances
from kd3d.errors import ConfigError, TapError

every_method = pytest.mark.parametrize("name", METHODS)

#: By name: options of a case. Whole cells of the teacher, a fraction of them, a student that is
#: finer, and ranges that differ.
LAYOUTS = {
    "equal": {},
    "coarser": {"cells": 8, "teacher_cells": 16},
    "fraction": {"cells": 8, "teacher_cells": 12},
    "finer": {"cells": 8, "finer": 2},
    "wider": {"cells": 12, "half": 12.0},
}


@every_method
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_its_formula(name, layout):
    method, case = METHODS[name], make_feature_case(**LAYOUTS[layout])
    expected = method.value(case)
    assert expected > 0
    assert term(method.make(), case).item() == pytest.approx(expected, rel=2e-5)
    assert term(method.make(2.5), case).item() == pytest.approx(2.5 * expected, rel=2e-5)


@every_method
@pytest.mark.parametrize("layout", ["equal", "coarser", "wider"])
def test_its_gradient_is_that_of_differences(name, layout):
    """Along a random direction, in a few of the 32 bits."""
    method = METHODS[name]
    case = make_feature_case(**LAYOUTS[layout])
    (slope,) = torch.autograd.grad(term(method.make(), case), case.student_features)
    direction = torch.randn_like(slope)
    step, values = 1e-2, []
    for sign in (1, -1):
        moved = (case.student_features + sign * step * direction).detach()
        values.append(term(method.make(), case._replace(student_features=moved)).item())
    measured = (values[0] - values[1]) / (2 * step)
    assert (slope * direction).sum().item() == pytest.approx(measured, rel=2e-2, abs=2e-4)


@every_method
def test_gradient_is_exactly_zero_outside_its_mask(name):
    method, case = METHODS[name], make_feature_case(cells=12, half=12.0, counts=(1, 1))
    (slope,) = torch.autograd.grad(term(method.make(), case), case.student_features)
    allowed = torch.zeros(2, 12, 12, dtype=torch.bool)
    for cell in method.mask(case):
        allowed[cell] = True
    assert 0 < allowed.sum() < allowed.numel()
    assert torch.equal((slope != 0).any(dim=1), allowed)


@every_method
def test_200_steps_of_it_alone_cut_it_by_80_percent(name):
    """The student's features and the adapter are trained, on one batch."""
    objective = METHODS[name].make(adapter="always")
    case = make_feature_case(channels=6, teacher_channels=4, teacher_cells=16, counts=(4, 3))
    torch.manual_seed(0)
    objective.adapters = {"project": nn.Conv2d(6, 4, 1)}
    trained = [case.student_features, *objective.adapters["project"].parameters()]
    optimizer = torch.optim.Adam(trained, lr=0.1)
    losses = []
    for _ in range(200):
        loss = term(objective, case)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert abs(losses[-1]) < 0.2 * losses[0]


@pytest.mark.parametrize("seed", range(3))
def test_no_two_methods_are_the_same(seed):
    case = make_feature_case(cells=12, teacher_cells=12, seed=seed)
    values = {name: term(method.make(), case).item() for name, method in METHODS.items()}
    values |= {f"logit {name}": value for name, value in logit_terms(case).items()}
    for (one, a), (other, b) in itertools.combinations(values.items(), 2):
        assert a != pytest.approx(b, rel=1e-4), (one, other)


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (500, 500)])
def test_few_and_many_boxes(name, counts, dtype):
    method = METHODS[name]
    case = make_feature_case(counts=counts, dtype=dtype)
    value = term(method.make(), case)
    assert value.dtype == torch.float32
    (slope,) = torch.autograd.grad(value, case.student_features)
    assert slope.dtype == dtype
    assert slope.isfinite().all()
    if name in ("fg_hard", "fg_soft", "mimic_truth") and not any(counts):
        assert value == 0
        assert (slope == 0).all()
    else:
        assert value > 0
        assert (slope != 0).any()


@every_method
def test_half_precision_is_computed_in_float32(name):
    half = make_feature_case(dtype=torch.float16, teacher_cells=16)
    whole = half._replace(
        student_features=half.student_features.detach().float().requires_grad_(),
        teacher_features=half.teacher_features.float(),
    )
    method = METHODS[name].make()
    # what is sampled or averaged is rounded to the maps' dtype once
    assert term(method, half).item() == pytest.approx(term(method, whole).item(), rel=2e-3)


@every_method
def test_a_student_that_equals_its_teacher(name):
    case = make_feature_case()
    case = case._replace(student_features=case.teacher_features.clone().requires_grad_())
    value = term(METHODS[name].make(), case)
    assert value.item() == pytest.approx(0, abs=1e-6)
    (slope,) = torch.autograd.grad(value, case.student_features)
    assert slope.abs().max() < 1e-6


@every_method
@pytest.mark.parametrize("value", [0.0, 3.0, 1e4])
def test_flat_features_give_numbers(name, value):
    case = make_feature_case()
    with torch.no_grad():
        case.student_features.fill_(value)
    loss = term(METHODS[name].make(), case)
    (slope,) = torch.autograd.grad(loss, case.student_features)
    assert loss.isfinite()
    assert slope.isfinite().all()


@every_method
def test_blocks_do_not_matter(name, monkeypatch):
    case = make_feature_case(teacher_cells=16)
    results = []
    for at_once in (1 << 20, 1):
        monkeypatch.setitem(feature_pair._AT_ONCE, "cpu", at_once)
        value = term(METHODS[name].make(), case)
        results.append((value.detach(), *torch.autograd.grad(value, case.student_features)))
    torch.testing.assert_close(*results)


@every_method
def test_the_layout_in_memory_does_not_matter(name):
    case = make_feature_case(teacher_cells=16)
    other = case._replace(
        student_features=case.student_features.detach()
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_(),
        teacher_features=case.teacher_features.contiguous(memory_format=torch.channels_last),
    )
    results = []
    for one in (case, other):
        value = term(METHODS[name].make(), one)
        results.append((value.detach(), *torch.autograd.grad(value, one.student_features)))
    torch.testing.assert_close(*results)


@every_method
@pytest.mark.parametrize("layout", ["equal", "coarser"])
def test_a_second_backward_gives_the_same(name, layout):
    """Shares of the gradient are measured before the real backward pass."""
    case = make_feature_case(**LAYOUTS[layout])
    value = term(METHODS[name].make(), case)
    before = case.teacher_features.clone()
    first = torch.autograd.grad(value, case.student_features, retain_graph=True)
    assert torch.equal(case.teacher_features, before)
    second = torch.autograd.grad(value, case.student_features)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_pearson_leaves_silent_channels_of_the_teacher_out():
    case = make_feature_case()
    grids = (case.student_grid, case.teacher_grid)
    whole = pearson_loss(
        align_features(case.student_features[:, 1:], case.teacher_features[:, 1:], *grids)
    )
    case.teacher_features[:, 0] = 2.0
    loss = pearson_loss(align_features(case.student_features, case.teacher_features, *grids))
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    case.teacher_features.zero_()
    loss = pearson_loss(align_features(case.student_features, case.teacher_features, *grids))
    assert loss.item() == 0


def test_pearson_keeps_its_digits_on_a_large_offset():
    case = make_feature_case()
    loss = term(PearsonKD(), case).item()
    moved = case._replace(
        student_features=case.student_features + 1000, teacher_features=case.teacher_features * 9
    )
    assert term(PearsonKD(), moved).item() == pytest.approx(loss, rel=1e-3)


def test_instances_are_those_of_the_plain_version():
    case = make_feature_case(teacher_cells=16, cells=8)
    found = select_instances(case.student, case.teacher)
    plain = slow.instances(case.student, case.teacher)
    assert found.boxes.shape == (2, 10, 7)
    assert [b for b, _ in plain] == [0] * 10 + [1] * 10
    expected = torch.tensor([box for _, box in plain]).view(2, 10, 7)
    torch.testing.assert_close(found.boxes, expected, atol=1e-4, rtol=1e-4)
    assert (found.gaps.diff(dim=1) <= 0).all()


@pytest.mark.parametrize("owner", ["student", "teacher"])
def test_boxes_below_the_threshold_are_no_rois(owner):
    case = make_feature_case()
    boxes = slow.highest_boxes(getattr(case, owner), 40, 0.9)
    assert 0 < len(boxes) < 80
    objective = MimicKD(1.0, rois=owner, max_boxes=40, score_threshold=0.9)
    assert term(objective, case).item() == pytest.approx(slow.roi_squared(case, boxes), rel=2e-5)


def test_no_instance_where_both_agree():
    case = make_feature_case()
    found = select_instances(case.teacher, case.teacher)
    assert (found.labels == -1).all()
    assert (found.boxes == 0).all()
    assert term(GIDFeatureKD(), case._replace(heads=case.heads._replace(student=case.teacher))) == 0


@every_method
def test_unequal_channels_need_an_adapter(name):
    case = make_feature_case(channels=3)
    with pytest.raises(ConfigError, match=r"(?s)have 3 channels, the teacher's 4.*'unequal'"):
        term(METHODS[name].make(adapter="never"), case)


@every_method
def test_taps_that_are_no_maps_are_refused(name):
    case = make_feature_case()
    with pytest.raises(ConfigError, match=r"student_tap: .*\[2, 256\], not a map"):
        term(METHODS[name].make(), case._replace(student_features=torch.rand(2, 256)))
    with pytest.raises(ConfigError, match=r"teacher_tap: .*8 rows and 4 columns does not cover"):
        term(METHODS[name].make(), case._replace(teacher_features=torch.rand(2, 4, 8, 4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FitNetKD(-1.0), "negative"),
        (lambda: FitNetKD(float("nan")), "NaN"),
        (lambda: FitNetKD(adapter="sometimes"), "adapter: 'sometimes' is not one of"),
        (lambda: ForegroundKD(mask="wide"), "mask: 'wide' is not one of"),
        (lambda: MimicKD(rois="all"), "rois: 'all' is not one of"),
        (lambda: MimicKD(size=0), "a grid of 0 points"),
        (lambda: MimicKD(max_boxes=0), "max_boxes"),
        (lambda: MimicKD(score_threshold=1.0), "score_threshold"),
        (lambda: GIDFeatureKD(relation_weight=-1), "relation_weight"),
        (lambda: GIDFeatureKD(most=0), "most: at least one"),
        (lambda: GIDFeatureKD(overlap=1.5), "overlap: 1.5"),
        (lambda: METHODS["cwd"].objective(temperature=0), "temperature: 0 is no"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def fit(objective, student=None, teacher=None, **options):
    """Fit for two steps, and give the callback's table and what was logged."""
    callback = KDCallback(
        teacher or TinyDetector(cells=16, channels=6),
        [objective],
        teacher_check_frames=0,
        watch_every_n_steps=1,
    )
    trainer = make_trainer(callback, max_steps=2, **options)
    trainer.fit(TinyModule(student or TinyDetector(cells=8)), make_loader(4))
    return callback.summary(), trainer.callback_metrics


@every_method
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains_in_a_trainer(name, precision):
    """With an adapter, of unequal channels and cells."""
    objective = METHODS[name].make(student_tap="body")
    summary, logged = fit(objective, precision=precision)
    assert logged[f"kd/{objective.name}"] > 0
    assert 0 < logged[f"kd_share/{objective.name}"] < 1
    assert re.search(r"adapter 'project':\s+Conv2d, 4 to\s+6 channels", " ".join(summary.split()))


def test_a_normalised_adapter():
    summary, logged = fit(FitNetKD(student_tap="body", norm=True, adapter="always"))
    assert logged["kd/fitnet"] > 0
    assert "Sequential" in summary


def test_a_teacher_without_the_tapped_layer():
    with pytest.raises(TapError, match=r"neck: the teacher \(TinyDetector\) has no module.*'body'"):
        fit(FitNetKD(student_tap="body", teacher_tap="neck"))
    with pytest.raises(TapError, match=r"neck: the student \(TinyDetector\) has no module"):
        fit(FitNetKD(student_tap="neck", teacher_tap="body", adapter="never"))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ("fitnet", FitNetKD),
        ("mimic", MimicKD),
        ("fg", ForegroundKD),
        ("gid_f", GIDFeatureKD),
        ("pkd", PearsonKD),
        ("cwd", ChannelWiseKD),
    ],
)
def test_its_settings(settings, kind):
    path = Path(kd3d.conf.__file__).parent / "kd" / f"{settings}.yaml"
    objectives = instantiate(OmegaConf.load(path).objectives)
    (objective,) = objectives.values()
    assert type(objective) is kind
    assert objective.weight > 0
    assert list(objectives) == [kind.name]
    assert objective.student_taps == objective.teacher_taps == ("backbone_2d",)


@every_method
def test_a_schedule(name):
    objective = METHODS[name].make(schedule={"warmup_steps": 3})
    assert [objective.factor_at(0, step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
