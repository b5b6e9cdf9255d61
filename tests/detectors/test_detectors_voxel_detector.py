import json

import pytest
import torch
from torch import nn

from kd3d.detectors import CenterPointVoxel, create_detector
from kd3d.detectors.voxel_backbone import VoxelNorm
from kd3d.errors import ConfigError
from kd3d.structures import PointBatch

RANGE = (-6.4, -6.4, -2.0, 6.4, 6.4, 4.0)
NARROW = {"backbone_3d": 0.25, "backbone_2d": 0.125, "head": 0.25}
PUBLISHED = {
    # name: parameters, channels of the stages, of the 2D input, of the 2D blocks, of the head
    "cp_voxel": (7_758_811, [16, 32, 64, 128, 128], 256, [128, 256], 64),
    "cp_voxel_s": (4_038_203, [16, 32, 64, 128, 128], 256, [64, 128], 32),
    "cp_voxel_xs": (2_823_223, [12, 24, 48, 96, 96], 192, [64, 128], 32),
    "cp_voxel_xxs": (1_012_643, [8, 16, 32, 64, 64], 128, [32, 64], 16),
}


def small(name="cp_voxel", **changes):
    torch.manual_seed(0)
    return create_detector(name, **{"point_cloud_range": RANGE, "width": NARROW, **changes})


def cloud(count=400, features=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, features, generator=generator) * 12 - 6
    points[:, 2] = points[:, 2] / 3 + 1
    return points


def step(detector, *clouds):
    boxes = torch.tensor([[1.0, 2, 1, 4, 2, 1.5, 0.3], [-4, 3, 1, 1, 1, 1.7, 0]])
    batch = PointBatch.from_points(
        clouds, boxes=[boxes] * len(clouds), labels=[torch.tensor([0, 1])] * len(clouds)
    )
    maps = detector(batch)
    detector.loss(maps, detector.assign_targets(batch.boxes, batch.labels))["loss"].backward()
    return maps


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_of_the_paper(name):
    parameters, stages, bev, blocks, head = PUBLISHED[name]
    detector = create_detector(name)
    assert sum(p.numel() for p in detector.parameters()) == parameters
    network = detector.backbone_3d
    volumes = [network.conv_input, network.conv2[0], network.conv3[0], network.conv4[0]]
    assert [part[0].out_channels for part in (*volumes, network.conv_out)] == stages
    assert detector.backbone_2d.blocks[0][1].in_channels == bev
    assert [block[1].out_channels for block in detector.backbone_2d.blocks] == blocks
    assert detector.dense_head.shared_conv[0].out_channels == head
    assert detector.sparse_shape == (41, 1504, 1504)
    assert detector.grid.shape == (188, 188)
    assert detector.grid.cell_x == pytest.approx(0.8)
    assert detector.center_limit == pytest.approx((-75.2, -75.2, -2, 75.2, 75.2, 4))
    assert detector.classes == ("Vehicle", "Pedestrian", "Cyclist")


@pytest.mark.parametrize(
    ("name", "theirs"), list(zip(PUBLISHED, ("", "-S", "-XS", "-XXS"), strict=True))
)
def test_tensors_of_the_backbones_are_named_as_in_openpcdet(shared_data, name, theirs):
    file = shared_data / "openpcdet_keys" / f"CP-Voxel{theirs}.json"
    expected = {
        key: tuple(shape)
        for key, shape in json.loads(file.read_text()).items()
        if key.startswith("backbone")
    }
    found = {
        key: tuple(value.shape)
        for key, value in create_detector(name).state_dict().items()
        if key.startswith("backbone")
    }
    assert list(found.items()) == list(expected.items())


def test_norms():
    detector = create_detector("cp_voxel_xxs")
    for name, module in detector.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            head = name.startswith("dense_head")
            assert (module.eps, module.momentum) == ((1e-5, 0.1) if head else (1e-3, 0.01)), name
    for module in small(norm_momentum=0.2).modules():
        assert not isinstance(module, VoxelNorm) or module.momentum == 0.2


@pytest.mark.parametrize(
    "changes",
    [
        {"width": {"backbone_2d": 0.05}},
        {"width": {"backbone_3d": 0.4, "head": 0.3}},
        {"depth": (0, 2)},
        {"depth_3d": (0, 1, 0, 3)},
        {"voxel_size": (0.2, 0.1, 0.15)},
        {"voxel_size": (0.1, 0.2, 0.25)},
        {"voxel_size": (0.2, 0.2, 0.1)},
        {"point_cloud_range": (-6.4, -3.2, -3.0, 6.4, 3.2, 6.0)},
        {"classes": ("car",), "point_features": 3, "extra_branches": {"velocity": 2}},
    ],
)
def test_students_are_derived(changes):
    detector = small(**changes)
    features = changes.get("point_features", 5)
    batch = PointBatch.from_points([cloud(features=features), cloud(features=features, seed=1)])
    maps = detector(batch)
    sum(value.square().sum() for value in (maps.heatmap, maps.dim, *maps.extra.values())).backward()
    assert maps.heatmap.shape == (2, len(detector.classes), *detector.grid.shape)
    assert detector.backbone_3d.conv_out[0].weight.grad.abs().sum() > 0
    again = create_detector(detector.spec()["name"], **detector.spec()["arguments"])
    again.load_state_dict(detector.state_dict())
    assert again.spec() == detector.spec()
    assert again.grid == detector.grid
    assert isinstance(again, CenterPointVoxel)


def test_a_cell_of_the_map_is_eight_voxels():
    detector = small(voxel_size=(0.2, 0.1, 0.15))
    assert detector.grid.shape == (16, 8)
    assert (detector.grid.cell_x, detector.grid.cell_y) == pytest.approx((1.6, 0.8))


def test_layers_follow_the_height_of_a_voxel():
    channels = {
        height: small(voxel_size=(0.1, 0.1, height)).backbone_2d.blocks[0][1].in_channels
        for height in (0.25, 0.15, 0.1)
    }
    assert channels == {0.25: 32, 0.15: 2 * 32, 0.1: 3 * 32}


def test_parts_that_are_left_out_keep_the_width_they_have_by_name():
    factors = create_detector("cp_voxel_xs", width={"head": 0.25}).spec()["arguments"]["width"]
    assert factors == {"backbone_3d": 0.75, "backbone_2d": 0.5, "head": 0.25}


def test_width_truncates_as_the_field_does():
    detector = small(width={"backbone_3d": 0.3, "backbone_2d": 0.3})
    assert detector.backbone_3d.conv_input[0].out_channels == 4
    assert detector.backbone_3d.conv3[0][0].out_channels == 19
    assert [block[1].out_channels for block in detector.backbone_2d.blocks] == [38, 76]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("counts", [(0, 0), (50, 0), (0, 50), (50, 0, 50), (1,), (1, 0)])
def test_frames_without_points_and_a_single_voxel(counts, training):
    detector = small().train(training)
    maps = step(detector, *(cloud(count) for count in counts))
    assert len(maps.heatmap) == len(counts)
    assert maps.heatmap.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())
    assert all(value.isfinite().all() for value in detector.state_dict().values())


def test_a_frame_does_not_depend_on_its_neighbours():
    detector = small().eval()
    frames = [cloud(seed=1), cloud(0), cloud(seed=2)]
    with torch.no_grad():
        together = detector(PointBatch.from_points(frames)).heatmap
        alone = [detector(PointBatch.from_points([frame])).heatmap[0] for frame in frames]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_a_point_is_seen_where_it_is():
    detector = small().eval()
    points = torch.tensor([[4.9, -2.1, 1.0, 0.5, 0.0]])
    with torch.no_grad():
        bev = detector.encode(points, torch.tensor([1]), 2)
    frame, row, column = bev.abs().sum(1).nonzero(as_tuple=True)
    assert set(frame.tolist()) == {1}
    cell = detector.grid.to_cells(points[0, :2])
    assert len(row) <= 9
    assert ((column + 0.5 - cell[0]).abs() <= 1.5).all()
    assert ((row + 0.5 - cell[1]).abs() <= 1.5).all()


def test_voxel_means_stay_float32_under_autocast():
    detector = small().eval()
    batch = PointBatch.from_points([cloud()])
    seen = []
    detector.backbone_3d.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        exact = detector(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = detector(batch)
            assert detector.decode(maps)[0].boxes.dtype == torch.float32
    assert maps.heatmap.dtype == torch.bfloat16
    assert seen[1].features.dtype == torch.float32
    assert torch.equal(seen[0].features, seen[1].features)
    torch.testing.assert_close(maps.heatmap.float(), exact.heatmap, rtol=0.1, atol=0.1)


def test_a_training_step_under_autocast():
    detector = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(detector, cloud(), cloud(seed=1))
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": {"backbone_3d": 0.05}}, "backbone_3d: 0.05 x 16 channels leaves 0.*is 0.0625"),
        ({"width": {"backbone_2d": 0.001}}, "0.001 x 128 channels leaves 0.*is 0.0078125"),
        ({"width": {"head": 0.01}}, "width.head: 0.01 x 64 channels leaves 0.*is 0.015625"),
        ({"width": {"encoder": 0.5}}, "no part 'encoder'"),
        ({"depth": (5,)}, "depth: needs 2 layer counts"),
        ({"depth_3d": (2, 2, 2)}, "depth_3d: needs 4 layer counts"),
        ({"depth_3d": (2, 2, -1, 2)}, "depth_3d: needs 4 layer counts of at least 0"),
        ({"voxel_size": (0.1, 0.1)}, "voxel_size: needs 3 numbers"),
        ({"voxel_size": (0.1, 0.0, 0.15)}, "voxel_size: sizes must be positive"),
        (
            {"point_cloud_range": (-6.0, -6.4, -2, 6.0, 6.4, 4)},
            r"120 cells of 0.1 m along x.*multiple of 16.*nearest symmetric range.* is ±6.4 m",
        ),
        (
            {"voxel_size": (0.1, 0.15, 0.15)},
            r"12.8 m along y is not a whole number of 0.15 m cells.*16.*along y is ±6 m",
        ),
        (
            {"voxel_size": (0.1, 0.1, 0.16)},
            r"6 m along z is not a whole number of 0.16 m.*z_max is 4.08 m.*is 0.157895 m",
        ),
        (
            {"voxel_size": (0.1, 0.1, 0.3)},
            r"20 voxels of 0.3 m along z.*need at least 24.*can be 0.25 m high",
        ),
        ({"cell_size": (0.1, 0.1)}, "no argument 'cell_size'.*Did you mean .*voxel_size"),
        ({"point_cloud_range": (-6.4, 6.4, -2, 6.4, -6.4, 4)}, "is empty or endless"),
        ({"point_cloud_range": (-6.4, -6.4, -2, float("inf"), 6.4, 4)}, "is empty or endless"),
        ({"point_cloud_range": (-6.4, -6.4, float("nan"), 6.4, 6.4, 4)}, "is empty or endless"),
        ({"max_voxels": 0}, "max_voxels: must be at least 1"),
        ({"engine": "cuda"}, "engine"),
    ],
)
def test_arguments_that_cannot_work(changes, message):
    with pytest.raises(ConfigError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("changes", "better"),
    [
        ({"point_cloud_range": (-6.0, -6.4, -2, 6.0, 6.4, 4)}, {"point_cloud_range": RANGE}),
        ({"voxel_size": (0.1, 0.1, 0.3)}, {"voxel_size": (0.1, 0.1, 0.25)}),
        ({"voxel_size": (0.1, 0.1, 0.16)}, {"voxel_size": (0.1, 0.1, 0.157895)}),
        (
            {"voxel_size": (0.1, 0.1, 0.16)},
            {"voxel_size": (0.1, 0.1, 0.16), "point_cloud_range": (*RANGE[:5], 4.08)},
        ),
        ({"width": {"backbone_3d": 0.05}}, {"width": {"backbone_3d": 0.0625}}),
    ],
)
def test_the_value_that_is_named_instead_works(changes, better):
    with pytest.raises(ConfigError):
        small(**changes)
    assert small(**better)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no detector 'cp_voxl_xs'.*cp_voxel_xs"):
        create_detector("cp_voxl_xs")
