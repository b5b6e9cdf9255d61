"""kd3d-train as a user types it; what comes after the first run goes on inside this process."""

import csv
import json

import pytest
import torch
from omegaconf import OmegaConf

from kd3d import Detector, DetectorModule
from kd3d.detectors import create_detector


def test_a_run_folder_holds_everything(smoke):
    folder, output = smoke
    run = folder / "run"
    for name in ("config.yaml", "versions.json", "metrics.csv", "metrics.json", "report.md"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "bev.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "student" / "checkpoints" / "last.ckpt").is_file()
    assert OmegaConf.load(run / "config.yaml").student.name == "cp_pillar_v064"
    assert "effective batch: 2 frames" in output
    assert "the recipe's effective batch is 16 over 8 GPUs" in output


def test_the_report_puts_the_runs_side_by_side(smoke):
    folder, _ = smoke
    runs = json.loads((folder / "run" / "metrics.json").read_text())["runs"]
    assert [(run["name"], run["role"], run["initialisation"]) for run in runs] == [
        ("teacher", "teacher", "random"),
        ("plain student", "plain student", "random"),
        ("initialised student", "plain student", "copy of the teacher"),
        ("distilled student", "distilled student", "copy of the teacher"),
    ]
    assert [run["detector"] for run in runs] == ["cp_pillar"] + ["cp_pillar_v064"] * 3
    assert [run["steps"] for run in runs] == [2, 2, 2, 2]
    for run in runs:
        assert 0 <= run["metrics"]["Vehicle/L2_APH"] <= 1
        assert run["latency_ms"] > 0
        assert run["parameters"] == sum(
            p.numel()
            for p in create_detector(
                run["detector"],
                point_cloud_range=(-19.2, -19.2, -2, 19.2, 19.2, 4),
                width={"encoder": 0.25, "backbone_2d": 0.25, "head": 0.25},
            ).parameters()
        )
    report = (folder / "run" / "report.md").read_text()
    assert "copy of the teacher" in report
    assert "were dropped, for all rows alike" in report
    assert "kd3d-train experiment=cp_pillar_kd scale=smoke" in report


def test_checkpoints_are_plain_and_hold_no_teacher(smoke):
    folder, _ = smoke
    student = folder / "run" / "student"
    stored = torch.load(student / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["kd3d_detector"]["name"] == "cp_pillar_v064"
    names = set(DetectorModule(Detector.from_checkpoint(student / "detector.ckpt")).state_dict())
    assert set(stored["state_dict"]) == names
    last = Detector.from_checkpoint(student / "checkpoints" / "last.ckpt")
    final = Detector.from_checkpoint(student / "detector.ckpt")
    for name, value in last.state_dict().items():
        assert torch.equal(value, final.state_dict()[name]), name


def test_only_the_distilled_run_has_kd_terms_in_its_curves(smoke):
    folder, _ = smoke
    with (folder / "run" / "student" / "metrics.csv").open() as file:
        distilled = csv.DictReader(file).fieldnames
    with (folder / "run" / "plain" / "metrics.csv").open() as file:
        plain = csv.DictReader(file).fieldnames
    assert any(name.startswith("kd/") for name in distilled)
    assert not any(name.startswith("kd/") for name in plain)


def test_a_finished_run_is_not_repeated(smoke, command_here):
    folder, _ = smoke
    before = (folder / "run" / "report.md").stat().st_mtime_ns
    again = command_here(
        "kd3d-train",
        "experiment=cp_pillar_kd",
        "scale=smoke",
        "simulate.workers=1",
        "hydra.run.dir=run",
        folder=folder,
    )
    assert again.returncode == 0, again.stderr
    assert "finished before" in again.stdout
    assert (folder / "run" / "report.md").stat().st_mtime_ns == before


def test_a_sweep_shares_one_teacher_and_a_rerun_skips_finished_jobs(smoke, command_here):
    folder, _ = smoke
    words = [
        "-m",
        "experiment=cp_pillar_kd",
        "scale=smoke",
        "simulate.workers=1",
        "run.plain=false",
        "run.initialised=false",
        "report.picture_frame=null",
        "callbacks.pictures=null",
    ]
    teachers = {
        path: path.stat().st_mtime_ns
        for path in (folder / "logs" / "train" / "teachers").glob("*/detector.ckpt")
    }
    assert teachers
    first = command_here("kd3d-train", *words, "seed=1,2", folder=folder)
    assert first.returncode == 0, first.stdout + first.stderr
    jobs = sorted((folder / "logs" / "train" / "sweeps").glob("*/report.md"))
    assert len(jobs) == 2
    stamps = [job.stat().st_mtime_ns for job in jobs]
    second = command_here("kd3d-train", *words, "seed=1,2", folder=folder)
    assert second.stdout.count("finished before") == 2, second.stdout + second.stderr
    assert [job.stat().st_mtime_ns for job in jobs] == stamps
    assert {
        path: path.stat().st_mtime_ns
        for path in (folder / "logs" / "train" / "teachers").glob("*/detector.ckpt")
    } == teachers


def test_evaluating_a_checkpoint_gives_the_reports_numbers(smoke, command_here):
    folder, _ = smoke
    done = command_here(
        "kd3d-eval",
        "checkpoint=run/student/detector.ckpt",
        "data.root=data/smoke",
        "data.val_frame_interval=1",
        "data.num_workers=0",
        "data.object_range=[-19.2,-19.2,-2,19.2,19.2,4]",
        "hydra.run.dir=eval",
        folder=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((folder / "eval" / "metrics.json").read_text())
    runs = json.loads((folder / "run" / "metrics.json").read_text())["runs"]
    report = runs[-1]["metrics"]
    assert {name: metrics[name] for name in report} == pytest.approx(report, abs=1e-6)
    assert "Vehicle/0-30m/L2_APH" in metrics
    assert (folder / "eval" / "metrics.csv").is_file()
    assert "Vehicle" in done.stdout


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["experiment=cp_pillar_kd"], ["data.root", "scale=demo"]),
        (["experiment=cp_pillar_kd", "data.root=x"], ["teacher.checkpoint", "run.teacher=true"]),
        (
            ["experiment=cp_pillar_kd", "data.root=x", "teacher.checkpoint=no.ckpt"],
            ["no.ckpt"],
        ),
    ],
)
def test_what_cannot_work_stops_with_one_message(words, parts, command_here, tmp_path):
    done = command_here("kd3d-train", *words, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
