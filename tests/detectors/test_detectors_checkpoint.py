import os

import pytest
import torch

from kd3d.detectors import Detector, create_detector, save_detector
from kd3d.errors import CheckpointError, OutputError


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return create_detector(
        "cp_pillar_v064",
        point_cloud_range=(-5.12, -5.12, -2, 5.12, 5.12, 4),
        width={"encoder": 0.25, "backbone_2d": 0.125, "head": 0.125},
        classes=("car", "bike"),
        intensity="as_is",
    )


def equal(one, other):
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


def test_a_saved_detector_comes_back(detector, tmp_path):
    path = tmp_path / "new" / "folder" / "student.pt"
    save_detector(detector, path)
    again = Detector.from_checkpoint(path)
    assert equal(again, detector)
    assert again.spec() == detector.spec()
    assert not again.training
    assert [file.name for file in path.parent.iterdir()] == ["student.pt"]


def test_a_training_checkpoint_comes_back(detector, tmp_path):
    weights = {f"detector.{key}": value for key, value in detector.state_dict().items()}
    weights["callback.adapter.weight"] = torch.zeros(2)
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "kd3d_detector": detector.spec(), "state_dict": weights}, path)
    assert equal(Detector.from_checkpoint(path), detector)


def test_a_teacher_takes_the_range_of_its_student(detector, tmp_path):
    save_detector(detector, tmp_path / "teacher.pt")
    wider = (-7.68, -5.12, -2.0, 7.68, 5.12, 4.0)
    teacher = Detector.from_checkpoint(tmp_path / "teacher.pt", point_cloud_range=wider)
    assert equal(teacher, detector)
    assert teacher.point_cloud_range == wider
    with pytest.raises(CheckpointError, match="do not fit"):
        Detector.from_checkpoint(tmp_path / "teacher.pt", width={})


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing.ckpt: no such file"):
        Detector.from_checkpoint(tmp_path / "nothing.ckpt")


class Malicious:
    def __reduce__(self):
        return os.system, ("touch was_run",)


def test_pickled_code_is_refused_and_never_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"kd3d_detector": Malicious()}, "bad.ckpt")
    with pytest.raises(CheckpointError, match=r"bad.ckpt: .*pickled code"):
        Detector.from_checkpoint("bad.ckpt")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_truncated_file(detector, tmp_path, keep):
    path = tmp_path / "cut.pt"
    save_detector(detector, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(CheckpointError, match=r"cut.pt"):
        Detector.from_checkpoint(path)


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"model_state": {}}, path)
    with pytest.raises(CheckpointError, match=r"but model_state.*import_openpcdet"):
        Detector.from_checkpoint(path)
    torch.save({"kd3d_detector": {"name": "cp_pillar"}, "state_dict": {"a": 1}}, path)
    with pytest.raises(CheckpointError, match="holds no detector"):
        Detector.from_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        Detector.from_checkpoint(path)


def test_weights_of_another_size(detector, tmp_path):
    path = tmp_path / "mixed.pt"
    spec = detector.spec()
    spec["arguments"]["width"] = {"head": 0.25}
    torch.save({"kd3d_detector": spec, "state_dict": detector.state_dict()}, path)
    with pytest.raises(
        CheckpointError,
        match=r"do not fit cp_pillar_v064 as described: size mismatch.*and \d+ more",
    ):
        Detector.from_checkpoint(path)


def test_a_folder_that_cannot_be_made(detector, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_detector(detector, tmp_path / "file" / "student.pt")


def test_a_failed_write_leaves_the_old_file(detector, tmp_path, monkeypatch):
    path = tmp_path / "student.pt"
    save_detector(detector, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OutputError, match="No space left"):
        save_detector(detector, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
