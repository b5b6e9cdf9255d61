"""What the callback does to a module, and that it undoes it."""

import copy
import math
import signal
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning
import torch
from distill_fakes import (
    CLASSES,
    FeatureKD,
    TinyDetector,
    TinyModule,
    constant_score,
    make_detector,
    make_loader,
    make_trainer,
)
from lightning.pytorch import Callback, LightningModule
from torch import nn

from kd3d.distill import (
    DistillationCallback,
    KDCallback,
    LabelKD,
    PivotalLogitKD,
    RegressionKD,
    distilled_step,
)
from kd3d.distill.checks import check_trainer
from kd3d.distill.distilled_step import DistilledStep
from kd3d.errors import CheckpointError, ConfigError, TapError, TeacherError

pytestmark = pytest.mark.filterwarnings("ignore")


def make_callback(teacher=None, objectives=None, **options):
    teacher = teacher if teacher is not None else make_detector(1)
    objectives = objectives if objectives is not None else [PivotalLogitKD(5.0)]
    return KDCallback(teacher, objectives, **{"teacher_check_frames": 0, **options})


def is_clean(module):
    hooks = [name for name, child in module.named_modules() if child._forward_hooks]
    return "training_step" not in vars(module) and not hooks


def test_both_names():
    assert DistillationCallback is KDCallback


def test_resume_equals_an_uninterrupted_run(tmp_path):
    whole = TinyModule(make_detector(0))
    make_trainer(make_callback(), max_epochs=2).fit(whole, make_loader())
    first = TinyModule(make_detector(0))
    trainer = make_trainer(make_callback(), max_epochs=1)
    trainer.fit(first, make_loader())
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    second = TinyModule(make_detector(7))
    make_trainer(make_callback(), max_epochs=2).fit(
        second, make_loader(), ckpt_path=tmp_path / "first.ckpt", weights_only=True
    )
    assert first.losses + second.losses == whole.losses
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=False)
    )


def test_the_checkpoint_is_the_students_alone(tmp_path):
    module = TinyModule(make_detector(0))
    trainer = make_trainer(make_callback(make_detector(1, channels=6)))
    trainer.fit(module, make_loader())
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    saved = torch.load(tmp_path / "student.ckpt", weights_only=True)
    assert saved["state_dict"].keys() == TinyModule().state_dict().keys()
    assert all(value.shape[0] != 6 for value in saved["state_dict"].values() if value.ndim)
    assert not any("KD" in name for name in saved["callbacks"])
    TinyModule().load_state_dict(saved["state_dict"], strict=True)
    make_trainer(max_epochs=2).fit(
        TinyModule(), make_loader(), ckpt_path=tmp_path / "student.ckpt", weights_only=True
    )


def test_the_module_is_left_as_it_was():
    module = TinyModule()
    make_trainer(make_callback()).fit(module, make_loader())
    assert is_clean(module)


class Stumbles(TinyModule):
    """Raises in the third step of the first fit."""

    stumble = True

    def training_step(self, batch, batch_idx):
        if self.stumble and batch_idx == 2:
            raise ValueError("stumbled")
        return super().training_step(batch, batch_idx)


def test_a_second_fit_after_an_exception_counts_once():
    module = Stumbles(make_detector(0))
    callback = make_callback()
    with pytest.raises(ValueError, match="stumbled"):
        make_trainer(callback).fit(module, make_loader())
    assert is_clean(module)
    module.stumble = False
    module.load_state_dict(TinyModule(make_detector(0)).state_dict())
    module.losses.clear()
    make_trainer(callback).fit(module, make_loader())
    fresh = TinyModule(make_detector(0))
    make_trainer(make_callback()).fit(fresh, make_loader())
    assert module.losses == fresh.losses


def test_an_interrupt_leaves_the_module_as_it_was():
    class Interrupted(TinyModule):
        def training_step(self, batch, batch_idx):
            raise KeyboardInterrupt

    module, handler = Interrupted(), signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            make_trainer(make_callback()).fit(module, make_loader())
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
    assert is_clean(module)


class Overflows(TinyDetector):
    """Gives NaN from the third batch on."""

    runs = 0

    def forward(self, batch):
        self.runs += 1
        maps = super().forward(batch)
        return replace(maps, dim=maps.dim * math.nan) if self.runs > 2 else maps


def test_a_teacher_that_gives_nan_poisons_nothing():
    module = TinyModule(make_detector(0))
    with pytest.raises(TeacherError, match="dim: the teacher gives NaN"):
        make_trainer(make_callback(Overflows())).fit(module, make_loader())
    assert len(module.losses) == 2
    assert all(value.isfinite().all() for value in module.state_dict().values())
    assert is_clean(module)


@pytest.mark.parametrize(("every", "steps"), [(0, [1]), (2, [1, 2, 4]), (1, [1, 2, 3, 4])])
def test_where_looking_waits_it_is_rare(monkeypatch, every, steps):
    looked = []
    monkeypatch.setattr(DistilledStep, "_waits", lambda self: True)
    monkeypatch.setattr(distilled_step, "check_values", lambda outputs: looked.append(run()))
    module = TinyModule()

    def run():
        return len(module.losses) + 1

    callback = make_callback(watch_every_n_steps=every)
    make_trainer(callback).fit(module, make_loader(8))
    assert looked == steps


def test_a_mapping_without_a_loss_is_left_to_lightning():
    class Lossless(TinyModule):
        def training_step(self, batch, batch_idx):
            return {"other": self.detector(batch).heatmap.mean()}

    with pytest.raises(Exception, match="'loss' key needs to be present"):
        fit_once(Lossless(), make_callback())


def test_what_the_teacher_gave_is_gone_in_the_backward_pass():
    alive = []

    class Remembers(FeatureKD):
        def forward(self, student, teacher, context):
            self.seen = [weakref.ref(teacher.taps["body"]), weakref.ref(context)]
            return super().forward(student, teacher, context)

    class Counts(Callback):
        def on_before_backward(self, trainer, pl_module, loss):
            alive.append([seen() is not None for seen in objective.seen])

    objective = Remembers()
    trainer = make_trainer(make_callback(objectives=[objective]), Counts(), max_steps=2)
    trainer.fit(TinyModule(make_detector(0)), make_loader())
    assert alive == [[False, False]] * 2


def test_two_callbacks_add_up_and_both_leave():
    def final_losses(*callbacks):
        module = TinyModule(make_detector(0))
        make_trainer(*callbacks, max_steps=1).fit(module, make_loader())
        assert is_clean(module)
        return module.losses[0]

    plain = final_losses()
    one = final_losses(make_callback())
    other = final_losses(make_callback(make_detector(2)))
    both = final_losses(make_callback(), make_callback(make_detector(2)))
    assert both - plain == pytest.approx((one - plain) + (other - plain), rel=1e-4)
    assert one > plain


def test_two_label_teachers_add_up():
    module = TinyModule(make_detector(0))
    callbacks = [make_callback(make_detector(seed), [LabelKD(0.4)]) for seed in (1, 2)]
    make_trainer(callbacks[0], max_steps=1).fit(module, make_loader())
    make_trainer(*callbacks, max_steps=1).fit(module, make_loader())
    alone, joint = (targets.from_teacher.sum() for targets in module.seen_targets)
    assert joint > alone > 0


def test_validation_alone_needs_no_teacher():
    callback = KDCallback("absent.ckpt", [PivotalLogitKD()])
    make_trainer(callback).validate(TinyModule(), make_loader(), verbose=False)
    with pytest.raises(CheckpointError, match=r"absent\.ckpt"):
        make_trainer(callback).fit(TinyModule(), make_loader())


def test_a_detector_made_or_converted_late_is_found():
    class Late(TinyModule):
        def configure_model(self):
            self.detector = nn.SyncBatchNorm.convert_sync_batchnorm(TinyDetector())

    module = Late(nn.Identity())
    trainer = make_trainer(make_callback(), max_steps=1)
    trainer.fit(module, make_loader())
    assert trainer.callback_metrics["kd/logit"] > 0
    assert is_clean(module)


def test_a_shadowing_training_step_comes_back():
    module = TinyModule()
    module.training_step = step = module.training_step
    make_trainer(make_callback(), max_steps=1).fit(module, make_loader())
    assert module.training_step is step


def test_modules_of_the_other_lightning_package():
    class Other(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.detector = make_detector(0)

        training_step = TinyModule.training_step
        configure_optimizers = TinyModule.configure_optimizers
        returns = "tensor"
        seen_targets = ()

    module = Other()
    module.seen_targets = []
    callback = make_callback(objectives=[PivotalLogitKD(5.0), FeatureKD(0.5)])
    trainer = make_trainer(callback, trainer_class=pytorch_lightning.Trainer, max_steps=1)
    trainer.fit(module, make_loader())
    assert trainer.callback_metrics["kd/logit"] > 0
    assert trainer.callback_metrics["kd/feature"] > 0
    assert {"training_step", "setup", "configure_model"}.isdisjoint(vars(module))


def fit_once(module, callback, *loaders):
    make_trainer(callback, max_steps=1).fit(module, make_loader(), *loaders)


def test_other_classes():
    module = TinyModule()
    for classes in (CLASSES[::-1], CLASSES[:2]):
        with pytest.raises(TeacherError, match=r"\['Vehicle', 'Pedestrian', 'Cyclist'\]"):
            fit_once(module, make_callback(make_detector(1, classes=classes)))
    assert is_clean(module)


def test_a_student_that_is_elsewhere():
    with pytest.raises(TapError, match=r"student_path='detecter': .* has 'detector'"):
        fit_once(TinyModule(), make_callback(student_path="detecter"))


def test_a_student_that_does_not_run():
    class Direct(TinyModule):
        def training_step(self, batch, batch_idx):
            return self.detector.forward(batch).heatmap.mean()

    module = Direct()
    with pytest.raises(TapError, match="did not run"):
        fit_once(module, make_callback())
    assert is_clean(module)


def test_a_student_that_gives_no_maps():
    class Odd(TinyDetector):
        def forward(self, batch):
            return super().forward(batch).heatmap

    class OddModule(TinyModule):
        def training_step(self, batch, batch_idx):
            return self.detector(batch).mean()

    with pytest.raises(ConfigError, match=r"Tensor, not HeadMaps.*student_view=View"):
        fit_once(OddModule(Odd()), make_callback())


def test_a_student_without_classes():
    with pytest.raises(ConfigError, match="the student does not tell its classes"):
        fit_once(TinyModule(nn.Linear(1, 1)), make_callback())


def test_manual_optimisation():
    module = TinyModule()
    module.automatic_optimization = False
    with pytest.raises(ConfigError, match="automatic_optimization=False"):
        fit_once(module, make_callback())


@pytest.mark.parametrize("name", ["FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"])
def test_sharded_strategies(name):
    derived = type("Derived", (type(name, (), {}),), {})
    with pytest.raises(ConfigError, match="sharded parameters"):
        check_trainer(SimpleNamespace(strategy=derived()), TinyModule())


def test_a_step_that_takes_an_iterator():
    class Iterates(TinyModule):
        def training_step(self, dataloader_iter):
            return None

    with pytest.raises(ConfigError, match="dataloader_iter"):
        fit_once(Iterates(), make_callback())


def test_a_teacher_inside_the_student():
    detector = make_detector(0)
    with pytest.raises(TeacherError, match="shares parameters"):
        fit_once(TinyModule(detector), make_callback(detector))
    assert all(parameter.requires_grad for parameter in detector.parameters())
    fit_once(TinyModule(detector), make_callback(copy.deepcopy(detector)))


def test_a_teacher_that_lacks_a_method():
    class Bare(nn.Module):
        classes = CLASSES

    with pytest.raises(TeacherError, match=r"objectives.label: .* no method decode"):
        fit_once(TinyModule(), make_callback(Bare(), [LabelKD(0.5)]))


def test_an_objective_with_weights_of_its_own():
    objective = PivotalLogitKD()
    objective.adapter = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="trainable parameters"):
        fit_once(TinyModule(), make_callback(objectives=[objective]))


def test_objectives():
    callback = make_callback(objectives={"a": PivotalLogitKD(), "off": None})
    assert list(callback.objectives) == ["a"]
    assert list(make_callback(objectives=[RegressionKD(), LabelKD()]).objectives) == [
        "regression",
        "label",
    ]
    with pytest.raises(ConfigError, match="same name"):
        make_callback(objectives=[PivotalLogitKD(), PivotalLogitKD()])
    with pytest.raises(ConfigError, match=r"objectives.x: Linear is no"):
        make_callback(objectives={"x": nn.Linear(1, 1)})
    with pytest.raises(ConfigError, match="str is no"):
        make_callback(objectives=["logit"])


def test_bad_options():
    with pytest.raises(ConfigError, match="'frozen' is not one of"):
        make_callback(teacher_mode="frozen")
    with pytest.raises(ConfigError, match="teacher_check_frames"):
        make_callback(teacher_check_frames=-1)
    with pytest.raises(ConfigError, match="watch_every_n_steps"):
        make_callback(watch_every_n_steps=-1)
    with pytest.raises(ConfigError, match="needs frames"):
        make_callback(teacher_min_score=0.1)


@pytest.mark.parametrize("score", [0.29, float("nan")])
def test_a_weak_teacher_stops_the_run(score):
    module = TinyModule(make_detector(0))
    callback = make_callback(
        teacher_check_frames=2,
        teacher_min_score=0.3,
        teacher_score=lambda teacher, batches: score,
    )
    with pytest.raises(TeacherError, match=r"less than 0\.3"):
        fit_once(module, callback, make_loader())
    assert module.losses == []
    assert is_clean(module)


def test_no_validation_frames():
    options = {"teacher_check_frames": 2, "teacher_score": constant_score}
    with pytest.raises(ConfigError, match="without validation frames"):
        fit_once(TinyModule(), make_callback(teacher_min_score=0.1, **options))
    with pytest.warns(UserWarning, match="teacher is not checked"):
        fit_once(TinyModule(), make_callback(**options))


def test_validation_frames_are_found_before_the_first_validation():
    callback = make_callback(teacher_check_frames=2, teacher_score=constant_score)
    trainer = make_trainer(callback, max_steps=1, num_sanity_val_steps=0, check_val_every_n_epoch=5)
    trainer.fit(TinyModule(), make_loader(), {"a": make_loader(), "b": make_loader()})
    assert callback.teacher_result == 2.0


def test_classes_without_a_waymo_threshold():
    classes = ("Car", "Walker", "Bike")
    callback = make_callback(make_detector(1, classes=classes), teacher_check_frames=2)
    with pytest.warns(UserWarning, match=r"not scored.*Car, Walker, Bike.*teacher_score"):
        fit_once(TinyModule(make_detector(0, classes=classes)), callback, make_loader())
    assert callback.teacher_result is None
    callback = make_callback(
        make_detector(1, classes=classes), teacher_check_frames=2, teacher_min_score=0.1
    )
    with pytest.raises(ConfigError, match=r"Car, Walker, Bike.*teacher_score"):
        fit_once(TinyModule(make_detector(0, classes=classes)), callback, make_loader())


def test_batches_without_boxes():
    class Bare(TinyModule):
        def training_step(self, batch, batch_idx):
            return self.detector(batch).heatmap.mean()

    class Pair:
        def __init__(self, batch):
            self.points, self.batch_index = batch.points, batch.batch_index

        def __len__(self):
            return 2

    module = Bare()
    module.on_after_batch_transfer = lambda batch, _: Pair(batch)
    with pytest.raises(ConfigError, match=r"Pair .* has no 'boxes'\..*BatchView\(truth="):
        fit_once(module, make_callback())


def test_lightning_module_is_a_teacher_too():
    class Wrapper(LightningModule):
        def __init__(self):
            super().__init__()
            self.detector = make_detector(1)

    module = TinyModule(make_detector(0))
    fit_once(module, make_callback(Wrapper()))
    other = TinyModule(make_detector(0))
    fit_once(other, make_callback(make_detector(1)))
    assert module.losses == other.losses
