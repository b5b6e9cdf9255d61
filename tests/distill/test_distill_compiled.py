"""Students and teachers that are compiled."""

import pytest
import torch
from distill_fakes import (
    CLASSES,
    FeatureKD,
    TinyModule,
    make_detector,
    make_loader,
    make_trainer,
)
from lightning.pytorch import Callback
from torch import nn
from torch._dynamo.testing import CompileCounter

from kd3d.distill import KDCallback, PivotalLogitKD
from kd3d.distill.taps import Taps, find_module

pytestmark = pytest.mark.filterwarnings("ignore")


class Frames(Callback):
    """Notes how often has been compiled after each training step."""

    def __init__(self, counter):
        self.counter = counter
        self.after = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after.append(self.counter.frame_count)


class Tail(nn.Module):
    """A body that is no torch.nn layer itself: those are not compiled by themselves."""

    def __init__(self, body):
        super().__init__()
        self.layers = body

    def forward(self, features):
        return self.layers(features) * 1.0


class TailKD(FeatureKD):
    """Taps inside the compiled module."""

    student_taps = ("body.layers.1",)
    teacher_taps = ("body",)

    def build_adapters(self, channels):
        assert channels.student("body.layers.1") == 4
        return {"project": nn.Conv2d(4, channels.teacher("body"), 1)}

    def forward(self, student, teacher, context):
        mine = self.adapters["project"](student.taps["body.layers.1"].float())
        return self.weight * (mine - teacher.taps["body"].float()).square().mean()


def distil(compile_it, *, warm=False, epochs=2):
    torch.compiler.reset()
    counter = CompileCounter()
    module = TinyModule(make_detector(0))
    module.detector.body = Tail(module.detector.body)
    compiled = compile_it(module, counter)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    fitted = module if compiled is None else compiled
    if warm:
        make_trainer(max_epochs=1).fit(fitted, make_loader(2))
        module.load_state_dict(state)
        module.losses.clear()
        counter.frame_count = 0
    torch.manual_seed(0)
    frames = Frames(counter)
    objectives = [TailKD(0.5), PivotalLogitKD(5.0)]
    callback = KDCallback(make_detector(1), objectives, teacher_check_frames=0)
    trainer = make_trainer(callback, frames, max_epochs=epochs, num_sanity_val_steps=0)
    trainer.fit(fitted, make_loader(6), make_loader(2))
    return module, frames.after, trainer


def compile_part(module, backend):
    module.detector.body = torch.compile(module.detector.body, backend=backend)


def compile_in_place(module, backend):
    module.detector.body.compile(backend=backend)


def compile_detector(module, backend):
    module.detector = torch.compile(module.detector, backend=backend)


def compile_all(module, backend):
    return torch.compile(module, backend=backend)


def leave(module, backend):
    pass


@pytest.fixture(scope="module")
def plain():
    """What is learnt without a compiler: the losses, and how often it compiled."""
    module, frames, _ = distil(leave)
    return module.losses, frames


@pytest.mark.parametrize(
    ("compile_it", "warm"),
    [
        (compile_part, False),
        (compile_in_place, False),
        (compile_detector, False),
        (compile_all, False),
        (compile_in_place, True),  # has run before it was tapped
        (compile_all, True),
    ],
)
def test_a_compiled_student_learns_the_same_and_compiles_once(compile_it, warm, plain):
    losses, none = plain
    module, frames, trainer = distil(compile_it, warm=warm)
    assert none[-1] == 0
    assert frames[0] > 0
    assert frames[2] == frames[1] == frames[0]  # before the first validation
    assert frames[5] == frames[4] == frames[3]  # and after it
    assert trainer.callback_metrics["kd/feature"] > 0
    assert module.losses == pytest.approx(losses, rel=1e-5)


def test_a_compiled_teacher():
    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        teacher, module = make_detector(1), TinyModule(make_detector(0))
        if compiled:
            teacher = torch.compile(teacher, backend="eager")
        objectives = [FeatureKD(0.5), PivotalLogitKD(5.0)]
        callback = KDCallback(teacher, objectives, teacher_check_frames=0)
        make_trainer(callback).fit(module, make_loader(4))
        losses.append(module.losses)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_paths_are_the_same_when_modules_are_compiled():
    detector = make_detector(0)
    inner = detector.body[0]
    detector.body = torch.compile(detector.body, backend="eager")
    assert find_module(detector, "body", "student") is detector.body
    assert find_module(detector, "body.0", "student") is inner
    assert find_module(detector, "body._orig_mod.0", "student") is inner
    assert detector.classes == CLASSES


def test_a_copy_does_not_listen():
    import copy

    network = nn.Sequential(nn.Linear(1, 1))
    taps = Taps(network, ["0"], "student")
    taps.attach()
    taps.listen()
    copy.deepcopy(network)(torch.ones(1, 1))
    output = network(torch.ones(1, 1))
    assert taps.collect()["0"] is output
