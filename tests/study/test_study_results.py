"""Results of runs as files, and whether they belong together."""

import dataclasses
import errno
import math

import pytest
from study_cases import plan, run

from kd3d import files
from kd3d.errors import ConfigError, DatasetError, OutputError
from kd3d.study import (
    StudySession,
    Wanted,
    check_runs,
    read_runs,
    read_sessions,
    run_file,
    write_run,
    write_sessions,
)
from kd3d.study.settings import digest_of, read_settings, write_settings

SETTINGS = {"optimizer": {"max_rate": 0.003}, "data": {"batch_size": 2, "classes": ["Vehicle"]}}
TEACHER = "a" * 12


def wanted(**changes):
    names = ("teacher", "plain", "kd", "long")
    fields = {
        "dataset": "simulated-v1-abc",
        "settings": dict.fromkeys(names, SETTINGS),
        "teachers": {"teacher": TEACHER},
    }
    return Wanted(**{**fields, **changes})


def fitting(row="plain", seed=0, **changes):
    return run(row, seed, **{"settings": digest_of(SETTINGS), **changes})


def test_a_run_survives_its_file(tmp_path):
    first = run("kd", 3, teacher=TEACHER)
    write_run(tmp_path, first)
    write_run(tmp_path, run("plain", 0))
    kd, plain = read_runs(tmp_path)
    assert dataclasses.asdict(kd) == dataclasses.asdict(first)
    assert (plain.row, plain.seed) == ("plain", 0)


def test_what_is_not_a_number_is_kept_as_such(tmp_path):
    path = write_run(tmp_path, run(metrics={"Cyclist/L2_APH": math.nan}))
    assert "NaN" not in path.read_text()
    (found,) = read_runs(tmp_path)
    assert math.isnan(found.metrics["Cyclist/L2_APH"])


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"row": "plain"}', "{half"])
def test_an_unreadable_file_is_named(tmp_path, text):
    write_run(tmp_path, run("kd", 1))
    broken = run_file(tmp_path, "plain", 0)
    broken.write_text(text)
    with pytest.raises(OutputError, match=r"plain-seed0\.json: is no result .* run is repeated"):
        read_runs(tmp_path)


def test_a_file_under_another_name_is_refused(tmp_path):
    write_run(tmp_path, run("kd", 1)).rename(run_file(tmp_path, "kd", 2))
    with pytest.raises(OutputError, match="it holds kd with seed 1"):
        read_runs(tmp_path)


def test_a_full_disk_is_one_clear_error_and_finished_runs_stay(tmp_path, monkeypatch):
    write_run(tmp_path, run("kd", 1))

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.Path, "write_text", full)
    with pytest.raises(OutputError, match=r"plain-seed0\.json.*No space left"):
        write_run(tmp_path, run("plain", 0))
    monkeypatch.undo()
    assert [one.row for one in read_runs(tmp_path)] == ["kd"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["kd-seed1.json"]


def test_sessions_survive_their_file(tmp_path):
    assert read_sessions(tmp_path) == []
    sessions = [StudySession("2026-01-02T03:04:05+00:00", 61.5, "a machine", 2, 11)]
    path = write_sessions(tmp_path, sessions)
    assert read_sessions(tmp_path) == sessions
    path.write_text("[{}]")
    with pytest.raises(OutputError, match="only the time"):
        read_sessions(tmp_path)


def test_settings_are_kept_under_their_digest(tmp_path):
    digest = write_settings(tmp_path, SETTINGS)
    assert read_settings(tmp_path, digest) == SETTINGS
    assert read_settings(tmp_path, "f" * 12) is None
    assert digest == digest_of(dict(reversed(SETTINGS.items())))
    (path,) = (tmp_path / "settings").iterdir()
    path.write_text(path.read_text().replace("0.003", "0.004"))
    with pytest.raises(OutputError, match="its digest is"):
        read_settings(tmp_path, digest)


def test_runs_that_fit_are_accepted(tmp_path):
    found = [
        fitting("teacher", 7, weights=TEACHER),
        fitting("plain"),
        fitting("kd", teacher=TEACHER),
    ]
    check_runs(plan(), found, wanted(), tmp_path)
    check_runs(plan(), found, wanted(dataset=None), tmp_path)


def test_other_options_are_named(tmp_path):
    other = {"optimizer": {"max_rate": 0.001}, "data": {"batch_size": 2}}
    old = write_settings(tmp_path, other)
    with pytest.raises(ConfigError) as told:
        check_runs(plan(), [fitting(settings=old)], wanted(), tmp_path)
    assert "plain-seed0.json" in str(told.value)
    assert "optimizer.max_rate was 0.001, now 0.003" in str(told.value)
    assert "data.classes was None" in str(told.value)
    assert "batch_size" not in str(told.value)


def test_options_that_are_not_kept_are_told_by_digest(tmp_path):
    with pytest.raises(ConfigError, match="eeeeeeeeeeee, which is not kept"):
        check_runs(plan(), [fitting(settings="e" * 12)], wanted(), tmp_path)


@pytest.mark.parametrize(
    ("one", "kind", "told"),
    [
        (fitting("kdd"), ConfigError, "'kdd' is no row of this study"),
        (fitting(dataset="other"), DatasetError, "other data: other; this study's is simulated"),
        (fitting("kd", teacher="b" * 12), ConfigError, "another teacher"),
        (fitting("teacher", 7, weights="b" * 12), ConfigError, "is another one"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(one, kind, told, tmp_path):
    with pytest.raises(kind, match=told):
        check_runs(plan(), [one], wanted(), tmp_path)


def test_without_the_data_the_runs_must_agree_with_each_other(tmp_path):
    found = [fitting("plain"), fitting("kd", dataset="other")]
    with pytest.raises(DatasetError, match="kd-seed0"):
        check_runs(plan(), found, wanted(dataset=None), tmp_path)


def test_a_lost_teacher_is_told(tmp_path):
    found = [fitting("teacher", 7, weights=TEACHER)]
    with pytest.raises(ConfigError, match="is missing"):
        check_runs(plan(), found, wanted(teachers={}), tmp_path)
