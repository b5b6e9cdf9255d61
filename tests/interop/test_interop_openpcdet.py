import json

import pytest
import torch

from kd3d.detectors import create_detector
from kd3d.errors import CheckpointError
from kd3d.interop import import_openpcdet

MODELS = {
    "CP-Pillar": "cp_pillar",
    "CP-Pillar-v0.4": "cp_pillar_v040",
    "CP-Pillar-v0.48": "cp_pillar_v048",
    "CP-Pillar-v0.64": "cp_pillar_v064",
}


def small():
    return create_detector(
        "cp_pillar_v064",
        point_cloud_range=(-5.12, -5.12, -2, 5.12, 5.12, 4),
        width={"encoder": 0.25, "backbone_2d": 0.125, "head": 0.125},
    )


def theirs(detector, value=0.25):
    """The detector's tensors under OpenPCDet's names, filled with one value."""
    state = {"global_step": torch.zeros(1, dtype=torch.int64)}
    for key, tensor in detector.state_dict().items():
        name = key.replace("dense_head.branches.heatmap.", "dense_head.heads_list.0.hm.")
        name = name.replace("dense_head.branches.", "dense_head.heads_list.0.")
        state[name] = torch.full_like(tensor, value if tensor.is_floating_point() else 7)
    return state


@pytest.mark.parametrize("model", MODELS)
def test_keys_and_shapes_of_the_reference(shared_data, model):
    shapes = json.loads((shared_data / "openpcdet_keys" / f"{model}.json").read_text())
    state = {key: torch.empty(shape) for key, shape in shapes.items()}
    report = import_openpcdet(state, create_detector(MODELS[model]))
    assert report.complete
    assert len(report.taken) == 178
    assert report.ignored == ("global_step",)


def test_every_tensor_is_copied():
    detector = small()
    state = theirs(detector)
    report = import_openpcdet(state, detector)
    assert report.taken["dense_head.heads_list.0.hm.1.bias"] == "dense_head.branches.heatmap.1.bias"
    assert set(report.taken.values()) == set(detector.state_dict())
    for tensor in detector.state_dict().values():
        assert bool((tensor == (0.25 if tensor.is_floating_point() else 7)).all())


def wrong(detector):
    state = theirs(detector)
    del state["vfe.pfn_layers.0.norm.bias"]
    state["backbone_3d.conv_input.0.weight"] = torch.zeros(3)
    state["dense_head.shared_conv.0.bias"] = torch.zeros(64)
    return state


def test_strict_refuses_and_changes_nothing():
    detector = small()
    before = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        import_openpcdet(wrong(detector), detector)
    message = str(caught.value)
    assert "missing: vfe.pfn_layers.0.norm.bias" in message
    assert "unexpected: backbone_3d.conv_input.0.weight" in message
    assert (
        "shape mismatch: dense_head.shared_conv.0.bias is (64,), the detector has (8,)" in message
    )
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())


def test_not_strict_takes_the_rest_and_reports():
    detector = small()
    bias = detector.dense_head.shared_conv[0].bias.clone()
    report = import_openpcdet(wrong(detector), detector, strict=False)
    assert not report.complete
    assert report.missing == ("vfe.pfn_layers.0.norm.bias",)
    assert report.unexpected == ("backbone_3d.conv_input.0.weight",)
    assert report.mismatched == {"dense_head.shared_conv.0.bias": ((64,), (8,))}
    assert torch.equal(detector.dense_head.shared_conv[0].bias, bias)
    assert (detector.vfe.pfn_layers[0].norm.weight == 0.25).all()
