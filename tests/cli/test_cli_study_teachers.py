"""Teachers that one study takes over from another."""

import dataclasses

import pytest
from rich.console import Console

from kd3d.cli.study_teachers import take_over_teachers
from kd3d.errors import ConfigError, DatasetError
from kd3d.study import StudyRun, read_plan, read_runs, write_run
from kd3d.study.settings import digest_of, file_digest, read_settings, write_settings

SETTINGS = {"optimizer": {"max_rate": 0.003, "hold_fraction": 0.2}, "run": "teacher"}
DATA = "sim-v1-abc"


@pytest.fixture
def theirs(tmp_path):
    """Results of a study that has trained its teacher."""
    folder = tmp_path / "theirs"
    file = folder / "teachers" / "big.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    write_settings(folder, SETTINGS)
    run = StudyRun(
        *("big", 7, 100, {"L2_mAPH": 0.5}, "test", (), 1.0, 1.0, "a machine", "0.1.0"),
        *(DATA, digest_of(SETTINGS), None, file_digest(file), "cp_pillar", 10),
    )
    write_run(folder, run)
    return file


def take_over(file, results, *, settings=SETTINGS, dataset=DATA):
    plan = read_plan(
        {
            "name": "x",
            "steps": 10,
            "seeds": [0],
            "rows": {"a": {}},
            "teachers": {"pillar": {"steps": 100, "seed": 7, "file": file and str(file)}},
        }
    )
    console = Console(record=True, width=200, quiet=False)
    with console.capture() as shown:
        take_over_teachers(plan, results, {"pillar": settings}, dataset, console)
    return shown.get()


def test_file_result_and_settings_come_along_under_the_own_name(theirs, tmp_path):
    mine = tmp_path / "mine"
    assert "taken over from" in take_over(theirs, mine)
    assert (mine / "teachers" / "pillar.ckpt").read_bytes() == b"weights"
    (run,) = read_runs(mine)
    (first,) = read_runs(tmp_path / "theirs")
    assert run == dataclasses.replace(first, row="pillar")
    assert read_settings(mine, run.settings) == SETTINGS


def test_a_teacher_that_is_there_stays(theirs, tmp_path):
    mine = tmp_path / "mine"
    take_over(theirs, mine)
    (mine / "teachers" / "pillar.ckpt").write_bytes(b"mine")
    assert take_over(theirs, mine, settings={}) == ""
    assert (mine / "teachers" / "pillar.ckpt").read_bytes() == b"mine"


def test_without_a_file_the_teacher_is_trained_here(tmp_path):
    shown = take_over(tmp_path / "no.ckpt", tmp_path / "mine")
    assert "so it is trained here" in shown
    assert take_over(None, tmp_path / "mine") == ""
    assert not (tmp_path / "mine").exists()


def test_a_teacher_of_other_options_or_data_is_refused(theirs, tmp_path):
    other = {"optimizer": {"max_rate": 0.5, "hold_fraction": 0.2}, "run": "teacher"}
    with pytest.raises(ConfigError, match=r"max_rate was 0\.003, here 0\.5.*pillar\.file=null"):
        take_over(theirs, tmp_path / "mine", settings=other)
    with pytest.raises(DatasetError, match=r"other data: sim-v1-abc; this study's is sim-v2"):
        take_over(theirs, tmp_path / "mine", dataset="sim-v2")
    assert not (tmp_path / "mine").exists()


def test_weights_without_their_result_are_refused(theirs, tmp_path):
    theirs.write_bytes(b"other weights")
    with pytest.raises(ConfigError, match="no result of a study is beside this teacher"):
        take_over(theirs, tmp_path / "mine")
