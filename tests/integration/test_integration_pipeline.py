"""The pipeline inside one process: what a run guarantees about its numbers."""

import csv

import pytest
import torch
from hydra import compose, initialize_config_module

from kd3d import Detector
from kd3d.cli.job_names import register_job_name
from kd3d.cli.pipeline import run
from kd3d.cli.results import read_results

BARE = ["report.picture_frame=null", "report.latency_repeats=0", "callbacks.pictures=null"]


@pytest.fixture
def composed(smoke, monkeypatch):
    """Compose a smoke configuration on the data and the teacher of the smoke run."""
    folder, _ = smoke
    monkeypatch.chdir(folder)

    def make(*overrides):
        register_job_name()
        words = ["experiment=cp_pillar_kd", "scale=smoke", "simulate.workers=1", *BARE, *overrides]
        with initialize_config_module("kd3d.conf", version_base="1.3"):
            return compose("train", overrides=words)

    return make


def losses(folder):
    with (folder / "student" / "metrics.csv").open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


def test_zero_weights_equal_the_plain_run_with_the_same_initialisation(composed, tmp_path):
    zero = [f"kd.objectives.{name}.weight=0" for name in ("logit", "label")]
    common = [
        "run.plain=false",
        "run.initialised=false",
        "trainer.max_steps=4",
        "teacher.max_steps=2",
    ]
    run(composed(*common, *zero), tmp_path / "zero", "")
    run(composed(*common, "kd=none"), tmp_path / "plain", "")
    assert losses(tmp_path / "zero") == losses(tmp_path / "plain")
    first = Detector.from_checkpoint(tmp_path / "zero" / "student" / "detector.ckpt").state_dict()
    second = Detector.from_checkpoint(tmp_path / "plain" / "student" / "detector.ckpt").state_dict()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_the_same_command_gives_the_same_numbers(composed, tmp_path):
    for name in ("a", "b"):
        run(composed("run.plain=false", "run.initialised=false"), tmp_path / name, "")
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_an_interrupted_stage_goes_on_from_its_last_checkpoint(composed, tmp_path):
    words = [
        "run.plain=false",
        "run.initialised=false",
        "trainer.max_steps=4",
        "teacher.max_steps=2",
    ]
    words += ["optimizer.total_steps=4"]
    run(composed(*words), tmp_path / "whole", "")
    run(composed(*words, "trainer.max_steps=2"), tmp_path / "half", "")
    (tmp_path / "half" / "student" / "result.json").unlink()
    for name in ("metrics.json", "config.yaml"):
        (tmp_path / "half" / name).unlink()
    first_log = (tmp_path / "half" / "student" / "metrics.csv").read_text()
    run(composed(*words), tmp_path / "half", "")
    whole = Detector.from_checkpoint(tmp_path / "whole" / "student" / "detector.ckpt")
    half = Detector.from_checkpoint(tmp_path / "half" / "student" / "detector.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, half.state_dict()[name]), name
    assert (tmp_path / "half" / "student" / "metrics.1.csv").read_text() == first_log


def test_a_teacher_from_a_file_is_evaluated_not_trained(composed, smoke, tmp_path):
    folder, _ = smoke
    (file, *_) = sorted((folder / "logs" / "train" / "teachers").glob("*/detector.ckpt"))
    words = ["run.teacher=false", "run.plain=false", "run.initialised=false"]
    run(composed(*words, f"teacher.checkpoint={file}"), tmp_path / "loaded", "")
    teacher, student = read_results(tmp_path / "loaded" / "metrics.json")
    assert (teacher.role, teacher.initialisation, teacher.steps) == ("teacher", "loaded", 0)
    assert student.initialisation == "copy of the teacher"
    trained = read_results(file.parent / "result.json")[0]
    assert teacher.metrics == trained.metrics
