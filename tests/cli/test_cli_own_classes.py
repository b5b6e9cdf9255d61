"""What the commands say about classes that are not Waymo's, before they work."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from kd3d import FolderDataModule, WaymoDataModule
from kd3d.cli.evaluate import _frames, _metric
from kd3d.cli.folders import require_root
from kd3d.cli.predict import check_room
from kd3d.errors import ConfigError
from kd3d.waymo import CLASSES as WAYMO

sys.path.append(str(Path(__file__).parents[1] / "data"))
from folder_scenes import CLASSES, write_folder


def config(name, *words):
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        return compose(name, list(words))


def test_a_bin_file_has_no_room_for_other_classes_or_frames(tmp_path):
    data = FolderDataModule(write_folder(tmp_path / "own", train=0, val=1))
    with pytest.raises(ConfigError, match=r"out: .* not Car, Truck, Bus, Walker, Bike\. Write a"):
        check_room("x.bin", CLASSES, data)
    with pytest.raises(ConfigError, match=r"out: frame 'val/drive_0/scan_0' is no frame of Waymo"):
        check_room("x.bin", WAYMO, data)
    check_room("x.npz", CLASSES, data)
    check_room("x.bin", WAYMO, WaymoDataModule())  # looks at no record


def test_other_classes_need_thresholds():
    with pytest.raises(ConfigError, match=r"no IoU threshold for Car.*Give iou_thresholds"):
        _metric(config("evaluate"), ("Car", "Vehicle"))
    given = config("evaluate", "iou_thresholds=[0.6,0.5]")
    assert _metric(given, ("Car", "Bus")).iou_thresholds == (0.6, 0.5)
    with pytest.raises(ConfigError, match="for each of 1 classes"):
        _metric(given, ("Car",))


def test_the_original_evaluator_knows_waymos_classes_only():
    given = config("evaluate", "official=true", "iou_thresholds=[0.6,0.5]")
    with pytest.raises(ConfigError, match=r"official: .* does not know Bus\. It knows Vehicle"):
        _metric(given, ("Vehicle", "Bus"))
    assert _metric(given, ("Vehicle", "Sign")).classes == ("Vehicle", "Sign")


def test_the_frames_are_those_of_the_configuration(tmp_path):
    write_folder(tmp_path / "own", train=0, val=3)
    words = ["data=folder", f"data.root={tmp_path / 'own'}", "data.val_frame_interval=2"]
    frames = _frames(config("evaluate", *words), ("Bike", "Car"))
    assert frames.classes == ("Bike", "Car")
    assert len(frames) == 2


@pytest.mark.parametrize(("kind", "below"), [("folder", "val"), ("waymo", r"validation/\*")])
def test_a_missing_root_is_told_in_the_words_of_its_format(kind, below):
    with pytest.raises(ConfigError, match=rf"data.root: the folder of the dataset.*with {below}"):
        require_root(config("evaluate", f"data={kind}"), "val")
    require_root(config("evaluate", f"data={kind}", "data.root=x"), "val")
