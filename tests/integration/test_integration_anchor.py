"""Whole runs with anchor detectors, on the records of the smoke run."""

import csv

import pytest

from kd3d import Detector
from kd3d.cli.results import read_results


@pytest.fixture(scope="module")
def trained(command_here, smoke, tmp_path_factory):
    """Run an experiment without its plain students where the smoke run was; give its folder."""

    def train(experiment):
        folder = tmp_path_factory.mktemp(experiment)
        words = [f"experiment={experiment}", "scale=smoke", "simulate.workers=1"]
        words += ["run.plain=false", "run.initialised=false", "report.latency_repeats=0"]
        done = command_here("kd3d-train", *words, f"hydra.run.dir={folder}", folder=smoke[0])
        assert done.returncode == 0, done.stdout + done.stderr
        return folder

    return train


@pytest.fixture(scope="module")
def second(trained):
    """The folder of ``kd3d-train experiment=second_kd scale=smoke``."""
    return trained("second_kd")


def last_terms(folder):
    """The last value of every term of distillation."""
    with (folder / "student" / "metrics.csv").open() as file:
        return {
            name: float(value)
            for row in csv.DictReader(file)
            for name, value in row.items()
            if name.startswith("kd/") and value
        }


def test_an_anchor_detector_learns_from_a_wider_one(second):
    teacher, student = read_results(second / "metrics.json")
    assert (teacher.detector, student.detector) == ("second", "second")
    assert student.initialisation == "l1_norm of the teacher"
    assert student.parameters < teacher.parameters / 3
    terms = last_terms(second)
    assert terms["kd/logit"] > 0
    assert terms["kd/regression"] > 0
    narrow = Detector.from_checkpoint(second / "student" / "detector.ckpt")
    assert narrow.spec()["arguments"]["width"] == {"backbone_3d": 0.125, "backbone_2d": 0.125}


def test_an_anchor_teacher_labels_for_a_center_student(second, trained, smoke):
    teachers = smoke[0] / "logs" / "train" / "teachers"
    before = set(teachers.glob("second-*/detector.ckpt"))
    assert len(before) == 1  # the other experiment's
    run = trained("second_to_pillar_kd")
    assert set(teachers.glob("second-*/detector.ckpt")) == before
    teacher, student = read_results(run / "metrics.json")
    assert (teacher.detector, student.detector) == ("second", "cp_pillar_v064")
    assert "kd/teacher_boxes" in last_terms(run)
