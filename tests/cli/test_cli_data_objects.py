"""kd3d-data objects."""

import numpy as np
import pytest

from kd3d.cli.data import main
from kd3d.data import ObjectDatabase
from kd3d.simulate import simulate_dataset


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulate_dataset(folder, scenes=2, val_scenes=0, frames=3, seed=3, resolution=0.05, workers=1)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def test_objects_are_cut_once_and_counted(simulated, tmp_path, capsys):
    words = ["objects", f"root={simulated}", f"out={tmp_path / 'objects'}", "workers=1"]
    main(words)
    text = capsys.readouterr().out
    database = ObjectDatabase(tmp_path / "objects")
    for name in database.classes:
        assert f"{len(database.rows_of(name))} {name}" in text
    assert len(database.rows_of("Vehicle")) > 0
    assert "from 2 recordings (2 read now)" in text
    main(words)
    assert "from 2 recordings (0 read now)" in capsys.readouterr().out


def test_intervals_and_sweeps_are_options(simulated, tmp_path):
    words = ["objects", f"root={simulated}", "workers=1"]
    words += ["intervals.Pedestrian=3", "intervals.Cyclist=3"]
    main([*words, f"out={tmp_path / 'a'}"])
    columns = ObjectDatabase(tmp_path / "a").columns
    of_frame = [set(columns["frames"][columns["labels"] == label]) for label in range(2)]
    assert of_frame[0] == set(range(6))
    assert of_frame[1] <= {0, 3}
    main([*words, f"out={tmp_path / 'b'}", "sweeps=2"])
    assert ObjectDatabase(tmp_path / "b").points.shape[1] == 6


def test_objects_of_a_folder_of_scans(tmp_path, capsys):
    generator = np.random.default_rng(0)
    for number in range(3):
        points = generator.uniform(-1, 1, (50, 4)).astype(np.float32)
        boxes = np.array([[0, 0, 0, 1.9, 1.9, 1.9, 0.0]], np.float32)
        path = tmp_path / "data" / "train" / "drive" / f"{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, points=points, boxes=boxes, labels=np.zeros(1, np.int64))
    (tmp_path / "data" / "dataset.json").write_text(
        '{"classes": ["Car"], "features": ["x", "y", "z", "intensity"]}'
    )
    main(
        [
            "objects",
            "format=folder",
            f"root={tmp_path / 'data'}",
            f"out={tmp_path / 'objects'}",
            "workers=1",
        ]
    )
    assert "3 Car" in capsys.readouterr().out
    assert ObjectDatabase(tmp_path / "objects").points.shape[1] == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objects"], "root"),
        (["objects", "root=nowhere"], "out"),
        (["objects", "root=nowhere", "out=x"], "nowhere: the dataset's root does not exist"),
        (["objects", "root=.", "out=x", "format=kitti"], "'kitti' is no format"),
        (["objects", "root=.", "out=x", "on_error=ignore"], "'ignore' is neither"),
        (["objects", "root=.", "out=x", "intervals=4"], "intervals"),
    ],
)
def test_bad_words_get_one_clear_message(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
