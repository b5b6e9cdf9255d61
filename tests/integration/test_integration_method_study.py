"""The smallest version of the method study, and kd3d-report on it: two pairs, two methods."""

import math

import pytest

from kd3d.cli.job_names import register_job_name
from kd3d.cli.report_command import main
from kd3d.cli.resume import compose_train
from kd3d.cli.study import run_study
from kd3d.study import read_runs
from kd3d.study.cells import percent
from kd3d.study.kept_plan import read_failures, read_kept_plan

ROWS = ["v064_none", "v064_fitnet", "xs_none", "xs_label"]
WORDS = [
    "experiment=method_study_smoke",
    "simulate.workers=1",
    "study.processes=0",
    "optimizer.iou_thresholds=[0.01,0.01,0.01]",  # so that untrained networks find something
    "+student.score_threshold=0.0",
    "+teacher.score_threshold=0.0",
]


def study(folder, *words):
    """Run a study inside this process, as the command does."""
    register_job_name()
    words = [*WORDS, f"study.results={folder / 'results'}", *words]
    run_study(compose_train(words), folder, words)
    return folder / "results"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the studies run: relative paths of data and logs lead here."""
    folder = tmp_path_factory.mktemp("method_study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def results(place):
    return study(place / "whole")


def test_both_pairs_are_there_with_their_teachers_and_costs(results):
    found = {run.row: run for run in read_runs(results)}
    assert set(found) == {*ROWS, "pillar", "voxel"}
    for row, run in found.items():
        family = "pillar" if row.startswith("v064") else "voxel"
        assert run.teacher == (found[family].weights if row in ROWS else None)
        assert run.split == "test"
        assert math.isfinite(run.latency_ms)
    macs = [found[name].macs for name in ("pillar", "v064_none", "voxel", "xs_none")]
    assert macs[0] > 3 * macs[1] > 0  # a quarter of the cells
    assert macs[2] > macs[3] > 0
    assert found["v064_none"].macs == found["v064_fitnet"].macs
    assert len({run.settings for run in found.values()}) == 6
    assert read_failures(results) == []
    assert read_kept_plan(results).order == "rows"


def test_the_page_lays_methods_out_against_pairs(results):
    page = (results / "report.md").read_text()
    assert "| Method | CP-Pillar to v0.64 | CP-Voxel to XS |" in page
    assert "### CP-Voxel to XS, the start alone" in page
    assert "](gains-cp-pillar-to-v0.64.png)" in page


def test_the_report_command_reads_the_study_and_its_single_runs(results, tmp_path, capsys):
    main([str(results), f"out={tmp_path}"])
    values = {run.row: run.metrics["L2_mAPH"] for run in read_runs(results)}
    text = capsys.readouterr().out
    gain = percent(values["v064_fitnet"] - values["v064_none"], signed=True)
    told = f"| fitnet | 1 | {percent(values['v064_fitnet'])} | **{gain}** |"
    assert told in text
    assert "- method_study_smoke, v064_sparsekd seed 0\n" in text
    assert "- method_study_smoke, start_random (random) seeds 0, 1\n" in text

    main([str(results.parent / "runs" / f"{row}-seed0") for row in ROWS] + [f"out={tmp_path}"])
    text = capsys.readouterr().out
    assert told in text
    assert "### cp_voxel to cp_voxel_xs" in text


def test_another_study_takes_the_teacher_over(results, place):
    file = results / "teachers" / "pillar.ckpt"
    other = study(place / "other", f"study.teachers.pillar.file={file}", "study.only=[v064_none]")
    runs = {run.row: run for run in read_runs(other)}
    first = {run.row: run for run in read_runs(results)}
    assert runs["pillar"] == first["pillar"]
    assert runs["v064_none"].metrics == first["v064_none"].metrics
    assert [path.name for path in (place / "other" / "runs").iterdir()] == ["v064_none-seed0"]
