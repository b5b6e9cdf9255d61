import json
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.detectors import create_detector, list_detectors
from kd3d.errors import CheckpointError, ConfigError
from kd3d.interop import compare_openpcdet, export_openpcdet, import_openpcdet

MODELS = {
    "CP-Pillar": ("cp_pillar", 5_224_043),
    "CP-Pillar-v0.4": ("cp_pillar_v040", 5_224_043),
    "CP-Pillar-v0.48": ("cp_pillar_v048", 5_224_043),
    "CP-Pillar-v0.64": ("cp_pillar_v064", 5_224_043),
    "CP-Voxel": ("cp_voxel", 7_758_811),
    "CP-Voxel-S": ("cp_voxel_s", 4_038_203),
    "CP-Voxel-XS": ("cp_voxel_xs", 2_823_223),
    "CP-Voxel-XXS": ("cp_voxel_xxs", 1_012_643),
    "pointpillar_1x": ("pointpillar", 4_838_760),
    "second": ("second", 5_326_008),
}
FAMILIES = ("pillar", "voxel")
TRANSPOSED = (4, 0, 1, 2, 3)


def small(family, **changes):
    if family == "pillar":
        return create_detector(
            "cp_pillar_v064",
            point_cloud_range=(-5.12, -5.12, -2, 5.12, 5.12, 4),
            **{"width": {"encoder": 0.25, "backbone_2d": 0.125, "head": 0.125}, **changes},
        )
    width = {"backbone_3d": 0.25, "backbone_2d": 0.0625, "head": 0.125}
    return create_detector(
        "cp_voxel",
        point_cloud_range=(-3.2, -3.2, -2, 3.2, 3.2, 4),
        **{"width": width, "depth": (1, 1), "depth_3d": (1, 1, 1, 1), **changes},
    )


def theirs(detector, value=0.25):
    """The detector's tensors under OpenPCDet's names, filled with one value."""
    state = {"global_step": torch.zeros(1, dtype=torch.int64)}
    for key, tensor in detector.state_dict().items():
        name = key.replace("dense_head.branches.heatmap.", "dense_head.heads_list.0.hm.")
        name = name.replace("dense_head.branches.", "dense_head.heads_list.0.")
        state[name] = torch.full_like(tensor, value if tensor.is_floating_point() else 7)
    return state


def copied(detector):
    return {key: tensor.clone() for key, tensor in detector.state_dict().items()}


def test_the_table_of_models_is_the_zoo():
    assert sorted(name for name, _ in MODELS.values()) == list_detectors()


@pytest.mark.parametrize("model", MODELS)
def test_keys_shapes_and_order_of_the_reference(shared_data, model):
    name, parameters = MODELS[model]
    shapes = json.loads((shared_data / "openpcdet_keys" / f"{model}.json").read_text())
    state = {key: torch.empty(shape) for key, shape in shapes.items()}
    detector = create_detector(name)
    assert sum(parameter.numel() for parameter in detector.parameters()) == parameters
    report = import_openpcdet(state, detector)
    assert report.complete
    assert len(report.taken) == len(shapes) - 1
    assert report.ignored == ("global_step",)
    assert not report.transposed
    assert not report.zeroed
    exported = export_openpcdet(detector)
    assert [(key, list(tensor.shape)) for key, tensor in exported.items()] == list(shapes.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_copied(family):
    detector = small(family)
    report = import_openpcdet(theirs(detector), detector)
    assert report.taken["dense_head.heads_list.0.hm.1.bias"] == "dense_head.branches.heatmap.1.bias"
    assert set(report.taken.values()) == set(detector.state_dict())
    for tensor in detector.state_dict().values():
        assert bool((tensor == (0.25 if tensor.is_floating_point() else 7)).all())


@pytest.mark.parametrize("layout", ["spconv1", "spconv2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_round_trip_is_exact(family, layout):
    source, target = small(family), small(family)
    exported = export_openpcdet(source, layout=layout)
    report = import_openpcdet(exported, target)
    sparse = [key for key, tensor in exported.items() if tensor.ndim == 5]
    assert bool(sparse) == (family == "voxel")
    assert report.layout == (layout if sparse else None)
    expected = dict.fromkeys(sparse if layout == "spconv1" else [], TRANSPOSED)
    assert report.transposed == expected
    one, other = source.state_dict(), target.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    again = export_openpcdet(target, layout=layout)
    assert all(torch.equal(exported[key], again[key]) for key in exported)
    assert all(tensor.is_contiguous() for tensor in again.values())


def test_exported_tensors_are_copies():
    detector = small("voxel")
    before = copied(detector)
    for tensor in export_openpcdet(detector).values():
        assert not tensor.requires_grad
        tensor.zero_()
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())


def test_extra_branches_travel_under_their_names():
    detector = small("pillar", extra_branches={"vel": 2})
    exported = export_openpcdet(detector)
    assert exported["dense_head.heads_list.0.vel.1.bias"].shape == (2,)
    assert import_openpcdet(exported, detector).complete


def test_a_branch_with_the_heatmap_s_name_has_no_place_there():
    detector = small("pillar", extra_branches={"hm": 2})
    with pytest.raises(CheckpointError, match="branch called 'hm'"):
        export_openpcdet(detector)


def test_our_own_names_are_not_taken_for_theirs():
    detector = small("pillar")
    report = compare_openpcdet(detector.state_dict(), detector)
    assert "dense_head.branches.center.1.bias" in report.unexpected
    assert "dense_head.branches.center.1.bias" in report.missing


def test_a_data_parallel_wrapper_is_looked_through():
    detector = small("pillar")
    state = {f"module.{key}": tensor for key, tensor in theirs(detector).items()}
    report = import_openpcdet(state, detector)
    assert report.complete
    assert report.taken["module.vfe.pfn_layers.0.norm.bias"] == "vfe.pfn_layers.0.norm.bias"
    assert report.ignored == ("module.global_step",)
    state["vfe.pfn_layers.0.norm.bias"] = state.pop("module.vfe.pfn_layers.0.norm.bias")
    assert not compare_openpcdet(state, detector).taken.keys() - {"vfe.pfn_layers.0.norm.bias"}


def test_biases_that_recent_openpcdet_leaves_away_become_zero():
    detector = small("pillar")
    state = theirs(detector)
    left_away = [key for key in state if key.startswith("dense_head") and key.endswith(".0.0.bias")]
    left_away.append("dense_head.shared_conv.0.bias")
    for key in left_away:
        del state[key]
    report = import_openpcdet(state, detector)
    assert report.complete
    assert len(report.zeroed) == len(left_away) == 6
    assert all(bool((detector.state_dict()[key] == 0).all()) for key in report.zeroed)


@pytest.mark.parametrize("lost", ["shared_conv.0.weight", "shared_conv.0.bias"])
def test_a_bias_that_was_lost_is_missing(lost):
    detector = small("pillar")
    state = theirs(detector)
    del state[f"dense_head.{lost}"]
    report = compare_openpcdet(state, detector)
    assert report.missing == (f"dense_head.{lost}",)
    assert not report.zeroed


def wrong(detector):
    state = theirs(detector)
    del state["vfe.pfn_layers.0.norm.bias"]
    state["backbone_3d.conv_input.0.weight"] = torch.zeros(3)
    state["dense_head.shared_conv.0.bias"] = torch.zeros(64)
    return state


def test_strict_refuses_and_changes_nothing():
    detector = small("pillar")
    before = copied(detector)
    with pytest.raises(CheckpointError) as caught:
        import_openpcdet(wrong(detector), detector)
    message = str(caught.value)
    assert "176 of its 178 tensors fit" in message
    assert "missing: vfe.pfn_layers.0.norm.bias" in message
    assert "unexpected: backbone_3d.conv_input.0.weight" in message
    assert (
        "shape mismatch: dense_head.shared_conv.0.bias is (64,), the detector has (8,)" in message
    )
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())


def test_not_strict_takes_the_rest_and_reports():
    detector = small("pillar")
    bias = detector.dense_head.shared_conv[0].bias.clone()
    report = import_openpcdet(wrong(detector), detector, strict=False)
    assert not report.complete
    assert report.missing == ("vfe.pfn_layers.0.norm.bias",)
    assert report.unexpected == ("backbone_3d.conv_input.0.weight",)
    assert report.mismatched == {"dense_head.shared_conv.0.bias": ((64,), (8,))}
    assert torch.equal(detector.dense_head.shared_conv[0].bias, bias)
    assert (detector.vfe.pfn_layers[0].norm.weight == 0.25).all()


def test_nothing_that_fits_is_refused_even_when_not_strict():
    with pytest.raises(CheckpointError, match="0 of its 178 tensors fit"):
        import_openpcdet({"conv.weight": torch.zeros(3)}, small("pillar"), strict=False)


def test_what_is_no_tensor_is_refused():
    state = {**theirs(small("pillar")), "vfe.pfn_layers.0.norm.bias": [0.0]}
    with pytest.raises(CheckpointError, match=r"norm\.bias: is a list, not a tensor"):
        import_openpcdet(state, small("pillar"))


@pytest.mark.parametrize("function", [compare_openpcdet, import_openpcdet])
def test_an_unknown_layout_is_refused(function):
    detector = small("pillar")
    with pytest.raises(ConfigError, match=r"no layout 'spconv3'. Try auto, spconv1, spconv2"):
        function(theirs(detector), detector, layout="spconv3")
    with pytest.raises(ConfigError, match=r"no layout 'auto'. Try spconv1, spconv2"):
        export_openpcdet(detector, layout="auto")


def test_the_wrong_layout_is_a_shape_mismatch_with_the_shapes_of_that_layout():
    detector = small("voxel")
    with pytest.raises(CheckpointError, match=r"is \(4, 3, 3, 3, 5\), the .* \(3, 3, 3, 5, 4\)"):
        import_openpcdet(export_openpcdet(detector), detector, layout="spconv1")


def test_a_wider_teacher_of_the_new_layout_is_never_transposed():
    """The reference takes it for the old layout, because the number of channels differs."""
    wide, narrow = small("voxel", width={"head": 0.125, "backbone_2d": 0.0625}), small("voxel")
    report = import_openpcdet(export_openpcdet(wide), narrow, strict=False)
    assert report.layout == "spconv2"
    assert not report.transposed
    assert report.mismatched["backbone_3d.conv2.0.0.weight"] == (
        (32, 3, 3, 3, 16),
        (8, 3, 3, 3, 4),
    )
    old = import_openpcdet(export_openpcdet(wide, layout="spconv1"), narrow, strict=False)
    assert old.layout == "spconv1"
    assert old.mismatched.keys() == report.mismatched.keys()
    assert old.mismatched["backbone_3d.conv2.0.0.weight"] == (
        (3, 3, 3, 16, 32),
        (3, 3, 3, 4, 8),
    )


@pytest.fixture(scope="module")
def subject():
    detector = small("voxel")
    return detector, copied(detector), list(theirs(detector))


@settings(max_examples=15)
@given(data=st.data(), layout=st.sampled_from(["spconv1", "spconv2"]))
def test_every_key_is_accounted_for(subject, data, layout):
    detector, original, keys = subject
    detector.load_state_dict(original)
    state = export_openpcdet(detector, layout=layout)
    state = {key: tensor + 1 for key, tensor in state.items()}
    weights = keys[1:]
    dropped = data.draw(st.sets(st.sampled_from(weights), max_size=5))
    resized = data.draw(st.sets(st.sampled_from(weights), max_size=5)) - dropped
    extra = data.draw(st.sets(st.text(min_size=1, max_size=8), max_size=3)) - set(keys)
    state.update(dict.fromkeys(extra, torch.zeros(2)))
    state.update({key: torch.zeros(7, 11) for key in resized})
    order = [key for key in state if key not in dropped]
    Random(data.draw(st.integers(0, 1000))).shuffle(order)
    state = {key: state[key] for key in order}

    report = import_openpcdet(state, detector, strict=False)
    assert [*report.ignored] == ["global_step"]
    assert set(report.unexpected) == extra
    assert set(report.mismatched) == resized
    assert set(report.taken) == set(weights) - dropped - resized
    ours_of = compare_openpcdet(export_openpcdet(detector), detector).taken
    assert {*report.missing, *report.zeroed} == {ours_of[key] for key in dropped}
    assert report.complete == (not (extra or resized or report.missing))

    for theirs_key, ours in ours_of.items():
        value = detector.state_dict()[ours]
        if theirs_key in report.taken:
            assert torch.equal(value, original[ours] + 1), ours
        else:
            zero = ours in report.zeroed
            assert torch.equal(value, torch.zeros_like(value) if zero else original[ours]), ours
    if not report.complete:
        with pytest.raises(CheckpointError):
            import_openpcdet(state, detector)
