"""The paper's networks: exact parameters, published multiply-accumulates, hand-counted encoders."""

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kd3d.detectors import create_detector
from kd3d.profiling import cost_parts, profile
from kd3d.structures import PointBatch

COUNT = {"repeats": 0, "memory": False}
SMALL = (-12.8, -12.8, -2.0, 12.8, 12.8, 4.0)

#: name: parameters; G MACs of 2D backbone and head; of them transposed; 2D backbone; head; the
#: transposed ones in the paper's count; all in the paper's count; M outputs of convolutions.
#: Measured on the reference implementation.
REFERENCE = {
    "cp_pillar": (5_224_043, 220.064, 12.346, 131.396, 88.668, 128.750, 337.118, 284.837),
    "cp_pillar_v040": (5_224_043, 138.423, 7.766, 82.650, 55.773, 80.986, 212.052, 179.166),
    "cp_pillar_v048": (5_224_043, 99.500, 5.582, 59.409, 40.090, 58.213, 152.425, 128.786),
    "cp_pillar_v064": (5_224_043, 55.016, 3.086, 32.849, 22.167, 32.188, 84.280, 71.209),
    "cp_voxel": (7_758_811, 85.782, 3.474, 68.621, 17.162, 10.423, 92.890, 72.773),
    "cp_voxel_s": (4_038_203, 24.107, 0.869, 19.761, 4.346, 2.606, 25.924, 36.581),
    "cp_voxel_xs": (2_823_223, 22.805, 0.869, 18.458, 4.346, 2.606, 24.621, 36.581),
    "cp_voxel_xxs": (1_012_643, 6.055, 0.217, 4.940, 1.115, 0.651, 6.529, 18.485),
    "pointpillar": (4_838_760, 139.727, 12.560, 133.671, 6.056, 130.980, 258.569, 219.024),
    "second": (5_326_008, 69.923, 3.474, 68.621, 1.303, 10.423, 76.993, 61.357),
}


class Dense(nn.Module):
    """The part of a detector that costs the same on every frame."""

    def __init__(self, detector):
        super().__init__()
        self.backbone_2d = detector.backbone_2d
        self.dense_head = detector.dense_head
        self.grid = detector.grid

    def forward(self, x):
        return self.dense_head(self.backbone_2d(x), self.grid)


@pytest.mark.parametrize("name", REFERENCE)
def test_dense_parts_cost_what_the_reference_s_cost(name):
    with torch.device("meta"):  # shapes without numbers: the full grid at no cost
        detector = create_detector(name)
        dense = Dense(detector).eval()
    channels = next(detector.backbone_2d.parameters()).shape[1]
    frame = torch.empty(1, channels, *detector.grid.shape, device="meta")
    found = profile(dense, frame, **COUNT)
    transposed = [module.cost for module in found.root.walk() if module.transposed]
    giga = [
        found.root.cost.true.macs,
        sum(cost.true.macs for cost in transposed),
        found["backbone_2d"].cost.true.macs,
        found["dense_head"].cost.true.macs,
        sum(cost.paper.macs for cost in transposed),
        found.root.cost.paper.macs,
    ]
    printed = [round(macs / 1e9, 3) for macs in giga]
    outputs = round(found.activations / 1e6, 3)
    assert (*printed, outputs) == REFERENCE[name][1:]
    assert sum(one.numel() for one in detector.parameters()) == REFERENCE[name][0]
    with FlopCounterMode(display=False) as counter:
        dense(frame)
    assert counter.get_total_flops() == 2 * found.root.cost.true.macs


def cloud(seed, count=400, half=12.0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 5, generator=generator)
    points[:, :2] = (points[:, :2] * 2 - 1) * half
    points[:, 2] = points[:, 2] * 2
    return points


def tiny_pillars(**changes):
    width = {"encoder": 0.25, "backbone_2d": 0.125, "head": 0.125}
    options = {"point_cloud_range": SMALL, "width": width, **changes}
    return create_detector("cp_pillar_v064", **options)


def test_the_pillar_encoder_counts_rows_that_run_and_in_the_paper_s_way_padded_ones():
    detector = create_detector("cp_pillar_v064", point_cloud_range=SMALL)
    batch = PointBatch.from_points([cloud(0)])
    voxels = detector.voxelizer(batch.points, batch.batch_index, 1)
    rows = len(voxels.points) + len(voxels)  # points, and one row for the padding of each pillar
    padded = len(voxels) * 50
    encoder = profile(detector, batch, **COUNT)["vfe"]
    per_row = 11 * 32 + 64 * 64
    assert encoder.cost.true.macs == rows * per_row
    assert encoder.cost.true.activations == rows * 96
    # the reference's: 4448 MACs of linear layers and 2 x 96 of norms for 96 activations
    assert encoder.cost.paper.macs == padded * (4448 + 192)
    assert encoder.cost.paper.activations == padded * 96


@pytest.mark.parametrize("name", ["cp_pillar_v064", "cp_voxel_xxs"])
def test_two_equal_frames_cost_twice_as_much(name):
    width = {"backbone_2d": 0.125, "head": 0.125}
    detector = create_detector(name, point_cloud_range=SMALL, width=width)
    one = profile(detector, PointBatch.from_points([cloud(1)]), **COUNT)
    two = profile(detector, PointBatch.from_points([cloud(1)] * 2), **COUNT)
    assert two.root.cost.true == one.root.cost.true + one.root.cost.true
    assert two.root.cost.paper == one.root.cost.paper + one.root.cost.paper
    assert (one.batch_size, two.batch_size) == (1, 2)


@pytest.mark.parametrize("name", ["cp_pillar_v064", "cp_voxel_xxs"])
def test_a_detector_is_timed_in_its_stages_and_counted_to_the_last_parameter(name, tmp_path):
    width = {"backbone_2d": 0.125, "head": 0.125}
    detector = create_detector(name, point_cloud_range=SMALL, width=width, score_threshold=0.0)
    found = profile(detector, PointBatch.from_points([cloud(2)]), repeats=3, warmup=1)
    stages = ["voxelise", "encode", "backbone", "head", "decode", "nms"]
    assert list(found.latency) == [*stages, "total"]
    for latency in found.latency.values():
        assert 0 < latency.p5 <= latency.median <= latency.p95
    assert found.latency["total"].p95 >= max(found.latency[stage].median for stage in stages)
    assert found.gaps == {}
    assert found.parameters == sum(one.numel() for one in detector.parameters())
    assert not any(module._forward_pre_hooks for module in detector.modules())

    content = json.loads(found.save(tmp_path / "deep" / "profile.json").read_text())
    assert content["true"]["flops"] == 2 * content["true"]["macs"] == 2 * found.macs
    assert content["paper"]["macs"] == found.root.cost.paper.macs
    assert content["latency_ms"]["nms"]["median"] == found.latency["nms"].median
    assert content["memory_bytes"]["activations"] == found.memory.activations
    by_path = {module["path"]: module for module in content["modules"]}
    assert by_path[""]["parameters"] == found.parameters
    assert by_path["backbone_2d.deblocks.1.0"]["kind"] == "ConvTranspose2d"


def test_the_pass_finds_what_the_detector_finds(monkeypatch):
    from kd3d.profiling import stages

    detector, batch = tiny_pillars(score_threshold=0.0), PointBatch.from_points([cloud(3)])
    kept = []
    suppress = stages.suppress
    monkeypatch.setattr(stages, "suppress", lambda *given: kept.append(suppress(*given)))
    profile(detector, batch, **COUNT)
    (expected,) = detector.predict([batch.points])
    assert len(expected.boxes) > 0
    assert torch.equal(kept[0].boxes, expected.boxes)


def test_parts_split_the_transposed_convolutions_off_and_add_up():
    found = profile(tiny_pillars(), PointBatch.from_points([cloud(4)]), **COUNT)
    parts = cost_parts(found.root)
    assert list(parts) == ["vfe", "backbone_2d", "backbone_2d, transposed", "dense_head"]
    assert sum(cost.paper.macs for cost in parts.values()) == found.root.cost.paper.macs
    assert sum(cost.true.macs for cost in parts.values()) == found.macs
    transposed = [module for module in found.root.walk() if module.kind == "ConvTranspose2d"]
    expected = sum(module.cost.true.macs for module in transposed)
    assert parts["backbone_2d, transposed"].true.macs == expected
    largest = max(parts, key=lambda part: parts[part].paper.macs)
    few = cost_parts(found.root, most=2)
    assert list(few) == [largest, "other"]
    assert sum(cost.true.macs for cost in few.values()) == found.macs
