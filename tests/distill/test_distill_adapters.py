"""Layers of objectives that are trained with the student and saved without it."""

import copy
import pickle

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
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torch import nn

from kd3d.distill import KDCallback, Objective, PivotalLogitKD
from kd3d.distill.adapters import NAME
from kd3d.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.filterwarnings("ignore")


class Watch(Callback):
    """Keeps what the module and its optimiser hold during the fit."""

    def on_train_end(self, trainer, pl_module):
        held = getattr(pl_module, NAME, None)
        self.trained = None if held is None else [p.detach().clone() for p in held.parameters()]
        self.names = [name for name, _ in pl_module.named_parameters()]
        self.saved = set(pl_module.state_dict())
        groups = trainer.optimizers[0].param_groups
        self.optimised = {id(p) for group in groups for p in group["params"]}
        self.ids = {} if held is None else {id(p) for p in held.parameters()}
        self.gradients = [] if held is None else [p.grad for p in held.parameters()]


def make_callback(*objectives, seed=1, **options):
    objectives = objectives or (FeatureKD(0.5), PivotalLogitKD(5.0))
    teacher = make_detector(seed, channels=6)
    return KDCallback(teacher, objectives, teacher_check_frames=0, **options)


def make_module(seed=0):
    return TinyModule(make_detector(seed))


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_adapters_are_trained_with_the_student_and_leave():
    module, watch, callback = make_module(), Watch(), make_callback()
    trainer = make_trainer(callback, watch)
    trainer.fit(module, make_loader())
    assert watch.ids <= watch.optimised
    assert len(watch.ids) == 4
    assert watch.names[-4:] == [name for name in watch.names if NAME in name]
    assert watch.saved == set(TinyModule().state_dict())
    assert not hasattr(module, NAME)
    assert vars(module).keys() == vars(make_fitted()).keys()
    assert callback.objectives["feature"].adapters == {}
    assert trainer.callback_metrics["kd/feature"] > 0


def make_fitted():
    module = make_module()
    make_trainer(max_steps=1).fit(module, make_loader())
    return module


def test_every_fit_starts_with_new_adapters_and_trains_them():
    module, watch, callback = make_module(), Watch(), make_callback()
    trained = []
    for _ in range(2):
        torch.manual_seed(3)
        module.load_state_dict(make_module().state_dict())
        make_trainer(callback, watch).fit(module, make_loader())
        trained.append(watch.trained)
    assert equal(*trained)
    torch.manual_seed(3)
    make_trainer(callback, watch, max_steps=1).fit(make_module(), make_loader())
    assert not equal(trained[0], watch.trained)


def test_random_numbers_are_left_alone():
    drawn = []
    for objectives in ([FeatureKD(0.0)], [PivotalLogitKD(0.0)]):
        torch.manual_seed(3)
        module = TinyModule(make_detector(0, dropout=0.3))
        make_trainer(make_callback(*objectives)).fit(module, make_loader(shuffle=True))
        drawn.append((module.losses, torch.rand(2).tolist()))
    assert drawn[0] == drawn[1]


def test_resume_equals_an_uninterrupted_run(tmp_path):
    def fit(epochs, seed, **options):
        torch.manual_seed(seed)
        module, watch = make_module(seed), Watch()
        trainer = make_trainer(make_callback(), watch, max_epochs=epochs)
        trainer.fit(module, make_loader(), **options)
        return trainer, module, watch

    _, whole, ends = fit(2, 0)
    trainer, first, _ = fit(1, 0)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    _, second, resumed = fit(2, 9, ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert first.losses + second.losses == whole.losses
    assert equal(whole.parameters(), second.parameters())
    assert equal(ends.trained, resumed.trained)


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_checkpoint_loads_with_and_without_the_callback(tmp_path, weights_only):
    module, path = make_module(), tmp_path / "student.ckpt"

    class Saves(Callback):
        def on_train_end(self, trainer, pl_module):
            assert hasattr(pl_module, NAME)
            trainer.save_checkpoint(path, weights_only)

    callback = make_callback()
    make_trainer(callback, Saves()).fit(module, make_loader())
    saved = torch.load(path, weights_only=True)
    assert saved["state_dict"].keys() == TinyModule().state_dict().keys()
    if not weights_only:
        state = saved["callbacks"]["KDCallback"]
        assert set(state["adapters"]) == set(callback.state_dict()["adapters"])
        assert all(isinstance(value, torch.Tensor) for value in state["adapters"].values())
    other = make_module(5)
    other.load_state_dict(saved["state_dict"], strict=True)
    assert equal(other.parameters(), module.parameters())

    class Loads(Callback):
        def on_train_start(self, trainer, pl_module):
            pl_module.load_state_dict(saved["state_dict"], strict=True)
            with pytest.raises(RuntimeError, match="Missing key"):
                pl_module.load_state_dict({}, strict=True)

    make_trainer(make_callback(), Loads(), max_steps=1).fit(make_module(7), make_loader())


@pytest.mark.parametrize("average_first", [False, True])
def test_weight_averaging_in_both_orders_and_resume(tmp_path, average_first):
    def fit(epochs, callback, seed=0, **options):
        torch.manual_seed(seed)
        module, average = make_module(seed), EMAWeightAveraging(decay=0.5)
        keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        order = [average, callback] if average_first else [callback, average]
        trainer = make_trainer(
            *order, keep, Copies(average), max_epochs=epochs, enable_checkpointing=True
        )
        trainer.fit(module, make_loader(), make_loader(4), **options)
        trained = [value.clone() for value in module.state_dict().values()]
        trainer.validate(module, make_loader(4), verbose=False)  # swaps weights once more
        assert equal(module.state_dict().values(), trained)
        return module, average._average_model.module

    class Copies(Callback):
        def __init__(self, average):
            self.average = average

        def on_train_end(self, trainer, pl_module):
            adapters = getattr(self.average._average_model.module, NAME)
            averaged.append(
                [p.detach().clone() for p in [*adapters.parameters(), *adapters.buffers()]]
            )

    averaged = []
    whole, average = fit(2, make_callback())
    saved = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)
    names = TinyModule().state_dict().keys()
    assert saved["state_dict"].keys() == saved["current_model_state"].keys() == names
    resumed, again = fit(
        2, make_callback(), 9, ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True
    )
    assert whole.losses[4:] == resumed.losses
    assert equal(whole.state_dict().values(), resumed.state_dict().values())
    assert equal(average.state_dict().values(), again.state_dict().values())
    assert equal(*averaged)


def test_adapters_that_no_optimiser_takes_are_refused():
    class Detector(TinyModule):
        def configure_optimizers(self):
            return torch.optim.SGD(self.detector.parameters(), lr=0.1)

    module = Detector(make_detector(0))
    with pytest.raises(
        ConfigError, match=r"kd3d_adapters: feature.project.0.weight: .*self\.param"
    ):
        make_trainer(make_callback()).fit(module, make_loader())
    assert not hasattr(module, NAME)


def test_stochastic_weight_averaging():
    module, watch = make_module(), Watch()
    averaging = StochasticWeightAveraging(0.01, swa_epoch_start=1)
    make_trainer(averaging, make_callback(), watch, max_epochs=3).fit(module, make_loader())
    assert len(watch.trained) == 4
    assert not hasattr(module, NAME)
    assert all(value.isfinite().all() for value in module.state_dict().values())


@pytest.mark.parametrize("hook", ["setup", "configure_model"])
def test_modules_made_late_are_found(hook):
    class Late(TinyModule):
        def setup(self, stage):
            self.make("setup")

        def configure_model(self):
            self.make("configure_model")

        def make(self, here):
            if here == hook:
                self.detector = TinyDetector()

    module, watch = Late(nn.Identity()), Watch()
    trainer = make_trainer(make_callback(), watch, max_steps=1)
    trainer.fit(module, make_loader())
    assert trainer.callback_metrics["kd/feature"] > 0
    assert watch.ids <= watch.optimised
    assert watch.names[-1].startswith(NAME)
    assert "setup" not in vars(module)
    assert "configure_model" not in vars(module)


@pytest.mark.parametrize("hook", ["setup", "configure_model", "configure_optimizers"])
def test_a_fit_that_fails_early_leaves_the_module_alone(hook):
    def fail(*args, **kwargs):
        raise ValueError("no")

    module = type("Fails", (TinyModule,), {hook: fail})(make_detector(0))
    before = set(vars(module))
    with pytest.raises(ValueError, match="no"):
        make_trainer(make_callback(), make_callback(seed=2)).fit(module, make_loader())
    assert not hasattr(module, NAME)
    assert {"setup", "configure_model", "training_step"}.isdisjoint(set(vars(module)) - before)


def test_two_callbacks_keep_their_adapters_apart(tmp_path):
    def fit(epochs, seed, **options):
        torch.manual_seed(seed)
        module, watch = make_module(seed), Watch()
        callbacks = [make_callback(), make_callback(FeatureKD(0.2), seed=2)]
        trainer = make_trainer(*callbacks, watch, max_epochs=epochs)
        trainer.fit(module, make_loader(), **options)
        return trainer, module, watch

    _, whole, watch = fit(2, 0)
    assert len(watch.trained) == 8
    trainer, first, _ = fit(1, 0)
    assert not hasattr(first, NAME)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    saved = torch.load(tmp_path / "first.ckpt", weights_only=True)
    assert [name for name in saved["callbacks"] if "KD" in name] == ["KDCallback", "KDCallback#2"]
    _, second, _ = fit(2, 9, ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert first.losses + second.losses == whole.losses


def test_an_idle_objective_keeps_its_adapters_in_the_graph():
    watch = Watch()
    make_trainer(make_callback(FeatureKD(0.0)), watch, max_steps=1).fit(
        make_module(), make_loader()
    )
    assert all(gradient is not None and not gradient.any() for gradient in watch.gradients)


def test_a_checkpoint_without_adapters_is_refused(tmp_path):
    trainer = make_trainer(make_callback(PivotalLogitKD(1.0)), Watch())
    trainer.fit(make_module(), make_loader())
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    with pytest.raises(CheckpointError, match=r"callbacks\.KDCallback: .*no adapters"):
        make_trainer(make_callback(), Watch()).fit(
            make_module(), make_loader(), ckpt_path=tmp_path / "plain.ckpt", weights_only=True
        )


class Named(Objective):
    def __init__(self, built):
        super().__init__()
        self.built = built

    def build_adapters(self, channels):
        return self.built


def test_a_checkpoint_of_other_adapters_is_refused(tmp_path):
    trainer = make_trainer(make_callback(), Watch())
    trainer.fit(make_module(), make_loader())
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    objective = Named({"project": nn.Linear(3, 3)})
    with pytest.raises(
        CheckpointError, match=r"(?s)adapters are not this run.*Resume with the same"
    ):
        make_trainer(make_callback(objective), Watch()).fit(
            make_module(), make_loader(), ckpt_path=tmp_path / "other.ckpt", weights_only=True
        )


@pytest.mark.parametrize(
    ("built", "message"),
    [
        ([nn.Linear(1, 1)], "modules by name"),
        ({"a": 3}, "modules by name"),
        ({"a.b": nn.Linear(1, 1)}, "without a dot"),
        ({"keys": nn.Linear(1, 1)}, "cannot be called"),
    ],
)
def test_bad_adapters(built, message):
    with pytest.raises(ConfigError, match=message):
        make_trainer(make_callback(Named(built))).fit(make_module(), make_loader())


def test_validation_of_a_distilled_checkpoint_needs_no_teacher(tmp_path):
    trainer = make_trainer(make_callback())
    trainer.fit(make_module(), make_loader())
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    module, callback = make_module(4), KDCallback("absent.ckpt", [FeatureKD()])
    make_trainer(callback).validate(
        module, make_loader(2), ckpt_path=tmp_path / "first.ckpt", verbose=False, weights_only=True
    )
    assert equal(module.parameters(), trainer.lightning_module.parameters())
    assert callback.state_dict() == {}


def test_copies_of_the_module_are_not_distilled():
    module, made = make_module(), []

    class Copies(Callback):
        def on_train_start(self, trainer, pl_module):
            made.append(copy.deepcopy(pl_module))
            made.append(pickle.loads(pickle.dumps(pl_module.training_step)))

    make_trainer(make_callback(), Copies(), max_steps=1).fit(module, make_loader())
    assert made[0].training_step.__func__ is TinyModule.training_step
    assert made[0].training_step.__self__ is made[0]
    assert made[1].__func__ is TinyModule.training_step
