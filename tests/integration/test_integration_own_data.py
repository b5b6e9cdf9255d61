"""A folder of five classes and four features, from the first look to a distilled student."""

import json
import sys
from pathlib import Path

import pytest

from kd3d import Detector, DetectorModule, FolderDataModule, KDCallback, LabelKD, PivotalLogitKD
from kd3d.detectors import create_detector
from kd3d.predictions import load_objects

sys.path.append(str(Path(__file__).parents[1] / "data"))
from folder_scenes import CLASSES, write_folder

RANGE = (-30.72, -30.72, -2.0, 30.72, 30.72, 4.0)
THIN = {"encoder": 0.25, "backbone_2d": 0.125, "head": 0.25}
WORDS = [
    "experiment=cp_pillar_kd",
    "scale=smoke",
    "simulate=null",
    "data=folder",
    "data.root=own",
    f"classes=[{','.join(CLASSES)}]",
    "optimizer.iou_thresholds=[0.7,0.7,0.7,0.5,0.5]",
    "kd.objectives.label.thresholds=[0.5,0.5,0.5,0.5,0.5]",
    "+student.point_features=4",
    "+teacher.point_features=4",
    "student.intensity=as_is",
    "teacher.intensity=as_is",
    "run.plain=false",
    "run.initialised=false",
    "hydra.run.dir=run",
]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_folder(folder / "own", train=4, val=2)
    return folder


def test_one_command_trains_distils_and_evaluates(own, command_here):
    done = command_here("kd3d-train", *WORDS, folder=own)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads((own / "run" / "metrics.json").read_text())["runs"]
    assert [run["role"] for run in runs] == ["teacher", "distilled student"]
    # by the thresholds of optimizer.iou_thresholds, as Waymo has none for these classes
    assert "Teacher: L2 mAP" in done.stdout
    assert "not scored" not in done.stdout + done.stderr
    for run in runs:
        assert run["steps"] == 2
        for name in CLASSES:
            assert 0 <= run["metrics"][f"{name}/L2_APH"] <= 1
    student = Detector.from_checkpoint(own / "run" / "student" / "detector.ckpt")
    assert student.classes == CLASSES
    assert student.point_features == 4


def test_its_predictions_are_written_and_scored(own, command_here):
    data = ["data=folder", "data.root=own", "data.num_workers=0"]
    checkpoint = "checkpoint=run/student/detector.ckpt"
    done = command_here("kd3d-predict", checkpoint, *data, "out=found.npz", folder=own)
    assert done.returncode == 0, done.stdout + done.stderr
    found = load_objects(own / "found.npz")
    assert found.type_names == CLASSES
    assert found.frame_ids == ("val/drive_0/scan_0", "val/drive_0/scan_1")
    done = command_here(
        "kd3d-eval",
        "predictions=found.npz",
        *data,
        "iou_thresholds=[0.7,0.7,0.7,0.5,0.5]",
        "worst.min_score=0.05",
        "hydra.run.dir=eval",
        folder=own,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((own / "eval" / "metrics.json").read_text())
    run = json.loads((own / "run" / "metrics.json").read_text())["runs"][-1]["metrics"]
    assert {name: scores[name] for name in run} == pytest.approx(run, abs=1e-6)
    assert "Walker/0-30m/L2_AP" in scores
    assert (own / "eval" / "worst_frames" / "1.png").is_file()


def test_the_same_in_python(own):
    import lightning.pytorch as pl

    data = FolderDataModule(own / "own", batch_size=2, point_range=RANGE, augmentation=None)
    options = {"point_cloud_range": RANGE, "classes": CLASSES, "point_features": 4, "width": THIN}
    student = create_detector("cp_pillar_v064", **options)
    teacher = create_detector("cp_pillar_v064", **options)
    module = DetectorModule(student, iou_thresholds=[0.7, 0.7, 0.7, 0.5, 0.5])
    callback = KDCallback(
        teacher,
        {"logit": PivotalLogitKD(weight=7.0), "label": LabelKD(thresholds=[0.5] * 5)},
        teacher_check_frames=2,
    )
    trainer = pl.Trainer(
        max_steps=2,
        max_epochs=1,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    assert trainer.global_step == 2
    assert 0 <= callback.teacher_result <= 1
    assert any(name.startswith("kd/") for name in trainer.callback_metrics)
    (scores,) = trainer.validate(module, data, verbose=False)
    assert {f"val/{name}/L2_AP" for name in CLASSES} <= set(scores)
