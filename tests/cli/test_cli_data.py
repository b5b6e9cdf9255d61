"""kd3d-data from the command line."""

from dataclasses import fields

import pytest

from kd3d.cli.data import TASKS, main


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_task(words, capsys):
    main(words)
    text = capsys.readouterr().out
    for task in TASKS:
        assert f"  {task.name:<12}{task.purpose}" in text


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_help_of_a_task_lists_every_option(task, capsys):
    main([task.name, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: kd3d-data {task.name}")
    for option in fields(task.options):
        assert f"  {option.name:<12}{option.metadata['help']}" in text


def test_help_shows_defaults_and_what_must_be_given(capsys):
    main(["simulate", "--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: kd3d-data simulate out=... [name=value ...]")
    assert "folder to write\n" in text
    assert "training segments (default 8)" in text


def test_simulate_writes_both_splits(tmp_path, capsys):
    main(["simulate", f"out={tmp_path}/sim", "scenes=1", "val_scenes=1", "frames=1",
          "resolution=0.02", "workers=1"])  # fmt: skip
    assert len(list((tmp_path / "sim" / "training").glob("*.tfrecord"))) == 1
    assert len(list((tmp_path / "sim" / "validation").glob("*.tfrecord"))) == 1
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "no task 'fly'"),
        (["simulate", "out"], "not name=value"),
        (["simulate", "out=x", "scenes=many"], "scenes"),
        (["simulate", "out=x", "colour=red"], "colour"),
        (["simulate", "scenes=1"], "out"),
    ],
)
def test_bad_words_get_one_clear_message(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "error:" in error
    assert message in error
    assert "Traceback" not in error
