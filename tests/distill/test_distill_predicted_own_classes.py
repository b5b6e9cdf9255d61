"""Teacher boxes from files whose classes and frames are not Waymo's."""

import numpy as np
import pytest

from kd3d.distill import PredictedBoxes
from kd3d.errors import ConfigError
from kd3d.predictions import ObjectsBuilder, save_objects

CAR = [10.0, 0, 1, 4.5, 1.9, 1.6, 0.5]


@pytest.fixture(params=["npz", "parquet"])
def file(request, tmp_path):
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    builder = ObjectsBuilder(("Car", "Tram", "Bike"))
    builder.add("val/scan_7", boxes=[CAR, CAR], types=[2, 0], scores=[0.4, 0.9])
    save_objects(tmp_path / f"teacher.{request.param}", builder.build())
    return tmp_path / f"teacher.{request.param}"


def test_classes_are_found_by_their_names(file):
    (found,) = PredictedBoxes(file, ["Bike", "Car"]).detections(["val/scan_7"])
    order = found.scores.argsort()
    assert found.labels[order].tolist() == [0, 1]
    assert found.scores[order].tolist() == pytest.approx([0.4, 0.9])
    assert np.allclose(found.boxes[0, :7], CAR)


def test_a_class_that_the_file_lacks_is_named(file):
    with pytest.raises(ConfigError, match=r"teacher\.\w+: .*no class Bus\. There are Car, Tram"):
        PredictedBoxes(file, ["Car", "Bus"])
