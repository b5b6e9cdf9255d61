"""Detectors of other packages: by the name that an installed package offers, or by their class."""

import pytest
import torch

from kd3d.detectors import (
    CenterPointPillar,
    Detector,
    create_detector,
    load_detector,
    save_detector,
)
from kd3d.errors import CheckpointError, ConfigError

SMALL = {
    "point_cloud_range": (-5.12, -5.12, -2.0, 5.12, 5.12, 4.0),
    "cell_size": (0.64, 0.64),
    "max_points": 20,
    "width": dict.fromkeys(("encoder", "backbone_2d", "head"), 0.125),
    "depth": (0, 0, 0),
}

MODULE = """
from kd3d.detectors import CenterPointPillar

class Offered(CenterPointPillar):
    def __init__(self, point_cloud_range, cell_size, max_points=20, name="offered", **options):
        super().__init__(point_cloud_range, cell_size, max_points, name=name, **options)

class Strict(Offered):
    def __init__(self, point_cloud_range):
        super().__init__(point_cloud_range, (0.64, 0.64), name="strict")
"""

ENTRY_POINTS = """
[kd3d.detectors]
offered = offers_detectors:Offered
strict = offers_detectors:Strict
wrong = offers_detectors:CenterPointPillar.forward
"""


class Own(CenterPointPillar):
    """Not installed, and under the name of one of kd3d's."""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installed package, as pip leaves it."""
    facts = tmp_path / "offers_detectors-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: offers_detectors\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "offers_detectors.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_an_installed_detector_has_its_name(installed, tmp_path):
    torch.manual_seed(0)
    detector = create_detector("offered", **SMALL).eval()
    assert type(detector).__name__ == "Offered"
    assert detector.name == "offered"
    save_detector(detector, tmp_path / "offered.ckpt")
    again = load_detector(tmp_path / "offered.ckpt")
    assert type(again) is type(detector)
    assert again.spec() == detector.spec()
    assert all(map(torch.equal, again.state_dict().values(), detector.state_dict().values()))


def test_arguments_of_an_installed_detector_are_checked(installed):
    bounds = SMALL["point_cloud_range"]
    assert create_detector("strict", point_cloud_range=bounds).name == "strict"
    with pytest.raises(
        ConfigError, match=r"no argument 'channels'.*Did you mean point_cloud_range"
    ):
        create_detector("strict", point_cloud_range=bounds, channels=3)


def test_what_is_offered_must_be_a_detector(installed):
    with pytest.raises(ConfigError, match=r"entry point 'wrong'.*no subclass of kd3d.Detector"):
        create_detector("wrong")


def test_an_unknown_name_tells_the_nearest_and_how_to_offer_one(installed):
    with pytest.raises(ConfigError, match=r"no detector 'ofered'. Did you mean offered\?.*entry"):
        create_detector("ofered")


def test_a_file_of_what_is_not_installed(tmp_path):
    save_detector(Own(**SMALL, name="nobodys"), tmp_path / "own.ckpt")
    with pytest.raises(ConfigError, match=r"no detector 'nobodys'.*from_checkpoint\(\) reads"):
        Detector.from_checkpoint(tmp_path / "own.ckpt")
    assert type(Own.from_checkpoint(tmp_path / "own.ckpt")) is Own


def test_a_class_of_ones_own_builds_itself_whatever_the_name(tmp_path):
    own = Own(**SMALL)
    assert own.name == "cp_pillar"
    save_detector(own, tmp_path / "own.ckpt")
    again = Own.from_checkpoint(tmp_path / "own.ckpt", score_threshold=0.3)
    assert type(again) is Own
    assert again.score_threshold == 0.3
    assert type(Detector.from_checkpoint(tmp_path / "own.ckpt")) is CenterPointPillar


def test_a_class_of_kd3d_leaves_it_to_the_name(tmp_path):
    width = {"encoder": 0.125, "backbone_2d": 0.125}
    other = create_detector("pointpillar", **{**SMALL, "width": width})
    save_detector(other, tmp_path / "other.ckpt")
    found = CenterPointPillar.from_checkpoint(tmp_path / "other.ckpt")
    assert type(found).__name__ == "PointPillar"
    with pytest.raises(CheckpointError, match="no such file"):
        Own.from_checkpoint(tmp_path / "nothing.ckpt")
