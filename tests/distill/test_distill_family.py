"""Each of the eight detectors as a student and as a teacher, of its own family and of the other."""

from pathlib import Path

import kd3d.conf
import pytest
import torch
from distill_fakes import make_trainer
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from kd3d.detectors import create_detector, list_detectors
from kd3d.distill import KDCallback, LabelKD, PivotalLogitKD, RegressionKD
from kd3d.structures import PointBatch
from kd3d.training import DetectorModule

WIDTHS = Path(kd3d.conf.__file__).parent / "width" / "quarter"
PAIRS = [  # teacher, student
    ("cp_pillar", "cp_pillar_v040"),
    ("cp_pillar", "cp_pillar_v048"),
    ("cp_pillar_v040", "cp_pillar_v064"),
    ("cp_pillar_v048", "cp_pillar"),
    ("cp_voxel", "cp_voxel_s"),
    ("cp_voxel_s", "cp_voxel_xs"),
    ("cp_voxel_xxs", "cp_voxel"),
    ("cp_voxel_xs", "cp_pillar_v064"),
    ("cp_pillar_v064", "cp_voxel_xxs"),
]


def tiny(name, pair, seed):
    """A quarter of its width, on a range that is whole cells of both networks."""
    half = 7.68 if "cp_pillar_v048" in pair else 6.4
    width = OmegaConf.to_container(OmegaConf.load(WIDTHS / f"{name}.yaml"))["width"]
    torch.manual_seed(seed)
    return create_detector(
        name,
        point_cloud_range=(-half, -half, -2.0, half, half, 4.0),
        width=width,
        score_threshold=0.01,
    )


def scene(seed):
    random = torch.Generator().manual_seed(seed)
    boxes = torch.tensor([[2.0, 2.5, 1, 4, 2, 1.5, 0.3], [-4, -3, 1, 0.9, 0.9, 1.7, 0]])
    points = torch.rand(300, 5, generator=random) * 12 - 6
    points[:, 2] = points[:, 2] / 6 + 1
    points[:200, :2] = points[:200, :2] / 6 + boxes[:, :2].repeat(100, 1)
    return {"points": points, "boxes": boxes, "labels": torch.tensor([0, 1])}


def collate(scenes):
    return PointBatch.from_points(
        [one["points"] for one in scenes],
        boxes=[one["boxes"] for one in scenes],
        labels=[one["labels"] for one in scenes],
    )


def fit(student, *callbacks):
    module = DetectorModule(student, total_steps=4)
    loader = DataLoader([scene(seed) for seed in range(4)], batch_size=2, collate_fn=collate)
    trainer = make_trainer(*callbacks)
    trainer.fit(module, loader)
    return trainer, module


def test_every_detector_teaches_and_learns():
    teachers, students = (set(side) for side in zip(*PAIRS, strict=True))
    centers = {name for name in list_detectors() if name.startswith("cp_")}
    assert teachers == students == centers  # anchor heads: test_distill_anchor.py


@pytest.mark.parametrize("pair", PAIRS, ids="->".join)
@pytest.mark.filterwarnings("ignore")
def test_a_pair_distils(pair, tmp_path):
    teacher = tiny(pair[0], pair, seed=1)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    objectives = {
        "logit": PivotalLogitKD(10.0),
        "regression": RegressionKD(0.2, space="metres"),
        "label": LabelKD([0.02] * 3),
    }
    callback = KDCallback(teacher, objectives, teacher_mode="batch_stats", teacher_check_frames=0)
    trainer, distilled = fit(tiny(pair[1], pair, seed=0), callback)
    _, plain = fit(tiny(pair[1], pair, seed=0))

    logged = trainer.logged_metrics
    assert 0 < logged["kd/logit"] < float("inf")
    assert 0 < logged["kd/regression"] < float("inf")
    assert any(
        not torch.equal(value, plain.state_dict()[key])
        for key, value in distilled.state_dict().items()
        if key.endswith("weight")
    )
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    again = DetectorModule.from_checkpoint(tmp_path / "student.ckpt").detector
    assert again.spec() == distilled.detector.spec()
    for key, value in distilled.detector.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


class Follower(DetectorModule):
    """Learns nothing but what a teacher shows."""

    def training_step(self, batch, batch_idx):
        return 0.0 * self.detector(batch).dim.sum()


class Terms(Callback):
    """Keeps what was logged in each step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, *rest):
        self.values.append(float(trainer.logged_metrics["kd/total"]))


@pytest.mark.parametrize("pair", [("cp_voxel", "cp_pillar_v064"), ("cp_pillar", "cp_voxel_xxs")])
@pytest.mark.filterwarnings("ignore")
def test_a_student_of_the_other_family_follows_its_teacher(pair):
    teacher, student = tiny(pair[0], pair, seed=1), tiny(pair[1], pair, seed=0)
    torch.nn.init.constant_(teacher.dense_head.branches["dim"][1].bias, 1.0)
    objectives = [PivotalLogitKD(10.0), RegressionKD(0.2, space="metres")]
    terms = Terms()
    trainer = make_trainer(
        KDCallback(teacher, objectives, teacher_check_frames=0),
        terms,
        max_epochs=15,
        log_every_n_steps=1,
    )
    loader = DataLoader([scene(0), scene(1)], batch_size=2, collate_fn=collate)
    trainer.fit(Follower(student, total_steps=15, max_rate=0.01), loader)
    assert terms.values[-1] < 0.5 * terms.values[0]
