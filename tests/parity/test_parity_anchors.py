"""SECOND against the reference implementation."""

import pytest
import torch
from reference import load, reference_weights

from kd3d.detectors import create_detector
from kd3d.geometry.residuals import decode_boxes
from kd3d.interop import export_openpcdet, import_openpcdet
from kd3d.structures import PointBatch

MAPS = {"score": "cls", "box": "box", "direction": "dir"}
EVERY_ANCHOR, EVERY_BOX = 97, 31  # what the stored samples hold


@pytest.fixture(scope="module")
def second(shared_data):
    settings, arrays = load(shared_data, "model_second")
    detector = create_detector(
        "second", point_cloud_range=settings["point_cloud_range"], intensity="as_is"
    )
    assert import_openpcdet(reference_weights(shared_data, "second"), detector).complete
    with torch.no_grad():
        maps = detector.eval()(PointBatch.from_points([arrays["points_0"]]))
    return arrays, detector, maps


@pytest.mark.parametrize("name", MAPS)
def test_maps(second, name):
    arrays, _, maps = second
    expected = arrays[f"head0_{MAPS[name]}"]
    assert (getattr(maps, name) - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_anchors(second):
    arrays, detector, _ = second
    expected = arrays["anchors_sample"]
    found = detector.anchors[::EVERY_ANCHOR][: len(expected)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_boxes_before_suppression(second):
    arrays, detector, maps = second
    boxes = decode_boxes(maps.residuals, detector.anchors, maps.directions.argmax(dim=-1))
    scores, expected = arrays["batch_cls_preds_sample"], arrays["batch_box_preds_sample"]
    torch.testing.assert_close(maps.scores[:, ::EVERY_BOX], scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(boxes[:, ::EVERY_BOX], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "name"), [("second", "second"), ("pointpillar_1x", "pointpillar")]
)
def test_weights_go_in_and_out(shared_data, keys, name):
    weights, detector = reference_weights(shared_data, keys), create_detector(name)
    assert import_openpcdet(weights, detector).complete
    exported = export_openpcdet(detector)
    assert list(exported) == list(weights)
    assert all(torch.equal(exported[key], weights[key]) for key in weights)
