"""What names the data of a study."""

import pytest
from omegaconf import OmegaConf

from kd3d.cli.study_data import make_data
from kd3d.errors import DatasetError
from kd3d.simulate import simulate_dataset


def named(root, simulate=None):
    return make_data(OmegaConf.create({"data": {"root": str(root)}, "simulate": simulate}))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "simulated"
    options = {"scenes": 1, "val_scenes": 0, "frames": 1, "resolution": 0.05, "extent": 16.0}
    simulate_dataset(root, **options, workers=1, progress=False)
    return root, options


def test_simulated_data_is_named_by_its_bytes_and_made_where_it_is_missing(simulated, tmp_path):
    root, options = simulated
    again = {"out": str(tmp_path / "again"), "workers": 1, "progress": False, **options}
    assert named(tmp_path / "again", again) == named(root)
    other = {**again, "out": str(tmp_path / "other"), "seed": 3}
    assert named(tmp_path / "other", other) != named(root)


def test_changed_data_is_refused(simulated, tmp_path):
    _, options = simulated
    root = tmp_path / "changed"
    simulate_dataset(root, **options, workers=1, progress=False)
    (record,) = root.glob("training/*.tfrecord")
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 1
    record.write_bytes(content)
    with pytest.raises(DatasetError, match="changed since it was made"):
        named(root)


def test_other_folders_are_named_by_names_and_sizes(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"123")
    first = named(tmp_path)
    assert first.startswith("files-")
    assert named(tmp_path) == first
    (tmp_path / "a.tfrecord").write_bytes(b"1234")
    assert named(tmp_path) != first
    assert named("gs://somewhere/waymo") == "gs://somewhere/waymo"
