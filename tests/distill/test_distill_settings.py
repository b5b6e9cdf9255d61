"""Trainers, batches and command lines that others use."""

from dataclasses import dataclass, replace

import pytest
import torch
from distill_fakes import (
    FeatureKD,
    TinyDetector,
    TinyModule,
    make_batch,
    make_detector,
    make_loader,
    make_trainer,
)
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kd3d.detectors import create_detector, save_detector
from kd3d.distill import (
    BatchView,
    KDCallback,
    LabelKD,
    Objective,
    PivotalLogitKD,
    RegressionKD,
    View,
)
from kd3d.distill.distilled_step import DistilledStep
from kd3d.errors import ConfigError
from kd3d.structures import PointBatch, TargetBoxes

pytestmark = pytest.mark.filterwarnings("ignore")


def make_callback(*objectives, **options):
    objectives = objectives or (FeatureKD(0.5), PivotalLogitKD(5.0), RegressionKD(0.5))
    return KDCallback(make_detector(1), objectives, teacher_check_frames=0, **options)


def fit(*callbacks, module=None, **options):
    torch.manual_seed(0)
    module = module if module is not None else TinyModule(make_detector(0))
    make_trainer(*callbacks, **options).fit(module, make_loader())
    return torch.cat([value.detach().flatten() for value in module.parameters()])


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_loss_scaling_scales_the_terms_too(scale):
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10_000)
    scaled = fit(make_callback(), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    full, plain = fit(make_callback()), fit()
    start = torch.cat([value.flatten() for value in make_detector(0).parameters()])
    assert scaler.get_scale() == scale
    assert (scaled - full).norm() < 0.05 * (full - plain).norm()
    assert (full - plain).norm() > 0.1 * (full - start).norm()


class NormKD(Objective):
    """Taps a norm of the student and owns another; both are converted."""

    name = "norm"
    student_taps = ("body.1",)
    needs_teacher = False

    def build_adapters(self, channels):
        return {"norm": nn.BatchNorm2d(channels.student("body.1"))}

    def forward(self, student, teacher, context):
        self.kind = type(self.adapters["norm"])
        return self.weight * self.adapters["norm"](student.taps["body.1"]).abs().mean()


class Synced(TinyModule):
    """Converts its norms where Trainer(sync_batchnorm=True) does: after setup, before DDP."""

    def configure_optimizers(self):
        nn.SyncBatchNorm.convert_sync_batchnorm(self)
        return super().configure_optimizers()


def test_conversion_to_synchronised_norms_loses_no_hook():
    objective = NormKD(0.5)
    plain = fit(make_callback(objective))
    assert objective.kind is nn.BatchNorm2d
    module = Synced(make_detector(0))
    assert torch.equal(plain, fit(make_callback(objective), module=module))
    assert objective.kind is nn.SyncBatchNorm
    assert isinstance(module.detector.body[1], nn.SyncBatchNorm)
    assert not module.detector.body[1]._forward_hooks


@dataclass
class Frames:
    cloud: PointBatch
    cars: Tensor
    kinds: Tensor

    def with_targets(self, targets: TargetBoxes):
        return replace(self, cloud=self.cloud.with_targets(targets))


BATCHES = {
    "mapping": (
        lambda batch: {"cloud": batch, "boxes": batch.boxes, "labels": batch.labels},
        lambda batch: batch["cloud"],
        BatchView(
            with_targets=lambda batch, targets: {
                **batch,
                "cloud": batch["cloud"].with_targets(targets),
            }
        ),
    ),
    "tuple": (
        lambda batch: (batch, batch.boxes, batch.labels),
        lambda batch: batch[0],
        BatchView(
            truth=lambda batch: batch[1:],
            with_targets=lambda batch, targets: (batch[0].with_targets(targets), *batch[1:]),
        ),
    ),
    "dataclass": (
        lambda batch: Frames(batch, batch.boxes, batch.labels),
        lambda batch: batch.cloud,
        BatchView(truth=lambda batch: (batch.cars, batch.kinds)),
    ),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_batches_of_other_kinds(kind):
    wrap, inner, view = BATCHES[kind]

    class Unwraps(TinyModule):
        def training_step(self, batch, batch_idx):
            return super().training_step(inner(batch), batch_idx)

        def on_before_batch_transfer(self, batch, dataloader_idx):
            return wrap(batch)

    objectives = [PivotalLogitKD(5.0), RegressionKD(0.5), LabelKD(0.4)]
    teacher_view = View(call=lambda network, batch: network(inner(batch)))
    module = Unwraps(make_detector(0))
    found = fit(
        make_callback(*objectives, teacher_view=teacher_view, batch_view=view), module=module
    )
    expected = TinyModule(make_detector(0))
    assert torch.equal(found, fit(make_callback(*objectives), module=expected))
    assert module.losses == expected.losses
    assert any(targets.from_teacher.any() for targets in module.seen_targets)


class Shrink(Objective):
    """Needs no teacher."""

    name = "shrink"
    needs_teacher = False

    def forward(self, student, teacher, context):
        assert teacher is context.teacher is context.outputs is None
        assert context.classes == ("Vehicle", "Pedestrian", "Cyclist")
        return self.weight * student.maps.heatmap.float().sigmoid().mean()


def test_without_a_teacher():
    callback = KDCallback(objectives=[Shrink(2.0)])
    module = TinyModule(make_detector(0))
    trainer = make_trainer(callback, max_steps=1)
    trainer.fit(module, make_loader(), make_loader(2))
    expected = 2.0 * make_detector(0)(make_batch()).heatmap.sigmoid().mean()
    assert trainer.callback_metrics["kd/shrink"].item() == pytest.approx(expected.item())
    with pytest.raises(ConfigError, match=r"objectives that need one \(logit\)"):
        KDCallback(objectives=[Shrink(), PivotalLogitKD()])


def test_a_teacher_that_nobody_needs_does_not_run():
    ran, teacher = [], make_detector(1)
    teacher.register_forward_hook(lambda *_: ran.append(1))
    for weight in (0.0, 1.0):
        objectives = [RegressionKD(weight), FeatureKD(0.0)]
        callback = KDCallback(teacher, objectives, teacher_check_frames=0)
        make_trainer(callback).fit(TinyModule(make_detector(0)), make_loader(4))
        assert len(ran) == 2 * weight


class Waits(TorchDispatchMode):
    """Notes operations for which a host waits for its CUDA device."""

    SLOW = ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "equal")

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.SLOW:
            self.noted.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Counted(TinyDetector):
    """Has counted its points before, so that the network itself does not wait either."""

    def count_points(self, batch):
        return torch.ones(len(batch), 1, *self.grid.shape)


def test_what_the_callback_adds_to_a_step_does_not_wait_for_the_device(monkeypatch):
    monkeypatch.setattr(DistilledStep, "_waits", lambda self: True)  # as on CUDA
    noted = {"before_step": [], "after_step": []}

    def noting(name):
        original = getattr(DistilledStep, name)

        def method(self, value):
            with Waits() as waits:
                result = original(self, value)
            noted[name].append(waits.noted)
            return result

        return method

    for name in noted:
        monkeypatch.setattr(DistilledStep, name, noting(name))
    objectives = [FeatureKD(0.5), PivotalLogitKD(5.0, pivots="all"), RegressionKD(0.5)]
    callback = KDCallback(Counted(cells=32), objectives, teacher_check_frames=0)
    make_trainer(callback).fit(TinyModule(make_detector(0)), make_loader())
    for steps in noted.values():
        assert len(steps) == 4
        assert steps[1:] == [[], [], []]
    assert noted["before_step"][0]  # the look at the teacher's values, which does wait


CLI_CONFIG = """
model:
  class_path: distill_fakes.DealtModule
trainer:
  accelerator: cpu
  max_steps: 2
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  use_distributed_sampler: false
  callbacks:
    - class_path: kd3d.distill.KDCallback
      init_args:
        teacher: {teacher}
        objectives:
          logit: {{class_path: kd3d.distill.PivotalLogitKD, init_args: {{weight: 5.0}}}}
          label: {{class_path: kd3d.distill.LabelKD, init_args: {{thresholds: [0.6, 0.5, 0.5]}}}}
          off: null
        teacher_mode: batch_stats
        teacher_check_frames: 0
"""


def test_lightning_cli(tmp_path):
    torch.manual_seed(1)
    teacher = create_detector(
        "cp_pillar_v064",
        cell_size=(0.64, 0.64),
        point_cloud_range=(-10.24, -10.24, -2.0, 10.24, 10.24, 4.0),
        width={"encoder": 0.125, "backbone_2d": 0.125, "head": 0.125},
        depth=(0, 0, 0),
    )
    save_detector(teacher, tmp_path / "teacher.pt")
    config = tmp_path / "config.yaml"
    config.write_text(CLI_CONFIG.format(teacher=tmp_path / "teacher.pt"))
    cli = LightningCLI(
        TinyModule,
        subclass_mode_model=True,
        save_config_callback=None,
        args=["fit", "--config", str(config)],
    )
    callback = next(item for item in cli.trainer.callbacks if isinstance(item, KDCallback))
    assert list(callback.objectives) == ["logit", "label"]
    assert callback.objectives["label"].thresholds == (0.6, 0.5, 0.5)
    assert callback.teacher_mode == "batch_stats"
    assert cli.trainer.callback_metrics["kd/logit"] > 0
    assert isinstance(cli.model.detector, TinyDetector)
