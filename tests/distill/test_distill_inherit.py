"""Teacher-guided initialisation."""

import pytest
import torch
from distill_fakes import CLASSES, TinyModule, make_detector
from torch import nn

from kd3d.detectors import create_detector, save_detector
from kd3d.distill import inherit_weights
from kd3d.errors import CheckpointError, ConfigError, TeacherError


def pillars(width, *, depth=(1, 1, 1), cell=0.64, **changes):
    settings = {
        "point_cloud_range": (-10.24, -10.24, -2.0, 10.24, 10.24, 4.0),
        "cell_size": (cell, cell),
        "width": dict.fromkeys(("encoder", "backbone_2d", "head"), width),
        "depth": depth,
    }
    return create_detector("cp_pillar_v064", **{**settings, **changes})


def test_copy_takes_every_tensor():
    teacher, student = pillars(0.25, cell=0.32), pillars(0.25)
    for buffer in teacher.buffers():
        buffer.add_(3)
    report = inherit_weights(student, teacher)
    state = student.state_dict()
    assert report.names("copied") == list(state)
    assert all(torch.equal(state[name], value) for name, value in teacher.state_dict().items())
    assert str(report) == f"{len(state)} copied, 0 sliced, 0 skipped"


def test_prefix_follows_concatenations():
    teacher, student = pillars(0.5), pillars(0.25)
    report = inherit_weights(student, teacher, "prefix")
    mine, theirs = student.state_dict(), teacher.state_dict()

    # The head reads three upsampled branches: 64 channels each in the teacher, 32 in the student.
    kept = [branch * 64 + channel for branch in range(3) for channel in range(32)]
    name = "dense_head.shared_conv.0.weight"
    assert torch.equal(mine[name], theirs[name][:16][:, kept])
    # The second encoder layer reads a point's 16 (8) features, then their 16 (8) maxima.
    name = "vfe.pfn_layers.1.linear.weight"
    assert torch.equal(mine[name], theirs[name][:16][:, [*range(8), *range(16, 24)]])
    # Everything else keeps its first channels, transposed convolutions included.
    name = "backbone_2d.deblocks.1.0.weight"
    assert torch.equal(mine[name], theirs[name][:32, :32])
    name = "backbone_2d.blocks.0.2.running_var"
    assert torch.equal(mine[name], theirs[name][:16])
    # What sees points or speaks of classes stays whole.
    assert "dense_head.branches.heatmap.1.bias" in report.names("copied")
    assert "dense_head.branches.heatmap.1.weight" in report.names("sliced")
    assert report.names("skipped") == []


def test_prefix_computes_what_the_kept_channels_compute():
    # Where the teacher's other channels are silent, the student is the teacher.
    teacher = nn.ModuleDict(
        {"a": nn.Linear(2, 4), "b": nn.Linear(2, 3), "c": nn.Linear(7, 2)}
    ).double()
    student = nn.ModuleDict(
        {"a": nn.Linear(2, 3), "b": nn.Linear(2, 1), "c": nn.Linear(4, 2)}
    ).double()
    with torch.no_grad():
        teacher["c"].weight[:, [3, 5, 6]] = 0
    inherit_weights(student, teacher, "prefix", concatenations={"c.weight": ["a.bias", "b.bias"]})
    x = torch.randn(5, 2, dtype=torch.double)

    def run(network):
        return network["c"](torch.cat((network["a"](x), network["b"](x)), dim=1))

    assert torch.allclose(run(student), run(teacher))


def test_prefix_skips_layers_that_only_one_has():
    teacher, student = pillars(0.25, depth=(2, 1, 1)), pillars(0.25, depth=(1, 2, 1))
    report = inherit_weights(student, teacher, "prefix")
    skipped = {tensor.name: tensor for tensor in report.tensors if tensor.action == "skipped"}
    assert skipped["backbone_2d.blocks.0.7.weight"].shape is None
    assert skipped["backbone_2d.blocks.1.7.weight"].teacher_shape is None
    assert (
        "  skipped  backbone_2d.blocks.1.7.weight..8.num_batches_tracked (6 tensors)  "
        "the teacher has no such tensor" in str(report).splitlines()
    )


def test_lightning_modules_and_checkpoints(tmp_path):
    teacher = pillars(0.25)
    save_detector(teacher, tmp_path / "teacher.pt")
    module = TinyModule(pillars(0.25))
    inherit_weights(module, tmp_path / "teacher.pt")
    for mine, theirs in zip(module.detector.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.requires_grad
    with pytest.raises(CheckpointError, match="absent"):
        inherit_weights(module, tmp_path / "absent.pt")


def test_a_foreign_network_needs_no_protocol():
    teacher, student = make_detector(0, channels=6), make_detector(1, channels=4)
    inherit_weights(student, teacher, "prefix")
    assert torch.equal(student.body[0].weight, teacher.body[0].weight[:4])


def test_nothing_changes_when_something_does_not_fit():
    student = pillars(0.5)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    for teacher, strategy in ((pillars(0.25), "prefix"), (pillars(0.25), "copy")):
        with pytest.raises(ConfigError):
            inherit_weights(student, teacher, strategy)
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_errors():
    with pytest.raises(ConfigError, match=r"tensors differ .* strategy='prefix'"):
        inherit_weights(pillars(0.25), pillars(0.5), "copy")
    with pytest.raises(ConfigError, match="'suffix' is not one of"):
        inherit_weights(pillars(0.25), pillars(0.25), "suffix")
    with pytest.raises(ConfigError, match=r"'l1norm' is not one of .* Did you mean 'l1_norm'"):
        inherit_weights(pillars(0.25), pillars(0.25), "l1norm")
    with pytest.raises(TeacherError, match="classes: the teacher has"):
        inherit_weights(pillars(0.25), pillars(0.25, classes=CLASSES[::-1]))
    with pytest.raises(TeacherError, match="point_features"):
        inherit_weights(pillars(0.25), pillars(0.25, point_features=4))
    with pytest.raises(TeacherError, match="no tensor of the teacher"):
        inherit_weights(nn.Linear(1, 1), nn.ModuleDict({"a": nn.Linear(1, 1)}), "prefix")
    with pytest.raises(ConfigError, match=r"weight: the teacher's \(4, 4, 1, 1\) cannot be cut"):
        inherit_weights(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), "prefix")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["a.weight", "z.weight"], "no tensor 'z.weight' in both .* Did you mean"),
        (["a.weight", "a.weight"], "the teacher reads 5 channels, but its parts have"),
        (["a.weight"], "the teacher reads 5 channels, but its parts have"),
        (["a.weight", "b.weight"], "the student reads 4 channels, but its parts have"),
    ],
)
def test_concatenations_that_do_not_fit(parts, message):
    teacher = nn.ModuleDict({"a": nn.Linear(1, 4), "b": nn.Linear(1, 1), "c": nn.Linear(5, 1)})
    student = nn.ModuleDict({"a": nn.Linear(1, 2), "b": nn.Linear(1, 1), "c": nn.Linear(4, 1)})
    with pytest.raises(ConfigError, match=message):
        inherit_weights(student, teacher, "prefix", concatenations={"c.weight": parts})


def test_concatenations_of_what_is_not_there():
    teacher = nn.ModuleDict({"a": nn.Linear(1, 4), "c": nn.Linear(4, 2)})
    student = nn.ModuleDict({"a": nn.Linear(1, 2), "c": nn.Linear(2, 1)})
    for parts, message in (
        ({"c.wieght": ["a.bias"]}, r"neither network has .* 'c.wieght'.* Did you mean 'c.weight'"),
        ({"c.bias": ["a.bias"]}, "concatenations of c.bias: is no weight with inputs"),
    ):
        with pytest.raises(ConfigError, match=message):
            inherit_weights(student, teacher, "prefix", concatenations=parts)


def test_a_teacher_of_another_precision():
    teacher, student = pillars(0.25).double(), pillars(0.125)
    inherit_weights(student, teacher, "l1_norm")
    assert {value.dtype for value in student.parameters()} == {torch.float32}
