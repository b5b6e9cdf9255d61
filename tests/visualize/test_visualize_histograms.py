import numpy as np
import pytest

from kd3d.errors import InputError, OutputError
from kd3d.visualize import save_histograms


def test_one_outline_per_series(tmp_path):
    panels = {
        "boxes": {"Vehicle": np.array([0, 1, 1, 5]), "Cyclist": np.array([0, 0])},
        "points": {"train": np.array([100_000, 170_000]), "val": np.array([90_000])},
    }
    figure = save_histograms(tmp_path / "a.png", panels, title="data")
    boxes, points = figure.axes
    assert [patch.get_label() for patch in boxes.patches] == ["Vehicle", "Cyclist"]
    heights, edges, _ = boxes.patches[0].get_data()
    assert heights.tolist() == [1, 2, 0, 0, 0, 1]
    assert edges[:2].tolist() == [-0.5, 0.5]
    assert sum(points.patches[0].get_data()[0]) == 2
    assert len(points.patches[0].get_data()[0]) <= 41
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_panel_may_be_empty(tmp_path):
    figure = save_histograms(tmp_path / "a.png", {"boxes": {}, "points": {"train": []}})
    assert all(not axes.patches for axes in figure.axes)


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="no panel"):
        save_histograms(tmp_path / "a.png", {})
    with pytest.raises(OutputError, match="'tga' is not a picture format"):
        save_histograms(tmp_path / "a.tga", {"boxes": {}})
