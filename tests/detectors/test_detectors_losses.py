import math
from dataclasses import replace

import pytest
import torch

from kd3d.detectors.losses import center_box_loss, center_focal_loss
from kd3d.geometry.grid import BEVGrid
from kd3d.structures import CenterTargets, HeadMaps

GRID = BEVGrid(0.0, 0.0, 1.0, 1.0, width=4, height=3)


def make_maps(seed=0, frames=2):
    generator = torch.Generator().manual_seed(seed)

    def draw(channels):
        return torch.randn(frames, channels, 3, 4, generator=generator).requires_grad_()

    return HeadMaps(draw(2), draw(2), draw(1), draw(3), draw(2), GRID)


def make_targets(indices, weight, mask):
    codes = torch.randn(*torch.tensor(indices).shape, 8, generator=torch.Generator().manual_seed(3))
    return CenterTargets(
        heatmap=torch.zeros(2, 2, 3, 4),
        indices=torch.tensor(indices),
        mask=torch.tensor(mask),
        codes=codes,
        weight=torch.tensor(weight),
        labels=torch.zeros(torch.tensor(indices).shape, dtype=torch.int64),
        grid=GRID,
    )


def test_focal_loss_by_hand():
    logits = torch.tensor([0.0, 2.0, -1.0]).view(1, 1, 1, 3)
    target = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 1, 3)
    p = [1 / (1 + math.exp(-x)) for x in (0.0, 2.0, -1.0)]
    positive = -math.log(p[0]) * (1 - p[0]) ** 2
    negative = -math.log(1 - p[1]) * p[1] ** 2 * 0.5**4 - math.log(1 - p[2]) * p[2] ** 2
    assert center_focal_loss(logits, target).item() == pytest.approx(positive + negative, rel=1e-5)
    twice = center_focal_loss(logits.repeat(2, 1, 1, 1), target.repeat(2, 1, 1, 1))
    assert twice.item() == pytest.approx(positive + negative, rel=1e-5)


def test_focal_loss_without_positives_is_not_divided():
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    loss = center_focal_loss(logits, torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert loss.item() == pytest.approx(4 * math.log(2) / 4, rel=1e-5)
    assert logits.grad.isfinite().all()


def test_focal_loss_of_saturated_logits_is_finite():
    logits = torch.tensor([100.0, -100.0]).view(1, 1, 1, 2).requires_grad_()
    loss = center_focal_loss(logits, torch.tensor([0.0, 1.0]).view(1, 1, 1, 2))
    loss.backward()
    assert loss.item() == pytest.approx(-2 * math.log(1e-4) * 0.9999**2, rel=1e-3)
    assert logits.grad.tolist() == [[[[0, 0]]]]


def test_box_loss_is_the_mean_distance_of_the_objects():
    maps = make_maps()
    targets = make_targets(
        [[5, 5], [0, 11]], [[1.0, 0.5], [1.0, 1.0]], [[True, True], [True, False]]
    )
    expected = 0.0
    for frame, slot, weight in ((0, 0, 1.0), (0, 1, 0.5), (1, 0, 1.0)):
        cell = int(targets.indices[frame, slot])
        code = torch.cat(
            [
                branch[frame, :, cell // 4, cell % 4]
                for branch in (maps.center, maps.center_z, maps.dim, maps.rot)
            ]
        )
        expected += weight * (code - targets.codes[frame, slot]).abs().sum().item()
    assert center_box_loss(maps, targets).item() == pytest.approx(expected / 3, rel=1e-5)


def test_a_box_without_weight_changes_nothing():
    maps = make_maps()
    one = make_targets([[5], [0]], [[1.0], [1.0]], [[True], [True]])
    more = make_targets([[5, 3], [0, 3]], [[1.0, 0.0], [1.0, 0.0]], [[True, True], [True, True]])
    more = replace(more, codes=torch.cat((one.codes, more.codes[:, 1:]), dim=1))
    assert center_box_loss(maps, one).item() == center_box_loss(maps, more).item()


@pytest.mark.parametrize("slots", [0, 2])
def test_no_objects_give_zero_and_zero_gradients(slots):
    maps = make_maps()
    targets = make_targets([[0] * slots] * 2, [[0.0] * slots] * 2, [[False] * slots] * 2)
    targets = replace(targets, indices=targets.indices.long(), mask=targets.mask.bool())
    loss = center_box_loss(maps, targets)
    loss.backward()
    assert loss.item() == 0
    assert maps.dim.grad.abs().sum() == 0


def test_extra_branches_are_read_after_the_box():
    maps = make_maps()
    targets = make_targets([[5], [0]], [[1.0], [1.0]], [[True], [True]])
    before = center_box_loss(maps, targets)
    extra = torch.full((2, 1, 3, 4), 2.0)
    wider = replace(targets, codes=torch.cat((targets.codes, torch.zeros(2, 1, 1)), dim=-1))
    after = center_box_loss(replace(maps, extra={"speed": extra}), wider)
    assert (after - before).item() == pytest.approx(2.0, rel=1e-5)


def test_float32_under_autocast():
    maps = make_maps()
    targets = make_targets([[5], [0]], [[1.0], [1.0]], [[True], [True]])
    box, heat = center_box_loss(maps, targets), center_focal_loss(maps.heatmap, targets.heatmap)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(center_box_loss(maps, targets), box)
        assert torch.equal(center_focal_loss(maps.heatmap, targets.heatmap), heat)
        assert center_focal_loss(maps.heatmap.bfloat16(), targets.heatmap).dtype == torch.float32
