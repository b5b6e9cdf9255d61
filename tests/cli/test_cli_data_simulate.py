"""kd3d-data simulate and verify, and the `simulate` node of kd3d-train."""

import inspect
from dataclasses import fields, replace

import pytest
from hydra import compose, initialize_config_module

from kd3d.cli.data import main
from kd3d.cli.data_simulate import SimulateOptions, simulate_records
from kd3d.cli.job_names import register_job_name
from kd3d.simulate import PRESETS, presets, simulate_dataset

TINY = replace(
    PRESETS["kd3d-sim-small"],
    name="tiny",
    scenes=1,
    val_scenes=1,
    test_scenes=1,
    frames=1,
    resolution=0.02,
    extent=15.0,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {"tiny": TINY, **PRESETS})
    monkeypatch.setenv("COLUMNS", "200")


def stopped(words, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_a_preset_is_made_kept_and_verified(tmp_path, capsys):
    words = ["simulate", "preset=tiny", f"out={tmp_path}/sim", "workers=1"]
    main(words)
    assert "3 segments (3 new), 3 frames" in capsys.readouterr().out
    main(words)
    assert "3 segments (0 new), 3 frames" in capsys.readouterr().out
    main(["verify", f"root={tmp_path}/sim"])
    told = capsys.readouterr().out
    assert "3 segments, 3 frames" in told
    assert "fingerprint: tiny-v1-" in told


def test_verify_stops_at_a_changed_and_at_a_half_made_dataset(tmp_path, capsys):
    main(["simulate", "preset=tiny", f"out={tmp_path}", "workers=1"])
    path = next((tmp_path / "test").glob("*.tfrecord"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    error = stopped(["verify", f"root={tmp_path}"], capsys)
    assert f"DatasetError: {tmp_path}: changed since it was made: test/" in error
    path.unlink()
    assert "missing: test/" in stopped(["verify", f"root={tmp_path}"], capsys)
    main(["simulate", "preset=tiny", f"out={tmp_path}", "workers=1"])
    main(["verify", f"root={tmp_path}"])


def test_help_lists_the_presets_with_their_sizes(capsys):
    main(["simulate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for one in PRESETS.values():
        assert str(one) in text
        assert f"{one.gigabytes:.2g} GB" in text


def test_help_tells_the_defaults_of_the_function(capsys):
    main(["simulate", "--help"])
    text = capsys.readouterr().out
    arguments = inspect.signature(simulate_dataset).parameters
    for option in fields(SimulateOptions):
        default = arguments[option.name].default if option.name in arguments else None
        if default not in (None, inspect.Parameter.empty):
            (line,) = [one for one in text.splitlines() if one.startswith(f"  {option.name} ")]
            assert line.endswith(f"(default {default})")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["preset=tinny", "out=x"], "there is no preset 'tinny'. Nearest: tiny"),
        (["preset=tiny", "out=x", "frames=10", "seed=3"], "the preset tiny settles frames, seed"),
        (["preset=tiny", "out=x", "scenes=8"], "Give only out and workers beside it"),
        (["preset=tiny"], "out"),
        (["interval=0.01", "out=x"], "0.01 is out of range"),
        (["frames=2.5", "out=x"], "frames"),
    ],
)
def test_bad_options_get_one_clear_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in stopped(["simulate", *words], capsys)
    assert not list(tmp_path.iterdir())


def test_verify_needs_a_simulated_dataset(capsys, tmp_path):
    assert "there is no simulation.json" in stopped(["verify", f"root={tmp_path}"], capsys)


def test_a_training_run_can_ask_for_a_preset(tmp_path):
    register_job_name()
    words = ["experiment=cp_pillar", "scale=demo", "simulate.preset=tiny", f"data.root={tmp_path}"]
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        node = compose("train", overrides=[*words, "simulate.workers=1"]).simulate
    made = simulate_records(dict(node))
    assert (made.root, made.segments) == (tmp_path, 3)


def test_without_a_preset_the_options_count(tmp_path):
    made = simulate_records(
        {
            "preset": None,
            "out": tmp_path,
            "scenes": 1,
            "val_scenes": 0,
            "frames": 1,
            "resolution": 0.02,
            "extent": 15.0,
            "workers": 1,
        }
    )
    assert (made.segments, made.frames) == (1, 1)
