"""Which detector a checkpoint is of."""

import json

import pytest
import torch

from kd3d.detectors import create_detector
from kd3d.errors import CheckpointError
from kd3d.interop import export_openpcdet, import_openpcdet
from kd3d.interop.nearest import describe_nearest


def weights(name, layout="spconv2", **changes):
    with torch.device("meta"):
        return export_openpcdet(create_detector(name, **changes), layout=layout)


@pytest.mark.parametrize("layout", ["spconv1", "spconv2"])
@pytest.mark.parametrize("name", ["cp_voxel", "cp_voxel_s", "cp_voxel_xs", "cp_voxel_xxs"])
def test_the_detector_is_recognised(name, layout):
    text = describe_nearest(weights(name, layout), None)
    assert text == f"The weights fit {name} with 3 classes and point_features=5."


def test_all_pillar_networks_have_the_same_weights():
    text = describe_nearest(weights("cp_pillar_v048"), None)
    assert text.startswith("The weights fit cp_pillar or cp_pillar_v040 or cp_pillar_v048 or")


@pytest.mark.parametrize("layout", ["spconv1", "spconv2"])
@pytest.mark.parametrize("features", [3, 4])
def test_classes_and_features_are_read_from_the_shapes(layout, features):
    state = weights("cp_voxel_xs", layout, classes=["Car"], point_features=features)
    text = describe_nearest(state, None)
    assert text == f"The weights fit cp_voxel_xs with 1 class and point_features={features}."


def test_pillars_of_other_points():
    state = weights("cp_pillar", classes=list("abcde"), point_features=4)
    assert "with 5 classes and point_features=4" in describe_nearest(state, None)


def test_another_width_names_the_nearest_and_counts():
    text = describe_nearest(weights("cp_voxel_s", width={"head": 0.25}), "spconv2")
    assert text.startswith("The nearest of kd3d's detectors is cp_voxel_")
    assert "of its 278 tensors fit" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("second", "The weights fit second with"),
        ("centerpoint_without_resnet", "The nearest of kd3d's detectors is "),
        ("pointpillar_1x", "The weights fit pointpillar with"),
    ],
)
def test_other_networks_of_openpcdet_are_refused_with_numbers(shared_data, name, told):
    shapes = json.loads((shared_data / "openpcdet_keys" / f"{name}.json").read_text())
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    with torch.device("meta"):
        detector = create_detector("cp_voxel")
    with pytest.raises(CheckpointError) as caught:
        import_openpcdet(state, detector)
    message = str(caught.value)
    assert "of its 278 tensors fit" in message
    assert "and " in message
    assert told in message
    assert len(message.splitlines()) < 30


def test_something_else_altogether():
    state = {"features.0.weight": torch.zeros(3, 3)}
    assert describe_nearest(state, None) == "They fit none of kd3d's detectors."
