import math

import pytest
import torch

from kd3d.detectors.decode import center_candidates, decode_centers
from kd3d.detectors.targets import assign_center_targets
from kd3d.geometry.grid import BEVGrid
from kd3d.metrics import WaymoDetectionMetric
from kd3d.structures import HeadMaps

GRID = BEVGrid(x_min=-10.0, y_min=-8.0, cell_x=0.5, cell_y=0.5, width=40, height=32)
LIMIT = (-80.0, -80.0, -10.0, 80.0, 80.0, 10.0)


def perfect_maps(boxes, labels, extra=None):
    """Maps that say exactly where the boxes are."""
    columns = sum((extra or {}).values())
    targets = assign_center_targets(boxes, labels, GRID, 3, extra_columns=columns)
    maps = torch.zeros(len(boxes), 8 + columns, GRID.height * GRID.width)
    for frame, slot in targets.mask.nonzero().tolist():
        maps[frame, :, targets.indices[frame, slot]] = targets.codes[frame, slot]
    maps = maps.unflatten(2, GRID.shape)
    sizes = [2, 1, 3, 2, *(extra or {}).values()]
    center, center_z, dim, rot, *more = torch.split(maps, sizes, dim=1)
    heat = torch.where(targets.heatmap == 1, 5.0, -5.0)
    named = dict(zip(extra or {}, more, strict=True))
    return HeadMaps(heat, center, center_z, dim, rot, GRID, named)


def some_boxes():
    boxes = torch.tensor(
        [
            [[1.3, -2.1, 0.5, 4.0, 2.0, 1.5, 0.3], [6.0, 3.2, 1.0, 0.9, 0.8, 1.7, -2.0]],
            [[-7.2, 5.5, 0.0, 1.8, 0.8, 1.7, 3.1], [0.0] * 7],
        ]
    )
    return boxes, torch.tensor([[0, 1], [2, -1]])


@pytest.mark.parametrize("nms_threshold", [None, 0.7])
def test_targets_decode_to_their_boxes(nms_threshold):
    boxes, labels = some_boxes()
    found = decode_centers(perfect_maps(boxes, labels), LIMIT, nms_threshold=nms_threshold)
    for frame, one in enumerate(found):
        order = one.labels.argsort()
        kept = labels[frame] >= 0
        assert one.labels[order].tolist() == labels[frame][kept].tolist()
        torch.testing.assert_close(one.boxes[order], boxes[frame][kept], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.scores, torch.full_like(one.scores, 1 / (1 + math.exp(-5))))


def test_extra_branches_become_columns():
    boxes, labels = some_boxes()
    boxes = torch.cat((boxes, torch.arange(6.0).view(2, 1, 3).expand(2, 2, 3)), dim=-1)
    maps = perfect_maps(boxes, labels, {"speed": 1, "velocity": 2})
    found = decode_centers(maps, LIMIT)
    assert found[1].boxes[:, 7:].tolist() == [[3, 4, 5]]


def test_low_scores_and_centres_beyond_the_limit_go():
    boxes, labels = some_boxes()
    maps = perfect_maps(boxes, labels)
    assert [len(f) for f in decode_centers(maps, LIMIT, score_threshold=0.999)] == [0, 0]
    at_border = (-80.0, -80.0, -10.0, 80.0, 80.0, 1.0)
    assert [len(f) for f in decode_centers(maps, at_border)] == [2, 1]  # z = 1 is still inside
    below = (-80.0, -80.0, -10.0, 80.0, 80.0, 0.99)
    assert [len(f) for f in decode_centers(maps, below)] == [1, 1]


def test_a_size_that_overflows_is_large_and_what_is_no_number_is_no_box():
    """As networks predict after a few steps: neither the metric nor a training ends with it."""
    boxes, labels = some_boxes()
    maps = perfect_maps(boxes, labels)
    maps.dim[0][maps.dim[0] != 0] = 200.0
    maps.rot[1][maps.rot[1] != 0] = math.nan
    found = decode_centers(maps, LIMIT, nms_threshold=None)
    assert [len(one) for one in found] == [2, 0]
    torch.testing.assert_close(found[0].boxes[:, 3:6], torch.full((2, 3), 1e6))
    metric = WaymoDetectionMetric()
    predicted = {name: getattr(found[0], name) for name in ("boxes", "scores", "labels")}
    metric.update([predicted], [{"boxes": boxes[0], "labels": labels[0]}])
    assert metric.compute()["L2_mAP"] == 0


def test_overlapping_boxes_of_two_classes_are_one():
    boxes = torch.tensor([[[1.3, -2.1, 0.5, 4.0, 2.0, 1.5, 0.3]] * 2])
    maps = perfect_maps(boxes, torch.tensor([[0, 1]]))
    maps.heatmap[0, 1] += 1.0
    assert decode_centers(maps, LIMIT)[0].labels.tolist() == [1]
    assert decode_centers(maps, LIMIT, nms_threshold=None)[0].labels.tolist() == [1, 0]


def test_classes_can_suppress_each_for_itself_with_thresholds_of_their_own():
    twice = [1.3, -2.1, 0.5, 4.0, 2.0, 1.5, 0.3]
    near = [2.3, -2.1, 0.5, 4.0, 2.0, 1.5, 0.3]  # overlaps the first by about 0.6
    boxes = torch.tensor([[twice, near, twice, near]])
    maps = perfect_maps(boxes, torch.tensor([[0, 0, 1, 1]]))

    def count(nms, threshold):
        found = decode_centers(maps, LIMIT, nms=nms, nms_threshold=threshold)[0]
        return [int((found.labels == label).sum()) for label in (0, 1)]

    assert count("per_class", 0.7) == [2, 2]
    assert count("per_class", [0.7, 0.3, 0.7]) == [2, 1]
    assert count("per_class", 0.3) == [1, 1]
    assert sum(count("class_agnostic", 0.7)) == 2
    assert sum(count("circle", 0.5)) == 2
    assert sum(count("circle", 1.5)) == 1


def test_at_most_500_in_falling_order():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, *GRID.shape, generator=generator)
    maps = perfect_maps(torch.zeros(1, 0, 7), torch.zeros(1, 0, dtype=torch.int64))
    maps.heatmap.copy_(logits)
    found = decode_centers(maps, LIMIT, nms_threshold=None)[0]
    assert len(found) == 500
    expected = logits.sigmoid().flatten().sort(descending=True).values[:500]
    torch.testing.assert_close(found.scores, expected)


def test_a_map_smaller_than_the_number_of_candidates():
    grid = BEVGrid(0.0, 0.0, 1.0, 1.0, 2, 2)
    maps = HeadMaps(*(torch.ones(1, channels, 2, 2) for channels in (1, 2, 1, 3, 2)), grid)
    assert len(decode_centers(maps, LIMIT, nms_threshold=None)[0]) == 4


def test_half_precision_maps_decode_in_float32():
    boxes, labels = some_boxes()
    maps = perfect_maps(boxes, labels)
    rounded = maps._map(torch.Tensor.bfloat16)
    found = decode_centers(rounded, LIMIT)
    assert found[1].boxes.dtype == torch.float32
    # A coordinate itself would be off by up to 3 cm in bfloat16; an offset within a cell is not.
    torch.testing.assert_close(found[1].boxes[0, :2], boxes[1, 0, :2], rtol=0, atol=2e-3)


def test_candidates_are_the_decoded_boxes_and_empty_slots():
    torch.manual_seed(0)
    maps = HeadMaps(
        heatmap=torch.randn(2, 3, 12, 10) * 3,
        center=torch.rand(2, 2, 12, 10),
        center_z=torch.randn(2, 1, 12, 10) * 3,
        dim=torch.randn(2, 3, 12, 10),
        rot=torch.randn(2, 2, 12, 10),
        grid=BEVGrid(-6.0, -5.0, 1.0, 1.0, 10, 12),
    )
    limit = (-4.0, -4.0, -3.0, 4.0, 4.0, 3.0)
    decoded = decode_centers(maps, limit, nms_threshold=None)
    for all_slots, kept in zip(center_candidates(maps, limit), decoded, strict=True):
        assert len(all_slots.boxes) == 360
        counts = all_slots.labels >= 0
        assert 0 < counts.sum() < 360
        assert torch.equal(all_slots.boxes[counts], kept.boxes)
        assert torch.equal(all_slots.scores[counts], kept.scores)
        assert torch.equal(all_slots.labels[counts], kept.labels)
