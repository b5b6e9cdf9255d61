"""Inheritance in the voxel family, at the published widths, and between families."""

import json

import pytest
import torch
from inherit_networks import StateOnly, maps_of, pillars, randomise, voxels

from kd3d.detectors import create_detector
from kd3d.distill import inherit_weights
from kd3d.distill.inherit.centerpoint import centerpoint_layers
from kd3d.distill.inherit.channels import Run, trace_channels
from kd3d.errors import ConfigError, TeacherError

RANGE = (-6.4, -6.4, -2.0, 6.4, 6.4, 4.0)
STRATEGIES = ("copy", "prefix", "bn_scale", "l1_norm", "reference_prefix")
FIRST_2D = "backbone_2d.blocks.0.1.weight"


def published(name):
    detector = create_detector(name, point_cloud_range=RANGE, voxel_size=(0.4, 0.4, 0.15))
    randomise(detector, 0)
    return detector


def inputs_taken(student, teacher, strategy):
    """Number the teacher's inputs of the first 2D layer, and see which ones the student gets."""
    weight = teacher.get_parameter(FIRST_2D)
    with torch.no_grad():
        weight.copy_(torch.arange(weight.shape[1], dtype=torch.float)[None, :, None, None])
    inherit_weights(student, teacher, strategy)
    taken = student.get_parameter(FIRST_2D)
    assert torch.equal(taken, taken[:1, :, :1, :1].expand_as(taken))
    return taken[0, :, 0, 0].int().tolist()


@pytest.mark.parametrize(
    ("teacher", "student", "as_published", "right"),
    [
        ("cp_voxel", "cp_voxel_s", [*range(256)], [*range(256)]),
        ("cp_voxel", "cp_voxel_xs", [*range(96), *range(128, 224)], [*range(192)]),
        ("cp_voxel_xs", "cp_voxel_xxs", [*range(64), *range(96, 160)], [*range(128)]),
    ],
)
def test_the_published_remapping_takes_other_heights(teacher, student, as_published, right):
    taught, learner = published(teacher), published(student)
    assert inputs_taken(learner, taught, "reference_prefix") == as_published
    assert inputs_taken(learner, taught, "prefix") == right


def test_the_published_remapping_is_a_prefix_elsewhere():
    teacher = voxels()
    randomise(teacher, 1)
    one, other = voxels(0.375, 0.0625), voxels(0.375, 0.0625)
    inherit_weights(one, teacher, "prefix")
    inherit_weights(other, teacher, "reference_prefix")
    states = one.state_dict(), other.state_dict()
    assert [n for n, value in states[0].items() if not torch.equal(value, states[1][n])] == [
        FIRST_2D
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("make", [voxels, pillars])
def test_equal_widths_are_copied(strategy, make):
    teacher, student = make(), make()
    randomise(teacher, 2)
    report = inherit_weights(student, teacher, strategy)
    state = student.state_dict()
    assert report.names("copied") == list(state)
    assert report.kept == {}
    assert all(torch.equal(state[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("strategy", ["prefix", "bn_scale", "l1_norm"])
def test_layers_of_unchanged_width_are_not_scrambled(strategy):
    teacher, student = published("cp_voxel"), published("cp_voxel_s")
    report = inherit_weights(student, teacher, strategy)
    theirs, mine = teacher.state_dict(), student.state_dict()
    whole = [name for name in mine if name.startswith("backbone_3d.")]
    assert all(torch.equal(mine[name], theirs[name]) for name in whole)
    kept = list(report.kept["backbone_2d.blocks.0.1"])
    assert kept == sorted(kept)
    assert len(kept) == 64
    assert (kept == [*range(64)]) == (strategy == "prefix")
    assert torch.equal(mine[FIRST_2D], theirs[FIRST_2D][kept])


@pytest.mark.parametrize("strategy", ["prefix", "bn_scale", "l1_norm"])
def test_residual_sums_keep_the_same_channels(strategy):
    teacher, student = published("cp_voxel"), published("cp_voxel_xs")
    report = inherit_weights(student, teacher, strategy)
    theirs, mine = teacher.state_dict(), student.state_dict()
    for stage, entry in enumerate(("conv_input", "conv2.0", "conv3.0", "conv4.0"), start=1):
        kept = list(report.kept[f"backbone_3d.{entry}"])
        blocks = (0, 1) if stage == 1 else (1, 2)
        added = [f"conv{stage}.{block}.bn2" for block in blocks] + [f"{entry}.1"]
        for norm in added:
            for what in ("weight", "bias", "running_mean", "running_var"):
                name = f"backbone_3d.{norm}.{what}"
                assert torch.equal(mine[name], theirs[name][kept])
        for block in blocks:
            path = f"backbone_3d.conv{stage}.{block}.conv"
            inner = list(report.kept[f"{path}1"])
            name = f"{path}1.weight"
            assert torch.equal(mine[name], theirs[name][inner][..., kept])
            name = f"{path}2.weight"
            assert torch.equal(mine[name], theirs[name][kept][..., inner])


@pytest.mark.parametrize("strategy", ["bn_scale", "l1_norm"])
def test_importance_is_summed_over_a_residual_stage(strategy):
    teacher, student = voxels(0.25), voxels(0.125)
    # either alone, or a sum with signs, would choose others
    entry, block = torch.tensor([5.0, 3, 0, 3]), torch.tensor([0.0, -3, 5, -3])
    with torch.no_grad():
        for path, norm, values in (
            ("conv_input.0", "conv_input.1", entry),
            ("conv1.0.conv2", "conv1.0.bn2", block),
        ):
            path, norm = f"backbone_3d.{path}.weight", f"backbone_3d.{norm}.weight"
            filters = teacher.get_parameter(path).zero_()
            if strategy == "l1_norm":
                filters[:, 1, 1, 1, 0] = values
            else:
                teacher.get_parameter(norm).copy_(values)
    report = inherit_weights(student, teacher, strategy)
    assert report.kept["backbone_3d.conv_input"] == (1, 3)


def test_equally_important_channels_are_taken_from_the_front():
    report = inherit_weights(voxels(0.5, 0.125), voxels(0.5, 0.25), "bn_scale")  # scales are all 1
    assert set(report.kept.values()) >= {tuple(range(16)), tuple(range(32))}
    assert all(kept == tuple(range(len(kept))) for kept in report.kept.values())


def test_norms_of_filters_count_kept_inputs_alone():
    teacher, student = pillars(), pillars(backbone_2d=0.125)
    with torch.no_grad():
        before = teacher.get_parameter("backbone_2d.blocks.0.4.weight")
        before[:8] = 0  # the student keeps the other eight
        weight = teacher.get_parameter("backbone_2d.blocks.1.1.weight")
        weight[:16, 8:], weight[:16, :8] = 5, 0
        weight[16:, 8:], weight[16:, :8] = 1, 9  # larger in all, but not over what is kept
    report = inherit_weights(student, teacher, "l1_norm")
    assert report.kept["backbone_2d.blocks.0.4"] == tuple(range(8, 16))
    assert report.kept["backbone_2d.blocks.1.1"] == tuple(range(16))


def test_other_numbers_of_heights():
    teacher = voxels()  # two heights
    for size, heights in ((0.1, 3), (0.2, 1)):
        student = voxels(size=(0.4, 0.4, size))
        before = student.get_parameter(FIRST_2D).detach().clone()
        report = inherit_weights(student, teacher, "prefix")
        mine, theirs = (one.get_parameter(FIRST_2D) for one in (student, teacher))
        by_height, taught = mine.unflatten(1, (-1, heights)), theirs.unflatten(1, (-1, 2))
        common = min(heights, 2)
        assert torch.equal(by_height[:, :, :common], taught[:, :, :common])
        assert torch.equal(
            by_height[:, :, common:], before.unflatten(1, (-1, heights))[:, :, common:]
        )
        assert report.names("sliced") == [FIRST_2D]
        (line,) = [one for one in str(report).splitlines() if FIRST_2D in one]
        assert f"{common} of its {heights} heights from the teacher's 2" in line
        assert ("64 of its inputs left as they were" in line) == (heights == 3)


def test_equal_maps_of_other_heights_are_not_copied():
    # 32 channels at 2 heights and 64 at one fill maps of one size
    teacher, student = voxels(0.5, size=(0.4, 0.4, 0.2)), voxels(0.25)
    assert teacher.get_parameter(FIRST_2D).shape == student.get_parameter(FIRST_2D).shape
    before = student.get_parameter(FIRST_2D).detach().clone()
    inherit_weights(student, teacher, "prefix")
    mine, theirs = (one.get_parameter(FIRST_2D) for one in (student, teacher))
    assert torch.equal(mine[:, ::2], theirs[:, :32])
    assert torch.equal(mine[:, 1::2], before[:, 1::2])


@pytest.mark.parametrize("strategy", ["prefix", "bn_scale", "l1_norm"])
def test_from_voxels_to_pillars_what_both_have_is_inherited(strategy):
    teacher, student = voxels(0.5, 0.25, 0.25), pillars(0.5, 0.25, 0.25)
    randomise(teacher, 6)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    report = inherit_weights(student, teacher, strategy)
    state, skipped = student.state_dict(), set(report.names("skipped"))
    assert "only the student has vfe, only the teacher has backbone_3d" in str(report)
    assert "both have backbone_2d, dense_head" in report.note

    absent = ("vfe.", "backbone_2d.blocks.2.", "backbone_2d.deblocks.2.")
    first = ("backbone_2d.blocks.0.1.", "backbone_2d.blocks.0.2.")
    left = {name for name in state if name.startswith((*absent, *first))}
    assert {name for name in skipped if name in state} == left
    assert all(torch.equal(state[name], before[name]) for name in left)
    reasons = {tensor.name: tensor.detail for tensor in report.tensors}
    assert reasons[FIRST_2D] == (
        "its channels come from vfe.pfn_layers.1, the teacher's from backbone_3d.conv_out"
    )
    assert reasons["backbone_2d.blocks.0.2.running_var"] == f"{FIRST_2D} is not inherited"
    assert reasons["vfe.pfn_layers.0.linear.weight"] == "the teacher has no such tensor"
    assert reasons["backbone_3d.conv_out.0.weight"] == "the student has no such tensor"

    # The head reads a third branch in the student alone: those inputs stay.
    name = "dense_head.shared_conv.0.weight"
    kept = [torch.tensor(report.kept[f"backbone_2d.deblocks.{i}"]) for i in (0, 1)]
    columns = torch.cat((kept[0], kept[1] + 64))
    assert torch.equal(state[name][:, :64], teacher.state_dict()[name][:, columns])
    assert torch.equal(state[name][:, 64:], before[name][:, 64:])
    assert "32 of its inputs left as they were" in reasons[name]
    name = "dense_head.branches.heatmap.1.weight"
    assert torch.equal(state[name], teacher.state_dict()[name])
    assert maps_of(student).isfinite().all()


def test_from_pillars_to_voxels_as_far_as_the_teacher_is_wide_enough():
    teacher = pillars(0.5, 0.25, 0.25)
    randomise(teacher, 7)
    student = voxels(0.5, 0.125, 0.25)  # blocks of 16 and 32 channels as the teacher's
    report = inherit_weights(student, teacher, "prefix")
    name = "dense_head.shared_conv.0.weight"  # its two branches are the teacher's first two
    assert torch.equal(student.state_dict()[name], teacher.state_dict()[name][:, :64])
    assert "backbone_2d.blocks.1.1.weight" in report.names("copied")

    wider = voxels(0.5, 0.25, 0.25)
    report = inherit_weights(wider, teacher, "bn_scale")
    reasons = {tensor.name: tensor.detail for tensor in report.tensors}
    name = "backbone_2d.blocks.1.1.weight"
    assert name in report.names("skipped")
    assert reasons[name] == "64 channels of backbone_2d.blocks.1.1, the teacher has 32"
    name = "dense_head.branches.center.0.0.weight"
    assert torch.equal(wider.state_dict()[name], teacher.state_dict()[name])


def test_between_families_points_may_differ_but_something_must_fit():
    teacher = pillars(point_features=4)
    inherit_weights(voxels(backbone_2d=0.125), teacher, "prefix")
    with pytest.raises(TeacherError, match="nothing of the teacher fits"):
        inherit_weights(voxels(0.5, 0.5, 1.0), teacher, "prefix")


def test_layers_that_only_the_student_has():
    teacher = pillars(depth=(0, 1, 1))
    student = pillars(0.25, 0.125, depth=(2, 1, 1))
    randomise(teacher, 8)
    report = inherit_weights(student, teacher, "bn_scale")
    assert {name.split(".")[3] for name in report.names("skipped")} == {"4", "5", "7", "8"}
    # What follows them reads the channels that were chosen before them.
    name = "backbone_2d.deblocks.0.0.weight"
    rows = list(report.kept["backbone_2d.blocks.0.1"])
    columns = list(report.kept["backbone_2d.deblocks.0"])
    assert torch.equal(student.state_dict()[name], teacher.state_dict()[name][rows][:, columns])


@pytest.mark.parametrize("strategy", ["prefix", "bn_scale", "l1_norm", "reference_prefix"])
def test_a_wider_student_is_refused(strategy):
    with pytest.raises(
        ConfigError, match=r"backbone_3d.conv_input: the student has 8 channels, the teacher 4\."
    ):
        inherit_weights(voxels(0.5), voxels(0.25), strategy)


@pytest.mark.parametrize("strategy", ["prefix", "bn_scale", "l1_norm"])
@pytest.mark.parametrize(
    ("teacher", "student"), [("CP-Voxel", "CP-Voxel-XS"), ("CP-Voxel-XS", "CP-Voxel-XXS")]
)
def test_openpcdet_names_are_known(shared_data, strategy, teacher, student):
    folder = shared_data / "openpcdet_keys"
    shapes = [json.loads((folder / f"{name}.json").read_text()) for name in (teacher, student)]
    taught, learner = (StateOnly(one, seed) for seed, one in enumerate(shapes))
    taught.tensors["roi_head.shared_fc.weight"] = torch.zeros(4, 4)  # of a second stage
    report = inherit_weights(learner, taught, strategy)
    assert report.names("skipped") == ["roi_head.shared_fc.weight"]
    assert "global_step" in report.names("copied")
    name = "dense_head.heads_list.0.hm.1.weight"
    kept = list(report.kept.get("dense_head.heads_list.0.hm.0", ()))
    assert torch.equal(learner.tensors[name], taught.tensors[name][:, kept])
    name = "dense_head.shared_conv.0.weight"
    assert learner.tensors[name].shape == tuple(shapes[1][name])


def test_plain_backbones_are_known(shared_data):
    path = shared_data / "openpcdet_keys" / "centerpoint_without_resnet.json"
    shapes = {name: tuple(shape) for name, shape in json.loads(path.read_text()).items()}
    flow = trace_channels(shapes, centerpoint_layers(shapes), "teacher")
    axes = flow.axes["backbone_3d.conv2.1.0.weight"]
    assert axes[0] == (Run("backbone_3d.conv2.1"),)
    assert axes[4] == (Run("backbone_3d.conv2.0"),)
    assert flow.axes[FIRST_2D][1] == (Run("backbone_3d.conv_out", depths=2),)


def test_importance_needs_known_layers():
    teacher, student = torch.nn.Linear(2, 4), torch.nn.Linear(2, 3)
    for strategy in ("bn_scale", "l1_norm"):
        with pytest.raises(ConfigError, match=r"which of 4 channels matter.*strategy='prefix'"):
            inherit_weights(student, teacher, strategy)


def test_a_known_name_with_other_channels_is_refused():
    teacher, student = pillars(), pillars()
    teacher.dense_head.shared_conv[0] = torch.nn.Conv2d(48, 16, 3, padding=1)
    with pytest.raises(ConfigError, match=r"the teacher reads 48 channels, but its parts have"):
        inherit_weights(student, teacher, "prefix")
