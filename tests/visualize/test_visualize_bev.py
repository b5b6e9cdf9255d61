from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors, pyplot
from matplotlib.image import imread

from kd3d.errors import InputError, OutputError
from kd3d.structures import Detections
from kd3d.visualize import BoxLayer, draw_bev, save_bev
from kd3d.visualize.figures import new_figure
from kd3d.visualize.palette import class_colour

RANGE = (-20.0, -20.0, -2.0, 20.0, 20.0, 4.0)
NOTHING = np.zeros((0, 3), dtype=np.float32)


def found(*rows: tuple[float, ...], scores: tuple[float, ...] | None = None) -> Detections:
    boxes = torch.tensor(rows).reshape(-1, 7)
    values = torch.ones(len(boxes)) if scores is None else torch.tensor(scores)
    return Detections(boxes, values, torch.arange(len(boxes)) % 3)


class Canvas:
    """A drawn frame, read back at positions in metres."""

    def __init__(self, points: np.ndarray, layers: list[BoxLayer]) -> None:
        figure = new_figure(4, 4)
        figure.set_dpi(220)  # the thinnest line is three pixels wide
        self.axes = figure.subplots()
        draw_bev(self.axes, points, layers, point_cloud_range=RANGE)
        figure.canvas.draw()
        self.pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255.0

    def around(self, x: float, y: float, reach: int = 1) -> np.ndarray:
        """Colours [K, 3] of the pixels around a position."""
        column, row = self.axes.transData.transform((x, y))
        row = len(self.pixels) - row
        rows = slice(int(row) - reach, int(row) + reach + 1)
        columns = slice(int(column) - reach, int(column) + reach + 1)
        return self.pixels[rows, columns].reshape(-1, 3)

    def shows(self, colour: str, x: float, y: float) -> bool:
        """Tell whether any pixel around a position is nearly of a colour."""
        distance = np.abs(self.around(x, y) - colors.to_rgb(colour)).max(axis=1)
        return bool(distance.min() < 0.2)

    def is_white(self, x: float, y: float) -> bool:
        return bool((self.around(x, y, reach=0) > 0.99).all())


def test_outline_fill_and_front_are_where_the_box_is():
    # Centre (5, 2), 8 m long, 4 m wide, heading 90 degrees: x in [3, 7], y in [-2, 6], front up.
    layer = BoxLayer("boxes", found((5, 2, 0, 8, 4, 2, np.pi / 2)).boxes, torch.tensor([1]))
    canvas = Canvas(NOTHING, [layer])
    edge = class_colour(1)
    for x, y in ((3, -2), (7, -2), (7, 6), (3, 6), (5, 6), (5, -2), (3, 2), (7, 2)):
        assert canvas.shows(edge, x, y), (x, y)
    assert canvas.shows(edge, 5, 7)  # the tick leaves through the front
    assert canvas.is_white(5, -3)  # and nothing through the rear
    inside = canvas.around(4, 3, reach=0)[0]
    expected = 0.25 * np.array(colors.to_rgb(edge)) + 0.75
    assert inside == pytest.approx(expected, abs=0.02)
    for x, y in ((2, 2), (8, 2), (9.2, 5.5), (0.8, -1.5)):
        assert canvas.is_white(x, y), (x, y)


@given(
    x=st.floats(-10, 10),
    y=st.floats(-8, 10),
    heading=st.floats(-7, 7),
    length=st.floats(3, 6),
    width=st.floats(2.5, 3),
)
@settings(max_examples=10, deadline=None)
def test_corners_are_drawn_for_any_heading(x, y, heading, length, width):
    layer = BoxLayer(
        "boxes", torch.tensor([[x, y, 0.0, length, width, 2.0, heading]]), torch.tensor([0])
    )
    canvas = Canvas(NOTHING, [layer])
    cos, sin = np.cos(heading), np.sin(heading)
    for ahead, left in ((1, 1), (-1, 1), (-1, -1), (1, -1), (1, 0), (1.3, 0)):
        along, across = ahead * length / 2, left * width / 2
        assert canvas.shows(
            class_colour(0), x + along * cos - across * sin, y + along * sin + across * cos
        )


def test_unsure_boxes_are_fainter():
    rows = ((-8.0, 5.0, 0.0, 6.0, 3.0, 2.0, 0.0), (8.0, 5.0, 0.0, 6.0, 3.0, 2.0, 0.0))
    layer = BoxLayer("boxes", torch.tensor(rows), torch.tensor([0, 0]), torch.tensor([1.0, 0.1]))
    canvas = Canvas(NOTHING, [layer])
    sure, unsure = (canvas.around(x, 5, reach=0).mean() for x in (-8, 8))
    assert sure < unsure < 0.99


def test_points_are_darker_the_higher_they_are_and_stay_in_range():
    heights = np.array([[-10, 0, 0], [0, 10, 1.5], [10, 0, 3.5], [30, 0, 3]], dtype=np.float32)
    cloud = np.repeat(heights, 50, axis=0)
    canvas = Canvas(cloud, [])
    ground, middle, roof = (canvas.around(*place[:2]).min() for place in heights[:3])
    assert roof < middle < ground < 0.95
    assert canvas.axes.get_xlim() == (-20, 20)


def test_points_that_are_not_numbers_are_left_out():
    cloud = np.array([[5, 5, 1], [np.nan, 5, 1], [5, np.nan, 1]], dtype=np.float32)
    assert np.array_equal(Canvas(cloud, []).pixels, Canvas(cloud[:1], []).pixels)


def test_tensors_draw_as_arrays_do():
    cloud = np.random.default_rng(0).uniform(-20, 20, (500, 5)).astype(np.float32)
    assert np.array_equal(Canvas(cloud, []).pixels, Canvas(torch.from_numpy(cloud), []).pixels)


@pytest.fixture
def frame() -> tuple[np.ndarray, Detections]:
    cloud = np.random.default_rng(0).uniform(-20, 20, (2000, 5)).astype(np.float32)
    return cloud, found(
        (5, 2, 0, 4.5, 2, 1.6, 0.3), (-6, 3, 0, 0.8, 0.8, 1.7, 1), (0, 9, 1, 2, 1, 2, 2)
    )


def texts(figure) -> list[str]:
    return [
        title.get_text()
        for axes in figure.axes
        for title in (axes.title, axes._left_title, axes._right_title)
        if title.get_text()
    ]


def test_panels_and_the_ground_truth_make_a_picture(frame, tmp_path):
    cloud, truth = frame
    unsure = found(*truth.boxes.tolist(), scores=(0.9, 0.5, 0.2))
    panels = [("teacher", unsure), ("plain student", found()), ("distilled student", unsure)]
    path = tmp_path / "pictures" / "bev.png"
    figure = save_bev(
        path, cloud, panels, ground_truth=truth, point_cloud_range=RANGE, caption="Data: random"
    )
    image = imread(path)
    assert image.shape[0] > 1000
    assert image.std() > 0.01
    assert texts(figure) == [
        *("ground truth", "3 boxes"),
        *("teacher", "2 boxes with score ≥ 0.3"),
        *("plain student", "0 boxes with score ≥ 0.3"),
        *("distilled student", "2 boxes with score ≥ 0.3"),
    ]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["Vehicle", "Pedestrian", "Cyclist", "ground truth"]
    assert list(path.parent.iterdir()) == [path]


def test_ground_truth_lies_in_every_panel(frame, tmp_path):
    cloud, truth = frame
    figure = save_bev(
        tmp_path / "bev.png",
        cloud,
        [("one", found()), ("two", found())],
        ground_truth=truth,
        point_cloud_range=RANGE,
    )
    outlines = [
        len(collection.get_paths())
        for axes in figure.axes
        for collection in axes.collections
        if type(collection).__name__ == "PolyCollection"
    ]
    assert outlines == [3, 3, 3]


def test_boxes_outside_the_picture_are_not_counted(frame, tmp_path):
    cloud, truth = frame
    far = found(*truth.boxes.tolist(), (25.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.0))
    figure = save_bev(
        tmp_path / "bev.png", cloud, [("one", far)], ground_truth=far, point_cloud_range=RANGE
    )
    assert texts(figure)[1::2] == ["3 boxes", "3 boxes with score ≥ 0.3"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_panels(frame, tmp_path, count):
    cloud, truth = frame
    panels = [(f"detector {order}", truth) for order in range(count)]
    figure = save_bev(tmp_path / "bev.png", cloud, panels, point_cloud_range=RANGE)
    assert sum(axes.axison for axes in figure.axes) == count


def test_more_classes_than_names_or_colours(frame, tmp_path):
    cloud, _ = frame
    boxes = torch.zeros(9, 7) + 1
    many = Detections(boxes, torch.ones(9), torch.arange(9))
    figure = save_bev(
        tmp_path / "bev.svg", cloud, [("many", many)], point_cloud_range=RANGE, classes=("Truck",)
    )
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Truck", *(f"class {label}" for label in range(1, 9))]
    assert (tmp_path / "bev.svg").read_text().startswith("<?xml")


def test_pyplot_is_left_alone(frame, tmp_path):
    before = pyplot.get_fignums()
    cloud, truth = frame
    save_bev(tmp_path / "bev.png", cloud, [("teacher", truth)], point_cloud_range=RANGE)
    assert pyplot.get_fignums() == before


def test_boxes_that_do_not_fit_are_refused(frame):
    _, truth = frame
    with pytest.raises(InputError, match=r"mine: boxes must be \[M, 7\], not \(3, 6\)"):
        BoxLayer("mine", truth.boxes[:, :6], truth.labels)
    with pytest.raises(InputError, match="mine: 2 labels for 3 boxes"):
        BoxLayer("mine", truth.boxes, truth.labels[:2])
    with pytest.raises(InputError, match="mine: 1 scores for 3 boxes"):
        BoxLayer("mine", truth.boxes, truth.labels, truth.scores[:1])


def test_bad_frames_are_refused(frame, tmp_path):
    cloud, truth = frame
    path = tmp_path / "bev.png"
    with pytest.raises(InputError, match=r"points must be \[N, 3 or more\], not \(2000, 2\)"):
        save_bev(path, cloud[:, :2], [("teacher", truth)], point_cloud_range=RANGE)
    with pytest.raises(InputError, match="point_cloud_range"):
        save_bev(path, cloud, [("teacher", truth)], point_cloud_range=(0, 0, 0, 0, 1, 1))
    with pytest.raises(InputError, match="nothing to draw"):
        save_bev(path, cloud, [], point_cloud_range=RANGE)
    assert not path.exists()


@pytest.mark.parametrize("name", ["bev", "bev.docx"])
def test_a_format_that_no_picture_has(frame, tmp_path, name):
    cloud, truth = frame
    with pytest.raises(OutputError, match=r"is not a picture format.*png"):
        save_bev(tmp_path / name, cloud, [("teacher", truth)], point_cloud_range=RANGE)


def test_an_unwritable_place_is_named(frame, tmp_path):
    cloud, truth = frame
    blocker: Path = tmp_path / "file"
    blocker.touch()
    with pytest.raises(OutputError, match=r"file/bev\.png: cannot be written"):
        save_bev(blocker / "bev.png", cloud, [("teacher", truth)], point_cloud_range=RANGE)
