"""Whole runs with voxel networks, on the records and the teacher of the smoke run."""

import csv

import pytest
import torch
from hydra import compose, initialize_config_module

from kd3d import Detector
from kd3d.cli.job_names import register_job_name
from kd3d.cli.pipeline import run
from kd3d.cli.results import read_results
from kd3d.errors import ConfigError

ONLY_STUDENT = ["run.plain=false", "run.initialised=false"]
BARE = ["report.picture_frame=null", "report.latency_repeats=0", "callbacks.pictures=null"]


@pytest.fixture
def composed(smoke, monkeypatch):
    """Compose a smoke configuration of any experiment where the smoke run was."""
    folder, _ = smoke
    monkeypatch.chdir(folder)

    def make(experiment, *overrides):
        register_job_name()
        words = [f"experiment={experiment}", "scale=smoke", "simulate.workers=1", *overrides]
        with initialize_config_module("kd3d.conf", version_base="1.3"):
            return compose("train", overrides=words)

    return make


def columns(folder):
    with (folder / "student" / "metrics.csv").open() as file:
        return set(csv.DictReader(file).fieldnames)


def test_a_voxel_pair_trains_from_end_to_end(composed, tmp_path):
    run(composed("cp_voxel_xs_kd", *ONLY_STUDENT), tmp_path, "kd3d-train")
    teacher, student = read_results(tmp_path / "metrics.json")
    assert (teacher.detector, student.detector) == ("cp_voxel", "cp_voxel_xs")
    assert student.initialisation == "prefix of the teacher"
    assert student.steps == teacher.steps == 2
    assert {"kd/logit", "kd/regression", "kd/total"} <= columns(tmp_path)
    assert (tmp_path / "report.md").is_file()


def test_a_pillar_network_teaches_a_voxel_network(composed, smoke, tmp_path):
    teachers = smoke[0] / "logs" / "train" / "teachers"
    trained = set(teachers.glob("cp_pillar-*/detector.ckpt"))  # the smoke run's, at least
    assert trained
    run(composed("pillar_to_voxel_kd", *ONLY_STUDENT, *BARE), tmp_path, "kd3d-train")
    teacher, student = read_results(tmp_path / "metrics.json")
    assert (teacher.detector, student.detector) == ("cp_pillar", "cp_voxel_xxs")
    assert {"kd/logit", "kd/regression"} <= columns(tmp_path)
    assert set(teachers.glob("cp_pillar-*/detector.ckpt")) == trained  # no other was needed


def test_a_student_starts_from_a_file(composed, tmp_path):
    words = [
        "student=cp_voxel_xxs",
        "trainer.max_steps=1",
        "run.teacher=false",
        *ONLY_STUDENT,
        *BARE,
    ]
    run(composed("cp_voxel", *words), tmp_path / "first", "kd3d-train")
    file = tmp_path / "first" / "student" / "detector.ckpt"
    words += ["init=copy", f"init.checkpoint={file}", "optimizer.max_rate=0"]
    run(composed("cp_voxel", *words), tmp_path / "second", "kd3d-train")
    (student,) = read_results(tmp_path / "second" / "metrics.json")
    assert student.initialisation == "copy of detector.ckpt"
    first, second = (
        Detector.from_checkpoint(tmp_path / name / "student" / "detector.ckpt").state_dict()
        for name in ("first", "second")
    )
    name = "backbone_3d.conv2.0.0.weight"
    assert torch.equal(first[name], second[name])


def test_a_file_to_start_from_that_is_not_there_stops_the_run_at_once(composed, tmp_path):
    config = composed("cp_voxel_xxs_kd", "init.checkpoint=cp_voxel_xs.ckpt")
    with pytest.raises(ConfigError, match=r"init.checkpoint: there is no file cp_voxel_xs.ckpt"):
        run(config, tmp_path, "kd3d-train")
    assert not list(tmp_path.iterdir())
