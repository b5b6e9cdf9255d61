import pytest
from matplotlib.image import imread

from kd3d.errors import InputError, OutputError
from kd3d.visualize import save_bars, save_curves

CURVES = {
    "teacher": [(0, 0.0), (100, 0.5), (200, 0.6)],
    "distilled student": [(100, 0.3), (200, 0.4)],
}
BARS = {"plain": {"Vehicle": 0.5, "Cyclist": 0.25}, "distilled": {"Cyclist": 0.3, "Vehicle": 0.6}}


def test_curves_hold_their_runs(tmp_path):
    figure = save_curves(tmp_path / "curves.png", CURVES, metric="L2 mAPH", title="Validation")
    assert imread(tmp_path / "curves.png").std() > 0.01
    (axes,) = figure.axes
    named = {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }
    assert named == CURVES
    assert axes.get_ylabel() == "L2 mAPH"
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines[::2]}
    assert len(styles) == 2


def test_bars_are_grouped_by_class_whatever_their_order(tmp_path):
    figure = save_bars(tmp_path / "bars.png", BARS, metric="L2 APH")
    assert imread(tmp_path / "bars.png").std() > 0.01
    (axes,) = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[0.5, 0.25], [0.6, 0.3]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Vehicle", "Cyclist"]
    assert {"0.500", "0.250", "0.600", "0.300"} <= {text.get_text() for text in axes.texts}


def test_percentages_are_written_with_one_digit(tmp_path):
    figure = save_bars(tmp_path / "bars.png", {"run": {"Vehicle": 71.25}}, metric="L2 APH (%)")
    assert [text.get_text() for text in figure.axes[0].texts] == ["71.2"]


def test_nothing_to_plot(tmp_path):
    with pytest.raises(InputError, match="no run to draw"):
        save_curves(tmp_path / "x.png", {}, metric="m")
    with pytest.raises(InputError, match="teacher: the run has no value"):
        save_curves(tmp_path / "x.png", {"teacher": []}, metric="m")
    with pytest.raises(InputError, match="no run to draw"):
        save_bars(tmp_path / "x.png", {}, metric="m")
    with pytest.raises(InputError, match=r"distilled: has .*Sign.*same classes"):
        save_bars(tmp_path / "x.png", BARS | {"distilled": {"Sign": 1.0}}, metric="m")
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save_curves(tmp_path / "file" / "x.png", CURVES, metric="m")
