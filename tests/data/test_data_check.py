"""The check of a dataset: every way to get it wrong is named, and what is right passes."""

import numpy as np
import pytest
from folder_scenes import write_folder

from kd3d.data import FolderFrames, WaymoFrames, build_index
from kd3d.data.check import check_frames
from kd3d.errors import ConfigError
from kd3d.simulate import simulate_dataset


def checked(root, split="train", frames=6):
    return check_frames(FolderFrames.open(root, split=split), frames)


def boxes_changed(change):
    def edit(scan):
        scan["boxes"] = change(*scan["boxes"].T)

    return edit


def points_changed(change):
    def edit(scan):
        x, y, z, *others = scan["points"].T
        scan["points"] = np.column_stack((*change(x, y, z), *others))

    return edit


def columns(change):
    return boxes_changed(lambda *b: np.column_stack(change(*b)))


def scale_boxes(scan):
    scan["boxes"][:, :6] *= 1000


def scale_points(factor):
    def edit(scan):
        scan["points"][:, :3] *= factor

    return edit


def intensity(scan):
    scan["points"][:, 3] *= 255


def no_intensity(scan):
    scan["points"][:, 3] = 0


def nan(scan):
    scan["points"][5, 1] = np.nan


def label(scan):
    scan["labels"] = np.where(scan["labels"] == "Car", "car", scan["labels"])


def features(scan):
    scan["points"] = scan["points"][:, :3]


def everything_turned(scan):
    """As a camera sees it: right, down, forward."""
    x, y, z, other = scan["points"].T
    scan["points"] = np.column_stack((-y, -z, x, other))
    x, y, z, *others = scan["boxes"].T
    scan["boxes"] = np.column_stack((-y, -z, x, *others))


WRONG = {
    "units of the points": scale_points(1000),
    "units of the points ": scale_points(100),
    "units of the points  ": scale_points(0.001),
    "units of the boxes": scale_boxes,
    "headings in degrees": columns(lambda x, y, z, n, w, h, a: (x, y, z, n, w, h, np.rad2deg(a))),
    "heading with the other sign": columns(lambda x, y, z, n, w, h, a: (x, y, z, n, w, h, -a)),
    "heading clockwise from y": columns(
        lambda x, y, z, n, w, h, a: (x, y, z, n, w, h, np.pi / 2 - a)
    ),
    "length and width swapped": columns(lambda x, y, z, n, w, h, a: (x, y, z, w, n, h, a)),
    "length and width swapped ": columns(
        lambda x, y, z, n, w, h, a: (x, y, z, n, w, h, a + np.pi / 2)
    ),
    "sizes in the order height, width, length": columns(
        lambda x, y, z, n, w, h, a: (x, y, z, h, w, n, a)
    ),
    "sizes in the order width, height, length": columns(
        lambda x, y, z, n, w, h, a: (x, y, z, w, h, n, a)
    ),
    "z at the bottom of the boxes": columns(
        lambda x, y, z, n, w, h, a: (x, y, z - h / 2, n, w, h, a)
    ),
    "x and y swapped": columns(lambda x, y, z, *s: (y, x, z, *s[:3], np.pi / 2 - s[3])),
    "x and y swapped ": points_changed(lambda x, y, z: (y, x, z)),
    "y with another sign": points_changed(lambda x, y, z: (x, -y, z)),
    "turned by 90 degrees": points_changed(lambda x, y, z: (y, -x, z)),
    "turned by -90 degrees": points_changed(lambda x, y, z: (-y, x, z)),
    "turned by 180 degrees": points_changed(lambda x, y, z: (-x, -y, z)),
    "z with another sign": points_changed(lambda x, y, z: (x, y, -z)),
    "z is not up": everything_turned,
    "boxes without points": columns(lambda x, y, z, *s: (x + 6.5, y + 6.5, z + 4, *s)),
    "NaN": nan,
    "'car' is an unknown label": label,
    "numbers [N, 4]": features,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name, tmp_path):
    report = checked(write_folder(tmp_path, train=6, val=0, change=WRONG[name]))
    assert report.has_errors
    first = [problem for problem in report.problems if problem.level == "error"]
    told = " ".join(f"{problem.name} {problem.what}" for problem in first)
    assert name.strip() in told
    assert len(first) == 1, first
    assert all(problem.hint for problem in first)


def test_two_mistakes_at_once_are_both_named(tmp_path):
    def change(scan):
        scale_boxes(scan)
        scan["boxes"][:, 6] *= -180 / np.pi

    report = checked(write_folder(tmp_path, train=6, val=0, change=change))
    assert [problem.name for problem in report.problems] == [
        "units of the boxes",
        "headings in degrees",
        "heading with the other sign",
    ]


@pytest.mark.parametrize(("change", "name"), [(intensity, "is large"), (no_intensity, "constant")])
def test_odd_features_are_warnings(change, name, tmp_path):
    report = checked(write_folder(tmp_path, train=4, val=0, change=change))
    assert not report.has_errors
    (problem,) = report.problems
    assert problem.level == "warning"
    assert name in problem.name


def test_scans_of_different_widths_are_named_even_without_named_features(tmp_path):
    def change(scan):
        if len(scan["labels"]) and scan["labels"][0] == "Car":
            scan["points"] = scan["points"][:, :3]

    report = checked(
        write_folder(tmp_path, train=12, val=0, change=change, features=None), frames=12
    )
    assert report.problems[0].name == "numbers of features differ"


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_good_set_passes_clean(split, tmp_path):
    report = checked(write_folder(tmp_path), split)
    assert report.problems == ()
    assert sum(facts.boxes for facts in report.classes) == 6 * 12
    truck = next(facts for facts in report.classes if facts.name == "Truck")
    assert truck.length == pytest.approx(8.5, rel=0.1)
    assert truck.empty == 0


def test_simulated_records_pass_clean(tmp_path):
    simulate_dataset(
        tmp_path, scenes=4, val_scenes=1, frames=3, resolution=0.2, extent=40, workers=1
    )
    index = build_index(tmp_path, "training/*.tfrecord", cache_dir=tmp_path / "cache")
    report = check_frames(WaymoFrames(index), 12)
    assert [problem for problem in report.problems if problem.level != "note"] == []


def test_a_class_that_does_not_occur_is_a_note(tmp_path):
    root = write_folder(
        tmp_path, train=4, val=0, classes=["Car", "Truck", "Bus", "Walker", "Bike", "Tram"]
    )
    (problem,) = checked(root).problems
    assert (problem.level, problem.name) == ("note", "classes without boxes")
    assert "Tram" in problem.what


def test_no_frames_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="0 is below 1"):
        checked(write_folder(tmp_path, train=1, val=0), frames=0)
