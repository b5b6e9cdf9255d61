"""The precision/recall figure."""

import pytest

from kd3d.errors import InputError
from kd3d.visualize import save_precision_recall


def test_a_panel_per_class_and_a_line_per_level(tmp_path):
    line = ([0.9, 0.5, 0.0], [0.2, 0.8, 1.0])
    figure = save_precision_recall(
        tmp_path / "pr.png",
        {"Vehicle": {"level 1": line, "level 2": line}, "Cyclist": {"level 1": ([0.0], [1.0])}},
        title="Both",
    )
    vehicle, cyclist = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Vehicle", "Cyclist"]
    first, second = vehicle.get_lines()
    assert first.get_xydata().tolist() == [[0.9, 0.2], [0.5, 0.8]]  # nothing at recall 0
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() == ""
    assert [text.get_text() for text in cyclist.texts] == ["nothing found"]
    assert not vehicle.texts
    assert (tmp_path / "pr.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_nothing_lies_outside_the_picture(tmp_path, count):
    panels = {f"class {number}": {"level 1": ([1.0], [1.0])} for number in range(count)}
    figure = save_precision_recall(tmp_path / "pr.png", panels, title="Some")
    figure.canvas.draw()
    canvas = figure.bbox
    for axes in figure.axes[:count]:
        box = axes.get_tightbbox()
        assert box.x0 >= canvas.x0
        assert box.y0 >= canvas.y0
        assert box.y1 <= canvas.y1
    assert len(figure.axes) == (8 if count == 5 else count)


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(InputError, match="no class"):
        save_precision_recall(tmp_path / "pr.png", {})
    with pytest.raises(InputError, match="Vehicle, level 1: 2 recalls but 1 precisions"):
        save_precision_recall(tmp_path / "pr.png", {"Vehicle": {"level 1": ([0, 1], [1])}})
