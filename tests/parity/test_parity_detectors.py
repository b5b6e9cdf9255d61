"""Voxels, head maps, boxes and losses against the reference implementation."""

import numpy as np
import pytest
import torch
from reference import load, reference_weights

from kd3d.cli.convert import main as convert
from kd3d.detectors import Detector, create_detector
from kd3d.detectors.losses import center_box_loss, center_focal_loss
from kd3d.detectors.targets import assign_center_targets
from kd3d.detectors.voxelize import Voxelizer
from kd3d.geometry.grid import BEVGrid
from kd3d.interop import export_openpcdet, import_openpcdet
from kd3d.structures import HeadMaps, PointBatch

BRANCHES = {
    "heatmap": "hm", "center": "center", "center_z": "center_z", "dim": "dim", "rot": "rot",
}  # fmt: skip


@pytest.mark.parametrize("case", range(4))
def test_voxels(shared_data, case):
    settings, arrays = load(shared_data, "voxelization")
    limits = settings["cases"][case]
    voxelizer = Voxelizer(
        tuple(limits["point_cloud_range"]),
        tuple(limits["voxel_size"]),
        limits["max_points_per_voxel"],
        limits["max_voxels"],
    )
    points = arrays[f"c{case}_points"]
    voxels = voxelizer(points, torch.zeros(len(points), dtype=torch.int64), 1)
    assert torch.equal(voxels.coords[:, 1:].int(), arrays[f"c{case}_coords"])
    assert torch.equal(voxels.counts.int(), arrays[f"c{case}_num_points"])
    stored = arrays[f"c{case}_voxels"]
    used = torch.arange(stored.shape[1]) < voxels.counts[:, None]
    assert torch.equal(voxels.points, stored[used])


MODELS = {"CP-Pillar-v0.48": "cp_pillar_v048", "CP-Voxel-S": "cp_voxel_s"}


def as_in_spconv1(weights):
    return {
        key: tensor.permute(1, 2, 3, 4, 0).contiguous() if tensor.ndim == 5 else tensor
        for key, tensor in weights.items()
    }


@pytest.fixture(scope="module", params=MODELS)
def model_case(request, shared_data):
    settings, arrays = load(shared_data, f"model_{request.param}")
    detector = create_detector(
        MODELS[request.param],
        point_cloud_range=settings["point_cloud_range"],
        center_limit=settings["post_processing"]["POST_CENTER_LIMIT_RANGE"],
        intensity="as_is",
    )
    weights = reference_weights(shared_data, request.param)
    assert import_openpcdet(weights, detector).complete
    batch = PointBatch.from_points([arrays["points_0"]])
    with torch.no_grad():
        maps = detector.eval()(batch)
    return arrays, detector, batch, maps, weights


def test_voxels_of_the_model(model_case):
    arrays, detector, batch, *_ = model_case
    voxels = detector.voxelizer(batch.points, batch.batch_index, 1)
    assert torch.equal(voxels.coords.short(), arrays["voxel_coords"])
    assert torch.equal(voxels.counts.short(), arrays["voxel_num_points"])
    total = torch.zeros(len(voxels), 5).index_add(0, voxels.owner, voxels.points)
    torch.testing.assert_close(total, arrays["voxel_point_sum"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("branch", BRANCHES)
def test_head_maps(model_case, branch):
    arrays, _, _, maps, _ = model_case
    expected = arrays[f"head0_{BRANCHES[branch]}"]
    found = getattr(maps, branch)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("layout", ["spconv2", "spconv1"])
def test_head_maps_of_a_converted_file(model_case, layout, tmp_path, monkeypatch):
    arrays, detector, batch, maps, weights = model_case
    given = weights if layout == "spconv2" else as_in_spconv1(weights)
    content = {"epoch": 30, "it": np.int64(7), "model_state": given, "version": "pcdet+0.5.2"}
    torch.save(content, tmp_path / "x.pth")
    words = ["source=openpcdet", f"in={tmp_path}/x.pth", f"out={tmp_path}/y.ckpt"]
    words += [f"detector={detector.name}", "detector.intensity=as_is"]
    monkeypatch.setattr("sys.argv", ["kd3d-convert", *words])
    convert()
    again = Detector.from_checkpoint(
        tmp_path / "y.ckpt", point_cloud_range=detector.point_cloud_range
    )
    with torch.no_grad():
        found = again(batch)
    for branch, theirs in BRANCHES.items():
        expected = arrays[f"head0_{theirs}"]
        error = (getattr(found, branch) - expected).abs().max()
        assert error <= 1e-4 * expected.abs().max(), branch
        assert torch.equal(getattr(found, branch), getattr(maps, branch)), branch


def test_exported_weights_are_the_reference_s(model_case):
    _, detector, _, _, weights = model_case
    exported = export_openpcdet(detector)
    assert list(exported) == list(weights)
    assert all(torch.equal(exported[key], weights[key]) for key in weights)


@pytest.mark.parametrize(("nms", "name"), [(False, "decoded0"), (True, "final0")])
def test_decoded_boxes(model_case, nms, name):
    arrays, detector, _, maps, _ = model_case
    # From the reference's own maps, so that candidates of nearly equal score stay in order.
    given = {key: arrays[f"head0_{theirs}"] for key, theirs in BRANCHES.items()}
    exact = detector.decode(HeadMaps(**given, grid=maps.grid), nms=nms)[0]
    assert torch.equal(exact.labels + 1, arrays[f"{name}_labels"])
    torch.testing.assert_close(exact.scores, arrays[f"{name}_scores"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(exact.boxes, arrays[f"{name}_boxes"], rtol=1e-5, atol=1e-4)
    ours = detector.decode(maps, nms=nms)[0]
    assert len(ours) == pytest.approx(len(exact), abs=1)
    torch.testing.assert_close(ours.scores[:400], exact.scores[:400], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def loss_case(shared_data):
    settings, arrays = load(shared_data, "losses")
    grid = BEVGrid(-7.68, -7.68, 0.32, 0.32, width=48, height=48)
    maps = HeadMaps(
        **{key: arrays[f"in_{name}"].requires_grad_() for key, name in BRANCHES.items()}, grid=grid
    )
    boxes = arrays["gt_boxes"]
    targets = assign_center_targets(boxes[..., :7], boxes[..., 7].long() - 1, grid, 3)
    return settings["expected"], arrays, maps, targets


def test_targets(loss_case):
    _, arrays, _, targets = loss_case
    slots = targets.mask.shape[1]
    assert arrays["masks"][:, slots:].sum() == 0
    assert torch.equal(targets.mask, arrays["masks"][:, :slots].bool())
    assert torch.equal(targets.indices, arrays["inds"][:, :slots].long())
    torch.testing.assert_close(targets.heatmap, arrays["heatmap"], rtol=1e-6, atol=0)
    torch.testing.assert_close(targets.codes, arrays["target_boxes"][:, :slots])


def test_losses_and_gradients(loss_case):
    expected, arrays, maps, targets = loss_case
    heatmap = center_focal_loss(maps.heatmap, targets.heatmap)
    box = 2 * center_box_loss(maps, targets)
    assert heatmap.item() == pytest.approx(expected["head_loss"]["hm_loss_head_0"], rel=1e-5)
    assert box.item() == pytest.approx(expected["head_loss"]["loc_loss_head_0"], rel=1e-5)
    names = list(BRANCHES)
    gradients = torch.autograd.grad(heatmap + box, [getattr(maps, name) for name in names])
    for name, gradient in zip(names, gradients, strict=True):
        theirs = arrays[f"grad_{BRANCHES[name]}"]
        assert (gradient - theirs).abs().max() <= 1e-5 * theirs.abs().max(), name


def test_focal_loss_without_positives(loss_case):
    expected, arrays, maps, _ = loss_case
    found = center_focal_loss(maps.heatmap, 0.95 * arrays["heatmap"]).item()
    assert found == pytest.approx(expected["focal_no_positive"], rel=1e-5)
