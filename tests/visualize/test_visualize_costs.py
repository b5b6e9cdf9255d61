import pytest
from matplotlib.image import imread

from kd3d.errors import InputError
from kd3d.visualize import save_costs

COSTS = {
    "teacher": {"true": {"body": 3.0, "head": 2.0}, "paper": {"body": 6.0, "head": 2.0}},
    "student": {"true": {"head": 1.0, "extra": 0.5}, "paper": {"head": 1.5}},
}


def test_bars_stack_the_parts_of_each_way_of_counting(tmp_path):
    figure = save_costs(tmp_path / "costs.png", COSTS, unit="GMACs", title="Costs")
    assert imread(tmp_path / "costs.png").std() > 0.01
    (axes,) = figure.axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["teacher, true", "teacher, paper", "student, true", "student, paper"]
    pieces = {
        bars.get_label(): [(bar.get_x(), bar.get_width()) for bar in bars]
        for bars in axes.containers
    }
    assert pieces == {
        "body": [(0.0, 3.0), (0.0, 6.0), (0.0, 0.0), (0.0, 0.0)],
        "head": [(3.0, 2.0), (6.0, 2.0), (0.0, 1.0), (0.0, 1.5)],
        "extra": [(5.0, 0.0), (8.0, 0.0), (1.0, 0.5), (1.5, 0.0)],
    }
    assert [text.get_text() for text in axes.texts] == ["5.0", "8.0", "1.5", "1.5"]
    assert axes.get_xlabel() == "GMACs"


def test_networks_are_counted_in_the_same_ways(tmp_path):
    with pytest.raises(InputError, match="no network"):
        save_costs(tmp_path / "costs.png", {}, unit="GMACs")
    other = {**COSTS, "third": {"true": {"head": 1.0}}}
    with pytest.raises(InputError, match=r"third: is counted as \['true'\]"):
        save_costs(tmp_path / "costs.png", other, unit="GMACs")
