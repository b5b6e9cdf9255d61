"""kd3d-data check from the command line."""

import json
import sys
from pathlib import Path

import pytest

from kd3d.cli.data import main
from kd3d.simulate import simulate_dataset

sys.path.append(str(Path(__file__).parents[1] / "data"))
from folder_scenes import write_folder


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def test_a_good_folder_passes(tmp_path, capsys):
    write_folder(tmp_path / "own", train=3, val=2)
    main(["check", f"root={tmp_path}/own", f"out={tmp_path}/out", "pictures=1"])
    told = capsys.readouterr().out
    assert told.count("Nothing wrong was found.") == 2
    assert "Truck" in told
    facts = json.loads((tmp_path / "out" / "check.json").read_text())
    assert {split: one["frames"] for split, one in facts.items()} == {"train": 3, "val": 2}
    assert all(one["problems"] == [] for one in facts.values())
    for split in ("train", "val"):
        assert (tmp_path / "out" / f"{split}_0.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_folder_fails_and_says_why(tmp_path, capsys):
    def change(scan):
        scan["boxes"][:, 6] *= -1

    write_folder(tmp_path / "own", train=3, val=0, change=change)
    words = ["check", f"root={tmp_path}/own", "train=train", f"out={tmp_path}/out", "pictures=1"]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 1
    told = capsys.readouterr().out
    assert "error: heading with the other sign." in told
    assert "store -heading" in told
    assert (tmp_path / "out" / "train_0.png").is_file()


def test_classes_can_be_given(tmp_path, capsys):
    write_folder(tmp_path, train=2, val=0)
    (tmp_path / "dataset.json").unlink()
    main(["check", f"root={tmp_path}", "train=train", "classes=[Car,Truck,Bus,Walker,Bike]"])
    assert "Walker" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["check", f"root={tmp_path}", "train=train"])
    assert stop.value.code == 2
    assert "there is no dataset.json" in capsys.readouterr().err


def test_records_are_checked_too(tmp_path, capsys):
    simulate_dataset(tmp_path / "sim", scenes=1, val_scenes=1, frames=1, resolution=0.1, workers=1)
    main(["check", f"root={tmp_path}/sim", "frames=1", f"cache_dir={tmp_path}/cache"])
    told = capsys.readouterr().out
    assert "Vehicle" in told
    assert "error" not in told
