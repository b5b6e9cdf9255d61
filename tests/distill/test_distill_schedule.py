"""When objectives act: over epochs, over steps, and in a whole fit."""

import math
import re

import pytest
import torch
from distill_fakes import (
    FeatureKD,
    TinyDetector,
    TinyModule,
    make_detector,
    make_loader,
    make_trainer,
)
from lightning.pytorch import Callback

from kd3d.distill import KDCallback, LabelKD, PivotalLogitKD, RegressionKD, Schedule
from kd3d.errors import ConfigError

UNCHECKED = {"teacher_check_frames": 0}

pytestmark = pytest.mark.filterwarnings("ignore")


def test_factors():
    epochs = Schedule(warmup_epochs=3, stop_after=5)
    assert [epochs.factor(k, 1000) for k in range(7)] == [0.25, 0.5, 0.75, 1, 1, 0, 0]
    steps = Schedule(warmup_steps=4)
    assert [steps.factor(9, k) for k in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert Schedule().factor(0, 0) == 1
    assert str(epochs) == "warm-up over 3 epochs, stops after epoch 5"
    assert str(Schedule(warmup_steps=4)) == "warm-up over 4 steps"
    assert str(Schedule()) == "constant"


def test_a_mapping_will_do():
    objective = PivotalLogitKD(2.0, schedule={"warmup_epochs": 1, "stop_after": 3})
    assert objective.schedule == Schedule(warmup_epochs=1, stop_after=3)
    assert objective.extra_repr() == "weight=2, warm-up over 1 epochs, stops after epoch 3"
    assert [objective.factor_at(k, 0) for k in range(4)] == [0.5, 1, 1, 0]
    assert PivotalLogitKD().factor_at(100, 100) == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"warmup_epochs": -1}, r"schedule\.warmup_epochs: -1 is no number of epochs.*0 or more"),
        ({"warmup_epochs": None}, "None is no number of epochs"),
        ({"warmup_steps": 1.5}, r"schedule\.warmup_steps: 1.5 is no number of steps"),
        ({"stop_after": 0}, r"schedule\.stop_after: 0 is no number of epochs.*1 or more"),
        ({"warmup_epochs": 1, "warmup_steps": 1}, "either over epochs or over steps"),
        ({"warmup_epochs": 5, "stop_after": 5}, r"over 5 epochs never ends.*at most 4"),
        ({"stop": 5}, "has no stop.*warmup_epochs, warmup_steps, stop_after"),
    ],
)
def test_impossible_schedules(options, match):
    with pytest.raises(ConfigError, match=match):
        PivotalLogitKD(schedule=options)


def test_no_schedule_at_all():
    with pytest.raises(ConfigError, match="a int is no schedule"):
        PivotalLogitKD(schedule=3)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [PivotalLogitKD, RegressionKD, LabelKD, FeatureKD])
def test_weights_that_are_none(kind, weight):
    match = rf"{kind.__name__}\.weight: .*negative or infinite, nor NaN \({weight}\)"
    with pytest.raises(ConfigError, match=match):
        kind(weight=weight)
    objective = kind()
    before = objective.weight
    with pytest.raises(ConfigError, match=match):
        objective.weight = weight
    assert objective.weight == before


class Counted(TinyDetector):
    """Counts how often it runs."""

    runs = 0

    def forward(self, batch):
        self.runs += 1
        return super().forward(batch)


class Recorder(Callback):
    """Keeps the terms of every step, and the teacher's runs so far."""

    def __init__(self, teacher):
        self.teacher, self.terms, self.runs = teacher, [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
        self.terms.append(logged)
        self.runs.append(self.teacher.runs)


def fit(objectives, module=None, **options):
    """Fit for three epochs of two steps."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        teacher = Counted()
    recorder = Recorder(teacher)
    module = module if module is not None else TinyModule(make_detector(0))
    callback = KDCallback(teacher, objectives, **UNCHECKED)
    options = {"max_epochs": 3, **options}
    make_trainer(callback, recorder, **options).fit(module, make_loader(4))
    return module, recorder, callback


class Ten(FeatureKD):
    """Its term is ten, times its weight."""

    def build_adapters(self, channels):
        return {}

    def forward(self, student, teacher, context):
        return self.weight * (10.0 + 0.0 * student.taps["body"].sum())


def test_terms_follow_the_schedule():
    schedules = {
        "epochs": Schedule(warmup_epochs=2),
        "steps": Schedule(warmup_steps=4),
        "always": None,
    }
    objectives = {name: Ten(2.0, schedule=schedule) for name, schedule in schedules.items()}
    _, recorder, callback = fit(objectives)

    def of(name):
        return [terms[f"kd/{name}"] for terms in recorder.terms]

    assert of("epochs") == pytest.approx([20 / 3, 20 / 3, 40 / 3, 40 / 3, 20, 20])
    assert of("steps") == pytest.approx([4, 8, 12, 16, 20, 20])
    assert of("always") == [20.0] * 6
    assert of("total") == pytest.approx([sum(of(name)[k] for name in objectives) for k in range(6)])
    assert all(objective.weight == 2 and objective.factor == 1 for objective in objectives.values())
    assert re.search(r"weight 2, .*\n *warm-up over 2", callback.summary())


def test_after_its_last_epoch_an_objective_costs_nothing():
    objectives = {
        "logit": PivotalLogitKD(1.0, schedule=Schedule(stop_after=1)),
        "label": LabelKD(0.4, schedule=Schedule(stop_after=2)),
        "feature": FeatureKD(1.0, schedule=Schedule(stop_after=1)),
    }
    module, recorder, callback = fit(objectives)
    assert "heatmap [2, 3, 16, 16]" in callback.summary()  # what it told first, it tells still
    assert recorder.runs == [1, 2, 3, 4, 4, 4]  # the label objective needs it for two epochs
    assert module.seen_targets[2] is not None
    assert module.seen_targets[4] is module.seen_targets[5] is None


def test_a_stopped_run_goes_on_as_the_plain_one(tmp_path):
    """From then on it equals, bit by bit, a run that goes on without distillation."""
    stopped = PivotalLogitKD(5.0, schedule=Schedule(stop_after=1))
    whole, _, _ = fit({"logit": stopped}, max_epochs=2)

    first = TinyModule(make_detector(0))
    trainer = make_trainer(KDCallback(make_detector(1), [PivotalLogitKD(5.0)], **UNCHECKED))
    trainer.fit(first, make_loader(4))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = TinyModule(make_detector(0))
    make_trainer(max_epochs=2).fit(second, make_loader(4), ckpt_path=tmp_path / "last.ckpt")
    assert whole.losses == first.losses + second.losses
    assert len(whole.losses) == 4


def test_labels_fade_in():
    schedule = Schedule(warmup_epochs=1)
    module, _, _ = fit({"label": LabelKD(0.3, 1.0, box_weight=0.5, schedule=schedule)})
    added = [targets.box_weight[targets.from_teacher] for targets in module.seen_targets]
    peaks = [targets.heat_weight[targets.from_teacher] for targets in module.seen_targets]
    for step, factor in ((0, 0.5), (1, 0.5), (2, 1.0), (5, 1.0)):
        assert (added[step] == 0.5 * factor).all()
        assert (peaks[step] == factor).all()
    assert all(len(values) for values in added)


def test_resuming_goes_on_in_the_schedule(tmp_path):
    schedule = {"warmup_steps": 4, "stop_after": 2}
    _, whole, _ = fit({"ten": Ten(1.0, schedule=schedule)})
    module = TinyModule(make_detector(0))
    callback = KDCallback(make_detector(1), {"ten": Ten(1.0)}, **UNCHECKED)
    trainer = make_trainer(callback, max_epochs=1)
    trainer.fit(module, make_loader(4))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    teacher = Counted()
    recorder = Recorder(teacher)
    again = KDCallback(teacher, {"ten": Ten(1.0, schedule=schedule)}, **UNCHECKED)
    make_trainer(again, recorder, max_epochs=3).fit(
        TinyModule(make_detector(0)), make_loader(4), ckpt_path=tmp_path / "last.ckpt"
    )
    assert [terms["kd/ten"] for terms in recorder.terms[:2]] == [
        terms["kd/ten"] for terms in whole.terms[2:4]
    ]
    assert teacher.runs == 2  # nothing in the last epoch


@pytest.mark.parametrize(
    ("schedule", "run", "match"),
    [
        ({"stop_after": 4}, {}, r"objectives\.logit\.schedule\.stop_after: .* epoch 4, .* after 3"),
        (
            {"warmup_epochs": 3},
            {},
            r"warmup_epochs: .* over 3 epochs never ends.*at most 2",
        ),
        ({"warmup_steps": 6}, {}, r"warmup_steps: .* 6 steps never ends in a run of 6.*at most 5"),
        ({"warmup_steps": 5}, {"max_steps": 5}, r"over 5 steps never ends in a run of 5"),
        ({"stop_after": 3}, {"max_steps": 3}, r"epoch 3, the run ends after 2"),
        ({"warmup_steps": 3}, {"accumulate_grad_batches": 2}, r"3 steps never .* run of 3"),
    ],
)
def test_a_schedule_outside_the_run(schedule, run, match):
    module = TinyModule(make_detector(0))
    before = [value.clone() for value in module.parameters()]
    with pytest.raises(ConfigError, match=match):
        fit({"logit": PivotalLogitKD(schedule=schedule)}, module=module, **run)
    assert not module.seen_targets
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert "training_step" not in vars(module)


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"max_epochs": -1, "max_steps": 3}])
def test_runs_whose_length_says_nothing(options):
    fit({"logit": PivotalLogitKD(schedule={"warmup_epochs": 1})}, **options)
