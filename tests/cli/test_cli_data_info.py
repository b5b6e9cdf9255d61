"""kd3d-data index and info."""

import json
import shutil

import pytest

from kd3d.cli.data import main
from kd3d.simulate import simulate_dataset


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulate_dataset(folder, scenes=2, val_scenes=1, frames=2, seed=3, resolution=0.02, workers=1)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "cache"


def test_index_says_what_it_found_and_remembers_it(simulated, cache, capsys):
    main(["index", f"root={simulated}"])
    text = capsys.readouterr().out
    assert "train: 2 files, 4 frames, " in text
    assert "val: 1 files, 2 frames" in text
    assert len(list(cache.glob("index-*.npz"))) == 2


def test_index_tells_what_it_leaves_out(simulated, tmp_path, capsys):
    root = shutil.copytree(simulated, tmp_path / "cut")
    path = sorted((root / "training").glob("*.tfrecord"))[0]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SystemExit):
        main(["index", f"root={root}", "val=null"])
    assert "truncated" in capsys.readouterr().err
    main(["index", f"root={root}", "val=null", "on_error=skip"])
    text = capsys.readouterr().out
    assert "train: 2 files, 3 frames" in text
    assert "left out:" in text
    assert "record 1" in text


def test_info_shows_writes_and_draws(simulated, tmp_path, capsys):
    main(["info", f"root={simulated}", f"out={tmp_path / 'info'}", "sample=2"])
    text = capsys.readouterr().out
    found = json.loads((tmp_path / "info" / "info.json").read_text())
    assert found["root"] == str(simulated)
    train = found["splits"]["train"]
    assert (train["segments"], train["frames"], train["faults"]) == (2, 4, [])
    assert train["points_per_frame"]["sampled_frames"] == 2
    vehicles = train["boxes"]["Vehicle"]["L1"]
    assert vehicles > 0
    (row,) = [line.split() for line in text.splitlines() if "Vehicle L1" in line]
    assert row[2] == str(vehicles)
    assert "Points were counted in evenly spread frames: 2 of train, 2 of val." in text
    assert (tmp_path / "info" / "info.png").read_bytes().startswith(b"\x89PNG")


def test_a_list_of_files_is_a_split(simulated, capsys):
    names = [path.relative_to(simulated) for path in sorted(simulated.rglob("*.tfrecord"))]
    main(["info", f"root={simulated}", f"train=[{names[0]},{names[2]}]", "val=null", "sample=0"])
    text = capsys.readouterr().out
    (frames,) = [line.split() for line in text.splitlines() if line.strip().startswith("frames")]
    assert frames == ["frames", "4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["index"], "root"),
        (["info"], "root"),
        (["index", "root=nowhere"], "nowhere: the dataset's root does not exist"),
        (["info", "root=nowhere"], "does not exist"),
        (["index", "root=.", "train=null", "val=null"], "neither train nor val"),
        (["index", "root=.", "on_error=ignore"], "'ignore' is neither 'raise' nor 'skip'"),
        (["info", "root=quux://b/a"], "Protocol not known"),
    ],
)
def test_bad_words_get_one_clear_message(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
