import pytest
import torch

from kd3d.detectors import CenterPointPillar, Detector, create_detector
from kd3d.errors import ConfigError, InputError
from kd3d.structures import PointBatch

RANGE = (-10.24, -10.24, -2.0, 10.24, 10.24, 4.0)
NARROW = {"encoder": 0.25, "backbone_2d": 0.125, "head": 0.25}


def small(name="cp_pillar_v064", **changes):
    torch.manual_seed(0)
    return create_detector(name, **{"point_cloud_range": RANGE, "width": NARROW, **changes})


def cloud(count=400, features=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, features, generator=generator) * 20 - 10
    points[:, 2] = points[:, 2] / 5 + 1
    return points


def labelled(points, columns=7):
    boxes = torch.ones(2, columns)
    boxes[:, :7] = torch.tensor([[1.0, 2, 1, 4, 2, 1.5, 0.3], [-4, 3, 1, 1, 1, 1.7, 0]])
    labels = torch.tensor([0, 1])
    return PointBatch.from_points(
        points, boxes=[boxes] * len(points), labels=[labels] * len(points)
    )


def test_names_and_sizes_of_the_paper():
    grids = {"cp_pillar": 464, "cp_pillar_v040": 368, "cp_pillar_v048": 312, "cp_pillar_v064": 232}
    for name, cells in grids.items():
        detector = create_detector(name)
        assert sum(p.numel() for p in detector.parameters()) == 5_224_043
        assert detector.grid.shape == (cells, cells)
        assert detector.classes == ("Vehicle", "Pedestrian", "Cyclist")


def test_norms_and_first_weights():
    detector = create_detector("cp_pillar_v064")
    for name, module in detector.named_modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            head = name.startswith("dense_head")
            assert (module.eps, module.momentum) == ((1e-5, 0.1) if head else (1e-3, 0.01)), name
    assert torch.equal(detector.dense_head.branches["heatmap"][1].bias, torch.full((3,), -2.19))
    for name in ("center", "center_z", "dim", "rot"):
        first, last = (
            detector.dense_head.branches[name][0][0],
            detector.dense_head.branches[name][1],
        )
        assert first.bias.abs().sum() == last.bias.abs().sum() == 0
        assert first.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["cp_pillar", "cp_pillar_v064"])
def test_a_training_step(name):
    detector = small(name)
    batch = labelled([cloud(), cloud(seed=1)])
    maps = detector(batch)
    terms = detector.loss(maps, detector.assign_targets(batch.boxes, batch.labels))
    terms["loss"].backward()
    assert maps.heatmap.shape == (2, 3, *detector.grid.shape)
    assert terms["loss"].item() == pytest.approx((terms["heatmap"] + terms["box"]).item())
    assert all(parameter.grad is not None for parameter in detector.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())


def test_one_frame_can_be_learnt():
    detector = small()
    batch = labelled([cloud()])
    targets = detector.assign_targets(batch.boxes, batch.labels)
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        terms = detector.loss(detector(batch), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    assert losses[-1] < 0.2 * losses[0]


def test_other_classes_features_branches_and_depth():
    detector = small(
        classes=("car",),
        point_features=3,
        extra_branches={"velocity": 2},
        depth=(0, 1, 2),
        cell_size=(0.32, 0.64),
    )
    assert detector.grid.shape == (32, 64)
    batch = labelled([cloud(features=3)], columns=9)
    maps = detector(batch)
    targets = detector.assign_targets(batch.boxes, batch.labels.clamp(max=0))
    detector.loss(maps, targets)["loss"].backward()
    assert maps.heatmap.shape == (1, 1, 32, 64)
    assert maps.extra["velocity"].shape == (1, 2, 32, 64)
    assert detector.predict(batch.points).boxes.shape[1] == 9
    assert [len(block) for block in detector.backbone_2d.blocks] == [4, 7, 10]


def test_more_features_than_read_are_ignored():
    detector = small(point_features=4).eval()
    points = cloud()
    with torch.no_grad():
        wide, narrow = (detector(PointBatch.from_points([p])) for p in (points, points[:, :4]))
    assert torch.equal(wide.heatmap, narrow.heatmap)
    with pytest.raises(InputError, match=r"3 features per point; cp_pillar_v064 reads 4"):
        detector.predict(points[:, :3])


def test_intensity_is_squashed_inside_and_the_batch_left_alone():
    squashed, as_is = small().eval(), small(intensity="as_is").eval()
    points = cloud()
    points[:, 3] = points[:, 3].abs() * 10
    batch = PointBatch.from_points([points])
    before = batch.points.clone()
    done = points.clone()
    done[:, 3] = done[:, 3].tanh()
    with torch.no_grad():
        assert torch.equal(squashed(batch).heatmap, as_is(PointBatch.from_points([done])).heatmap)
    assert torch.equal(batch.points, before)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("counts", [(0, 0), (50, 0), (0, 50), (50, 0, 50), (1,), (1, 0)])
def test_frames_without_points_and_a_single_pillar(counts, training):
    detector = small().train(training)
    batch = labelled([cloud(count) for count in counts])
    maps = detector(batch)
    detector.loss(maps, detector.assign_targets(batch.boxes, batch.labels))["loss"].backward()
    assert len(maps.heatmap) == len(counts)
    assert maps.heatmap.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())


def test_a_frame_does_not_depend_on_its_neighbours():
    detector = small().eval()
    frames = [cloud(seed=1), cloud(0), cloud(seed=2)]
    with torch.no_grad():
        together = detector(PointBatch.from_points(frames)).heatmap
        alone = [detector(PointBatch.from_points([frame])).heatmap[0] for frame in frames]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_a_frame_without_boxes_has_a_loss():
    detector = small()
    batch = PointBatch.from_points([cloud()])
    targets = detector.assign_targets(batch.boxes, batch.labels)
    terms = detector.loss(detector(batch), targets)
    terms["loss"].backward()
    assert terms["box"].item() == 0
    assert terms["heatmap"].item() > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_points_that_are_no_numbers_are_named(value):
    frames = [cloud(), cloud(seed=1)]
    frames[1][7, 1] = frames[1][9, 4] = value
    batch = PointBatch.from_points(frames, frame_ids=["day/10", "night/20"])
    with pytest.raises(InputError, match="frame night/20: 2 points are NaN or infinite"):
        small()(batch)


def test_predict_keeps_the_mode_of_every_module():
    detector = small()
    detector.backbone_2d.eval()
    before = {name: module.training for name, module in detector.named_modules()}
    found = detector.predict([cloud(), cloud(0)])
    assert {name: module.training for name, module in detector.named_modules()} == before
    assert len(found) == 2
    alone = detector.predict(cloud())
    torch.testing.assert_close(alone.scores, found[0].scores)
    assert not alone.boxes.requires_grad


def test_predict_equals_eval_and_decode():
    detector = small().eval()
    with torch.no_grad():
        expected = detector.decode(detector(PointBatch.from_points([cloud()])))[0]
    found = detector.predict(cloud())
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.labels, expected.labels)
    assert len(detector.decode(detector(PointBatch.from_points([cloud()])), nms=False)[0]) >= len(
        found
    )


def test_coordinates_stay_float32_under_autocast():
    detector = small().eval()
    batch = PointBatch.from_points([cloud()])
    seen = []
    detector.backbone_2d.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        maps = detector(batch)
        assert detector.decode(maps)[0].boxes.dtype == torch.float32
    detector(batch)
    assert maps.center.dtype == torch.bfloat16
    assert seen[0].dtype == torch.float32
    assert torch.equal(*seen)


def test_width_truncates_as_the_field_does():
    detector = small(width={"backbone_2d": 0.4})
    assert [block[1].out_channels for block in detector.backbone_2d.blocks] == [25, 51, 102]
    assert detector.dense_head.shared_conv[0].in_channels == 3 * 51
    assert detector.dense_head.shared_conv[0].out_channels == 64


def test_spec_rebuilds_the_detector():
    detector = small(classes=["a", "b"], extra_branches={"speed": 1}, depth=[1, 1, 1])
    spec = detector.spec()
    again = create_detector(spec["name"], **spec["arguments"])
    assert again.spec() == spec
    spec["arguments"]["width"]["head"] = 9.0
    assert again.spec() != spec
    assert again.load_state_dict(detector.state_dict())
    assert isinstance(again, CenterPointPillar)
    assert isinstance(again, Detector)


def test_spec_of_the_limit_of_centres():
    assert small().center_limit == (-80, -80, -10, 80, 80, 10)
    wide = create_detector("cp_pillar_v064", point_cloud_range=(-102.4, -51.2, -2, 102.4, 51.2, 4))
    assert wide.center_limit == (-102.4, -80, -10, 102.4, 80, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": {"head": 0.001}}, "width.head: 0.001 x 64 channels leaves 0.*is 0.015625"),
        ({"width": {"encoder": 0.02}}, "width.encoder: 0.02 x 64 channels leaves 1"),
        ({"width": {"backbone": 0.5}}, "no part 'backbone'.*Try backbone_2d"),
        ({"width": {"head": -1.0}}, "width.head: must be positive"),
        ({"depth": (3, 5)}, "depth: needs 3 layer counts"),
        ({"depth": (3, 5, -1)}, "depth: needs 3 layer counts of at least 0"),
        ({"classes": ()}, "classes: needs distinct names"),
        ({"classes": ("a", "a")}, "classes: needs distinct names"),
        ({"point_features": 2}, "point_features: must be at least 3"),
        ({"intensity": "log"}, "intensity: must be 'tanh' or 'as_is', not 'log'"),
        ({"extra_branches": {"dim": 3}}, "the branch 'dim' is always there"),
        ({"extra_branches": {"velocity": 0}}, "extra_branches.velocity: needs at least 1 channel"),
        ({"point_cloud_range": (-10, -10, 10, 10)}, "point_cloud_range: needs 6 numbers"),
        ({"point_cloud_range": (10, -10, -2, -10, 10, 4)}, "is empty"),
        ({"point_cloud_range": (-10, -10.24, -2, 10, 10.24, 4)}, "whole number of 0.64 m cells"),
        (
            {"point_cloud_range": (-10.88, -10.24, -2, 10.88, 10.24, 4)},
            r"34 cells of 0.64 m along x.*multiple of 4.*±10.24 m",
        ),
        ({"max_points": 0}, "max_points: must be at least 1"),
        ({"voxel_size": (1, 1)}, "no argument 'voxel_size'.*Did you mean .*cell_size"),
    ],
)
def test_arguments_that_cannot_work(changes, message):
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no detector 'cp_pilar_v64'.*cp_pillar_v064"):
        create_detector("cp_pilar_v64")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nms": "soft"}, "nms: 'soft' is not one of"),
        ({"nms_threshold": [0.7, 0.5]}, "nms_threshold: 2 thresholds for 3 classes"),
        ({"nms": "per_class", "nms_threshold": [0.7, 0.5]}, "2 thresholds for 3 classes"),
        ({"nms_threshold": -0.1}, "must not be negative"),
    ],
)
def test_suppressions_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        create_detector("cp_pillar_v064", **changes)


def test_thresholds_per_class_travel_with_the_detector():
    made = create_detector("cp_pillar_v064", nms="per_class", nms_threshold=[0.7, 0.5, 0.6])
    again = create_detector(made.spec()["name"], **made.spec()["arguments"])
    assert (again.nms, again.nms_threshold) == ("per_class", (0.7, 0.5, 0.6))
