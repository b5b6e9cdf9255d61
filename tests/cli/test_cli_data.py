"""kd3d-data from the command line."""

import pytest

from kd3d.cli.data import main


def test_help_lists_every_option(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    for word in ("out", "scenes", "frames", "seed", "resolution", "calibration"):
        assert f"  {word}" in text


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
