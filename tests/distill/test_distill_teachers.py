"""Teachers from anywhere: modules of any kind, exported programs, and how they are looked at."""

import sys

import pytest
import pytorch_lightning
import torch
from distill_fakes import (
    CLASSES,
    TinyDetector,
    TinyModule,
    make_batch,
    make_detector,
    make_grid,
    make_loader,
    make_trainer,
)
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

from kd3d.distill import BatchView, KDCallback, LabelKD, PivotalLogitKD, View, waymo_score
from kd3d.distill.exported import ExportedNetwork
from kd3d.distill.teacher import Teacher, detector_of, load_teacher
from kd3d.errors import CheckpointError, ConfigError, TapError, TeacherError
from kd3d.structures import HeadMaps

pytestmark = pytest.mark.filterwarnings("ignore")


class MapsOfCounts(nn.Module):
    """What of a TinyDetector can be exported: counts in, maps out."""

    def __init__(self, detector):
        super().__init__()
        self.body, self.head = detector.body, detector.head

    def forward(self, counts):
        features = self.body(counts)
        return {"scores": self.head["heatmap"](features), "box": self.head["box"](features)}


def export(detector, **options):
    network = MapsOfCounts(detector.eval())
    batch = torch.export.Dim("batch")
    return torch.export.export(
        network, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: batch},), **options
    )


@pytest.fixture(scope="module")
def program():
    return export(make_detector(1))


def exported_view(**changes):
    def read(network, captured):
        box = captured[""]["box"].split((2, 1, 3, 2), dim=1)
        return HeadMaps(captured[""]["scores"], *box, make_grid())

    counter = TinyDetector()
    return View(
        read,
        classes=CLASSES,
        call=lambda network, batch: network(counter.count_points(batch)),
        **changes,
    )


def test_an_exported_program_teaches_what_its_network_teaches(program):
    def losses(teacher, view=None):
        module = TinyModule(make_detector(0))
        callback = KDCallback(
            teacher,
            [PivotalLogitKD(5.0, pivots="confidence", threshold=0.01)],
            teacher_view=view,
            teacher_check_frames=0,
        )
        make_trainer(callback).fit(module, make_loader(4))
        return module.losses

    assert losses(program, exported_view()) == pytest.approx(losses(make_detector(1)), rel=1e-5)


def test_an_exported_program_is_frozen_and_stays_on_its_device(program):
    network = load_teacher(program)
    assert isinstance(network, ExportedNetwork)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.to("cpu").eval() is network
    maps = Teacher(network, view=exported_view()).teach(make_batch()).maps
    assert not maps.heatmap.requires_grad
    with pytest.raises(TeacherError, match="no training mode"):
        network.train()


def test_an_exported_program_moves_as_a_whole(monkeypatch):
    network = load_teacher(export(make_detector(1)))
    assert network.to("meta") is network
    assert all(value.is_meta and not value.requires_grad for value in network.parameters())
    assert network(torch.zeros(2, 1, 16, 16, device="meta"))["scores"].is_meta
    monkeypatch.setitem(sys.modules, "torch.export.passes", None)
    with pytest.raises(TeacherError, match="cannot move an exported program"):
        load_teacher(export(make_detector(1))).to("meta")


@pytest.mark.parametrize("mode", ["batch_stats", "train"])
def test_an_exported_program_has_one_mode(program, mode):
    with pytest.raises(TeacherError, match=f"not in '{mode}'"):
        Teacher(load_teacher(program), mode, exported_view())


def test_an_exported_program_has_nothing_to_tap(program):
    with pytest.raises(TapError, match=r"body\.0: the teacher is an exported program"):
        Teacher(load_teacher(program), view=exported_view(), taps=["body.0"])


def test_a_program_exported_in_training_mode_is_refused():
    network = MapsOfCounts(make_detector(1).train())
    program = torch.export.export(network, (torch.zeros(2, 1, 16, 16),))
    with pytest.raises(TeacherError, match=r"exported in training mode \(aten\.batch_norm"):
        load_teacher(program)


def test_a_file_that_may_run_code_is_not_opened(program, tmp_path):
    torch.export.save(program, tmp_path / "teacher.pt2")
    with pytest.raises(CheckpointError, match=r"torch\.export\.load\(path\)"):
        load_teacher(tmp_path / "teacher.pt2")


def test_what_is_no_teacher():
    with pytest.raises(ConfigError, match=r"a dict is no teacher.*predictions="):
        load_teacher({"state_dict": {}})


def test_a_foreign_checkpoint_says_what_to_do(tmp_path):
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "mine.ckpt")
    with pytest.raises(CheckpointError, match="load it yourself and pass the module"):
        load_teacher(tmp_path / "mine.ckpt")


@pytest.mark.parametrize("base", [LightningModule, pytorch_lightning.LightningModule])
def test_modules_of_both_packages_give_their_detector(base):
    class Wrapper(base):
        def __init__(self):
            super().__init__()
            self.detector = make_detector(1)

    class Whole(base):
        def forward(self, batch):
            return make_detector(1)(batch)

    wrapper, whole = Wrapper(), Whole()
    assert detector_of(wrapper) is wrapper.detector
    assert detector_of(whole) is whole
    Teacher(whole, view=View(classes=CLASSES)).teach(make_batch())


def test_a_plain_module_is_the_teacher_itself():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.detector = make_detector(1)  # a part of it, not the whole

        def forward(self, batch):
            return self.detector(batch)

    plain = Plain()
    assert load_teacher(plain) is plain
    maps = Teacher(plain, view=View(classes=CLASSES)).teach(make_batch()).maps
    assert torch.equal(maps.heatmap, make_detector(1).eval()(make_batch()).heatmap)


def test_a_teacher_that_does_not_decode_is_not_scored_unless_asked(program):
    def fit(**options):
        callback = KDCallback(
            program,
            [PivotalLogitKD(pivots="all")],
            teacher_view=exported_view(),
            teacher_check_frames=2,
            **options,
        )
        make_trainer(callback, max_steps=1).fit(
            TinyModule(make_detector(0)), make_loader(2), make_loader(2)
        )
        return callback.teacher_result

    with pytest.warns(UserWarning, match=r"not scored before training.*no method decode\(\)"):
        assert fit() is None
    with pytest.raises(TeacherError, match=r"no method decode\(\)"):
        fit(teacher_min_score=0.1)


def test_the_score_reads_batches_through_their_view():
    batches = [make_batch()]
    teacher = Teacher(make_detector(1))
    pairs = [{"cloud": batch, "cars": batch.boxes, "kinds": batch.labels} for batch in batches]
    score = waymo_score(
        Teacher(make_detector(1), view=View(call=lambda net, batch: net(batch["cloud"]))),
        pairs,
        BatchView(truth=lambda batch: (batch["cars"], batch["kinds"])),
    )
    assert score == waymo_score(teacher, batches)


class Told(LightningDataModule):
    """Marks what its hook has seen."""

    def __init__(self):
        super().__init__()
        self.prepared = 0

    def train_dataloader(self):
        return make_loader(2)

    def val_dataloader(self):
        return make_loader(4)

    def on_before_batch_transfer(self, batch, dataloader_idx):
        self.prepared += 1
        return batch


class Hooked(TinyModule):
    def __init__(self):
        super().__init__(make_detector(0))
        self.prepared = 0

    def on_before_batch_transfer(self, batch, dataloader_idx):
        self.prepared += 1
        return batch


def test_the_check_prepares_batches_as_the_trainer_does():
    seen = []

    def score(teacher, batches):
        seen.extend(batches)
        return 0.5

    def fit(module, **data):
        callback = KDCallback(
            make_detector(1), [PivotalLogitKD()], teacher_check_frames=3, teacher_score=score
        )
        trainer = make_trainer(callback, max_steps=1, num_sanity_val_steps=0, limit_val_batches=2)
        trainer.fit(module, **data, ckpt_path=None)

    data = Told()
    fit(Hooked(), datamodule=data)
    assert len(seen) == 2  # whole batches, until three frames are seen
    assert data.prepared >= 3  # those, and the training step's
    module = Hooked()
    fit(module, train_dataloaders=make_loader(2), val_dataloaders=make_loader(4))
    assert module.prepared >= 3


def test_label_distillation_needs_a_decoder(program):
    callback = KDCallback(program, [LabelKD(0.5)], teacher_view=exported_view())
    with pytest.raises(TeacherError, match=r"no method decode\(\)"):
        make_trainer(callback).fit(TinyModule(make_detector(0)), make_loader(2))
