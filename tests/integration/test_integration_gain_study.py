"""The smallest version of the gain study: two steps, two seeds, tiny data."""

import csv
import json
import shlex
import shutil
import signal
from pathlib import Path

import pytest
import torch

from kd3d import Detector
from kd3d.cli.job_names import register_job_name
from kd3d.cli.resume import compose_train
from kd3d.cli.study import run_study
from kd3d.errors import ConfigError, DatasetError, OutputError
from kd3d.study import estimate, read_runs, read_sessions, usable_cores
from kd3d.training import ResumeCheckpoint

ROWS = ("plain", "plain_init", "kd", "kd_init", "plain_long")
FREE = "[0.01,0.01,0.01]"
WORDS = [
    "experiment=gain_study_smoke",
    "simulate.workers=1",
    "study.processes=0",
    f"optimizer.iou_thresholds={FREE}",  # so that untrained networks find something
    "+student.score_threshold=0.0",
    "+teacher.score_threshold=0.0",
    "callbacks.checkpoint.every_n_train_steps=1",
]


def study(folder, *words, name="study"):
    """Run a study inside this process, as the command does."""
    register_job_name()
    words = [*WORDS, f"study.results={folder / name / 'results'}", *words]
    return run_study(compose_train(words), folder / name, words)


def lines_of(report, part):
    """The lines of the report's table whose header begins with a word."""
    lines = report.read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith(f"| {part}"))
    end = lines.index("", start)
    return lines[start + 2 : end]


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the studies run: relative paths of data and logs lead here."""
    folder = tmp_path_factory.mktemp("gain_study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def whole(place):
    """A study that nothing interrupts: the folder of its results."""
    study(place, name="whole")
    return place / "whole" / "results"


def test_all_rows_seeds_and_the_teacher_are_there(whole):
    found = {(run.row, run.seed): run for run in read_runs(whole)}
    assert set(found) == {(row, seed) for row in ROWS for seed in (0, 1)} | {("teacher", 1000)}
    assert {run.steps for (row, _), run in found.items() if row != "plain_long"} == {2}
    assert found["plain_long", 0].steps == 4
    teacher = found["teacher", 1000]
    for (row, _), run in found.items():
        taught = row in ("plain_init", "kd", "kd_init")
        assert run.teacher == (teacher.weights if taught else None)
        assert run.split == "test"
        assert run.cpu_seconds > 0
        assert run.curve[-1][0] == run.steps
    assert len({run.settings for run in found.values()}) == 6
    assert read_sessions(whole)[-1].runs == 11


def test_rows_differ_as_they_should(whole):
    weights = {
        (row, seed): Detector.from_checkpoint(
            next((whole.parent / "runs" / f"{row}-seed{seed}").glob("*/detector.ckpt"))
        ).state_dict()
        for row in ROWS
        for seed in (0, 1)
    }
    name = "backbone_2d.blocks.0.1.weight"
    for seed in (0, 1):
        different = [weights[row, seed][name] for row in ROWS]
        for k, one in enumerate(different):
            assert not any(torch.equal(one, other) for other in different[:k])
    assert not torch.equal(weights["plain", 0][name], weights["plain", 1][name])


def test_the_report_holds_what_the_runs_found(whole):
    values = {(run.row, run.seed): run.metrics["L2_mAPH"] for run in read_runs(whole)}
    assert len({round(value, 6) for value in values.values()}) > 6  # not all alike
    changes = [values["kd_init", seed] - values["plain_init", seed] for seed in (0, 1)]
    found = estimate(changes)
    (line, *_) = lines_of(whole / "report.md", "Question")
    mean, low, high = (round(100 * end, 2) + 0.0 for end in (found.mean, found.low, found.high))
    assert f"**{mean:+.2f}**" in line
    assert f"{low:+.2f} to {high:+.2f}" in line
    rows = lines_of(whole / "report.md", "Row")
    assert [line.split("|")[1].strip() for line in rows] == [
        "teacher",
        "plain",
        "plain, same initialisation",
        "KD without initialisation",
        "KD with initialisation",
        "plain, teacher + student steps",
    ]
    with (whole / "runs.csv").open() as file:
        table = {(row["row"], int(row["seed"])): row for row in csv.DictReader(file)}
    assert float(table["kd", 1]["L2_mAPH"]) == pytest.approx(values["kd", 1], abs=1e-6)
    assert (whole / "gains.png").is_file()


def copied(whole, folder):
    """A finished study's results in a folder of their own."""
    shutil.copytree(whole, folder / "study" / "results")
    return folder / "study" / "results"


def test_an_interrupted_study_goes_on_and_gives_the_same_table(place, whole, monkeypatch):
    """Most runs of the second half come from a machine that was not interrupted."""
    save, saves = ResumeCheckpoint._save, []

    def interrupt(self, trainer):
        save(self, trainer)
        saves.append(trainer.global_step)
        if len(saves) == 9:  # teacher 2, plain_long 4, plain 2, then the first step of plain_init
            raise KeyboardInterrupt

    monkeypatch.setattr(ResumeCheckpoint, "_save", interrupt)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        study(place, name="halves")
    signal.signal(signal.SIGINT, handler)  # Lightning turns it off
    monkeypatch.undo()
    results = place / "halves" / "results"
    before = stamps(results)
    assert sorted(before) == ["plain-seed0.json", "plain_long-seed0.json", "teacher-seed1000.json"]
    (begun,) = (place / "halves" / "runs").glob("plain_init-seed0/*/checkpoints/last.ckpt")
    assert torch.load(begun, weights_only=True)["global_step"] == 1

    shutil.copytree(whole / "settings", results / "settings", dirs_exist_ok=True)
    for name in set(stamps(whole)) - set(before) - {"plain_init-seed0.json", "kd-seed1.json"}:
        shutil.copy2(whole / "runs" / name, results / "runs")
    study(place, name="halves")
    assert {name: stamps(results)[name] for name in before} == before
    assert [session.runs for session in read_sessions(results)] == [3, 2]
    for one, other in zip(read_runs(whole), read_runs(results), strict=True):
        assert (one.row, one.seed, one.metrics, one.curve) == (
            *(other.row, other.seed),
            *(other.metrics, other.curve),
        )
    for part in ("Question", "Class"):
        assert lines_of(whole / "report.md", part) == lines_of(results / "report.md", part)


def test_a_report_alone_runs_nothing(whole, tmp_path):
    results = copied(whole, tmp_path)
    (results / "report.md").unlink()
    (results / "runs" / "kd-seed1.json").unlink()
    before = stamps(results)
    study(tmp_path, "study.report_only=true")
    assert stamps(results) == before
    report = (results / "report.md").read_text()
    assert "**Missing:** 1 of the planned runs: kd seed 1" in report
    command = report.split("**Command:** `")[1].split("`")[0]
    assert shlex.split(command) == [
        "kd3d-train",
        *(word for word in WORDS if word != "study.processes=0"),
    ]


def test_another_machine_goes_on_with_the_results_alone(whole, tmp_path):
    results = copied(whole, tmp_path)
    lost = results / "runs" / "kd_init-seed1.json"
    first = json.loads(lost.read_text())
    lost.unlink()
    study(tmp_path)
    again = json.loads(lost.read_text())
    assert again["metrics"] == first["metrics"]
    assert again["teacher"] == first["teacher"]
    assert [path.name for path in (tmp_path / "study" / "runs").iterdir()] == ["kd_init-seed1"]


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (["optimizer.max_rate=0.5"], ConfigError, r"optimizer\.max_rate was 0\.003, now 0\.5"),
        (["study.steps=3"], ConfigError, r"trainer\.max_steps was 2, now 3"),
        (["study.seeds=[1,1]"], ConfigError, "more than once"),
        (["study.only=[kd_innit]"], ConfigError, "Did you mean kd_init"),
        (
            ["study.rows.kd.overrides=['run.plain=true','run.student=true']"],
            ConfigError,
            "the row trains student and plain",
        ),
        (["~study.rows.plain_long", "study.comparisons=[]"], ConfigError, "no row of this study"),
        (["simulate.seed=5", "data.root=other"], DatasetError, "was run on other data"),
    ],
)
def test_what_does_not_fit_is_refused_and_finished_runs_stay(words, kind, told, whole, tmp_path):
    results = copied(whole, tmp_path)
    before = stamps(results)
    with pytest.raises(kind, match=told):
        study(tmp_path, *words)
    assert stamps(results) == before


def test_weights_of_distillation_concern_only_the_rows_that_use_them(whole, tmp_path):
    copied(whole, tmp_path)
    with pytest.raises(ConfigError, match=r"kd-seed0\.json.*logit\.weight was 7\.0, now 1\.0"):
        study(tmp_path, "kd.objectives.logit.weight=1.0")


def test_a_failed_run_is_told_and_the_others_go_on(whole, tmp_path, capsys):
    results = copied(whole, tmp_path)
    for row in ("plain", "kd"):
        (results / "runs" / f"{row}-seed0.json").unlink()
    broken = tmp_path / "study" / "runs" / "kd-seed0" / "student" / "checkpoints"
    broken.mkdir(parents=True)
    (broken / "last.ckpt").write_text("damaged")
    with pytest.raises(OutputError, match="1 runs failed: kd seed 0"):
        study(tmp_path)
    shown = capsys.readouterr().out
    assert "failed: kd seed 0" in shown
    assert "CheckpointError" in shown
    assert (results / "runs" / "plain-seed0.json").is_file()
    assert "**Failed in the last call:** kd seed 0" in (results / "report.md").read_text()


def test_runs_are_processes_that_resume_can_go_on_with(whole, tmp_path, command_here):
    """With one run left to do."""
    results = copied(whole, tmp_path)
    lost = results / "runs" / "plain-seed0.json"
    first = json.loads(lost.read_text())
    lost.unlink()
    folder = tmp_path / "study"
    done = command_here(
        "kd3d-train",
        *(word for word in WORDS if "processes" not in word),
        *(
            f"study.processes={usable_cores()}",
            f"study.results={results}",
            f"hydra.run.dir={folder}",
        ),
        folder=Path.cwd(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished: plain seed 0" in done.stdout
    assert json.loads(lost.read_text())["metrics"] == first["metrics"]
    log = (folder / "runs" / "plain-seed0" / "log.txt").read_text()
    assert "Waymo metric, test frames" in log
