"""Starting from whatever fits of a checkpoint."""

from pathlib import Path

import pytest
import torch
from tiny_training import TINY, copy_of, loader, same, tiny_detector, trainer

from kd3d import DetectorModule, create_detector
from kd3d.detectors import save_detector
from kd3d.errors import CheckpointError, ConfigError
from kd3d.training import warm_start

FOUR = ("Car", "Truck", "Bus", "Cone")


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "other.ckpt"
    save_detector(tiny_detector(5), path)
    return path


def test_an_equal_network_is_loaded_whole(checkpoint):
    detector = tiny_detector()
    report = warm_start(detector, checkpoint)
    state = tiny_detector(5).state_dict()
    assert same(state, detector.state_dict()) == state.keys()
    assert report.names("loaded") == list(state)
    assert str(report) == f"{len(state)} of {len(state)} tensors loaded from other.ckpt"


def test_other_classes_leave_what_has_another_shape(checkpoint):
    detector, fresh = tiny_detector(classes=FOUR), tiny_detector(classes=FOUR)
    report = warm_start(detector, checkpoint)
    other = report.names("shape")
    assert other
    assert all(name.startswith("dense_head.branches.heatmap.") for name in other)
    before, after, given = fresh.state_dict(), detector.state_dict(), tiny_detector(5).state_dict()
    for name, value in after.items():
        assert torch.equal(value, (before if name in other else given)[name]), name
    assert f"{len(other)} of another shape" in str(report)
    (entry,) = [one for one in report.tensors if one.name == other[-1]]
    assert (entry.shape, entry.found) == ((4,), (3,))
    assert f"shape     {other[-1]}  [4] <- [3]" in report.table().splitlines()


def test_patterns_choose_and_excluding_wins(checkpoint):
    detector = tiny_detector()
    before = copy_of(detector)
    report = warm_start(
        detector, checkpoint, include=["backbone_2d.*", "vfe.*"], exclude=["*.deblocks.*"]
    )
    kept = same(before, detector.state_dict())
    loaded = set(report.names("loaded"))
    assert loaded == {
        name for name in before if not name.startswith("dense_head.") and "deblocks" not in name
    }
    assert set(report.names("excluded")) == before.keys() - loaded
    assert report.names("excluded")
    assert {name for name in before if name.startswith("dense_head.")} <= kept


def test_missing_and_unused_tensors_are_told(tmp_path):
    state = tiny_detector(5).state_dict()
    gone = [name for name in state if name.startswith("vfe.")]
    kept = {name: value for name, value in state.items() if name not in gone}
    torch.save({**kept, "teacher.weight": torch.zeros(2)}, tmp_path / "bare.pt")
    report = warm_start(tiny_detector(), tmp_path / "bare.pt")
    assert report.names("missing") == gone
    assert report.names("unused") == ["teacher.weight"]
    assert "not in the checkpoint" in str(report)
    assert "1 of the checkpoint without a place" in str(report)
    assert "unused    teacher.weight  none <- [2]" in report.table().splitlines()
    assert len(report.table().splitlines()) == 2 + len(state) + 1


@pytest.mark.parametrize("container", ["state_dict", "model_state", None])
@pytest.mark.parametrize("prefix", ["", "detector.", "module.net.student."])
def test_wrapped_checkpoints_are_unwrapped(tmp_path, container, prefix):
    state = tiny_detector(5).state_dict()
    wrapped = {f"{prefix}{name}": value for name, value in state.items()}
    wrapped["other.dense_head.shared_conv.0.weight"] = torch.zeros(1)
    torch.save({container: wrapped, "epoch": 3} if container else wrapped, tmp_path / "x.pt")
    detector = tiny_detector()
    report = warm_start(detector, tmp_path / "x.pt")
    assert same(state, detector.state_dict()) == state.keys()
    assert report.names("unused") == ["other.dense_head.shared_conv.0.weight"]


def test_a_lightning_checkpoint_will_do(tmp_path):
    module = DetectorModule(tiny_detector(3))
    fit = trainer(tmp_path, max_steps=1)
    fit.fit(module, loader(1))
    fit.save_checkpoint(tmp_path / "run.ckpt")
    detector = tiny_detector()
    warm_start(detector, tmp_path / "run.ckpt")
    state = module.detector.state_dict()
    assert same(state, detector.state_dict()) == state.keys()


def test_half_precision_is_widened(tmp_path):
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in tiny_detector(5).state_dict().items()
    }
    torch.save(state, tmp_path / "half.pt")
    detector = tiny_detector()
    warm_start(detector, tmp_path / "half.pt")
    assert {value.dtype for value in detector.parameters()} == {torch.float32}


def test_nothing_that_fits_is_an_error_and_changes_nothing(tmp_path, checkpoint):
    torch.save({"a.weight": torch.zeros(3)}, tmp_path / "strange.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    detector = tiny_detector()
    before = copy_of(detector)
    with pytest.raises(CheckpointError, match=r"nothing in it fits: 0 of .*like a\.weight, the"):
        warm_start(detector, tmp_path / "strange.pt")
    with pytest.raises(CheckpointError, match="It holds no tensors under state_dict"):
        warm_start(detector, tmp_path / "empty.pt")
    wide = tiny_detector(width={"encoder": 0.25, "backbone_2d": 0.125, "head": 0.25})
    with pytest.raises(CheckpointError, match="of another shape"):
        warm_start(wide, checkpoint, include=["*.weight"], exclude=["*.heatmap.*"])
    assert same(before, detector.state_dict()) == before.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include": ["backbone.*"]}, r"init\.include: 'backbone\.\*' matches no.*backbone_2d\.\*"),
        ({"exclude": ["hm.*"]}, r"init\.exclude: 'hm\.\*' matches no"),
        ({"include": "vfe.*"}, r"init\.include: 'vfe\.\*' is not a list of patterns"),
    ],
)
def test_patterns_that_match_nothing(checkpoint, options, message):
    with pytest.raises(ConfigError, match=message):
        warm_start(tiny_detector(), checkpoint, **options)


def test_the_line_in_the_documentation(tmp_path):
    save_detector(create_detector("cp_pillar", width=TINY), tmp_path / "cp_pillar.ckpt")
    student = create_detector("cp_pillar_v064", width=TINY, classes=FOUR)
    report = warm_start(student, tmp_path / "cp_pillar.ckpt", exclude=["*.deblocks.*"])
    docs = Path(__file__).resolve().parents[2] / "docs" / "training.md"
    assert str(report) in docs.read_text(encoding="utf-8").splitlines()


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        warm_start(tiny_detector(), tmp_path / "absent.ckpt")
