"""Anchors, their assignment and losses, and the detectors that have them."""

import math

import pytest
import torch
from anchor_oracle import assign, focal, residuals, smooth_l1
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.detectors import PointPillar, create_detector, load_detector, save_detector
from kd3d.detectors.anchor_losses import (
    anchor_box_loss,
    anchor_class_loss,
    anchor_direction_loss,
)
from kd3d.detectors.anchor_targets import assign_anchor_targets
from kd3d.detectors.anchors import (
    HEADINGS,
    KITTI_ANCHORS,
    WAYMO_ANCHORS,
    lay_anchors,
    plain_anchors,
)
from kd3d.errors import ConfigError, InputError
from kd3d.geometry import BEVGrid
from kd3d.geometry.residuals import decode_boxes, encode_boxes
from kd3d.structures import AnchorMaps, AnchorTargets, PointBatch

NAMES = ("Vehicle", "Pedestrian", "Cyclist")
CLASSES = plain_anchors(WAYMO_ANCHORS, NAMES)
GRID = BEVGrid(-6.4, -4.8, 0.8, 0.8, 16, 12)
KINDS = [kind for kind in range(3) for _ in HEADINGS]


def all_anchors():
    return lay_anchors(CLASSES, GRID).flatten(0, 2)


def random_boxes(seed, count=6, frames=2):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    labels = torch.randint(-1, 3, (frames, count), generator=generator)
    sizes = torch.tensor([one.size for one in CLASSES])[labels.clamp(min=0)]
    place = (draw(frames, count, 2) - 0.5) * torch.tensor([12.0, 9.0])
    height = draw(frames, count, 1) + 0.5
    turn = (draw(frames, count, 1) - 0.5) * 2 * math.pi
    sizes = sizes * (0.7 + 0.6 * draw(frames, count, 3))
    return torch.cat((place, height, sizes, turn), dim=-1), labels


def random_maps(seed, frames=2):
    generator = torch.Generator().manual_seed(seed)
    count = len(KINDS)
    return AnchorMaps(
        *(
            torch.randn(frames, count * width, *GRID.shape, generator=generator)
            for width in (len(NAMES), 7, 2)
        ),
        grid=GRID,
        anchors=count,
    )


def test_anchors_span_the_range():
    anchors = lay_anchors(CLASSES, GRID)
    assert anchors.shape == (12, 16, 6, 7)
    assert anchors[0, 0, 0].tolist() == pytest.approx([-6.4, -4.8, 0.85, 4.7, 2.1, 1.7, 0.0])
    assert anchors[-1, -1, 5].tolist() == pytest.approx([6.4, 4.8, 0.89, 1.78, 0.84, 1.78, 1.57])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_assignment_equals_the_slow_one(seed):
    boxes, labels = random_boxes(seed)
    targets = assign_anchor_targets(boxes, labels, CLASSES, GRID)
    anchors = all_anchors().tolist()
    kinds = KINDS * (GRID.width * GRID.height)
    for frame in range(len(boxes)):
        states, owners = assign(
            anchors, kinds, boxes[frame].tolist(), labels[frame].tolist(), CLASSES
        )
        found = targets.labels[frame].tolist()
        assert sum(one != other for one, other in zip(found, states, strict=True)) == 0
        for place in targets.positive[frame].nonzero()[:, 0].tolist():
            assert torch.equal(targets.boxes[frame, place], boxes[frame, owners[place]])


def test_many_boxes_are_assigned_as_few():
    """Boxes are compared with the anchors some at a time; the result must not show it."""
    boxes, labels = random_boxes(3, count=40, frames=1)
    whole = assign_anchor_targets(boxes, labels, CLASSES, GRID)
    padded = torch.cat((torch.zeros(1, 50, 7), boxes), dim=1)
    later = torch.cat((torch.full((1, 50), -1), labels), dim=1)
    again = assign_anchor_targets(padded, later, CLASSES, GRID)
    assert torch.equal(whole.labels, again.labels)
    assert torch.equal(whole.boxes[whole.positive], again.boxes[again.positive])


def test_every_box_in_reach_has_an_anchor():
    boxes, labels = random_boxes(5, count=8, frames=4)
    targets = assign_anchor_targets(boxes, labels, CLASSES, GRID)
    for frame in range(4):
        owned = targets.boxes[frame][targets.positive[frame]]
        for box, label in zip(boxes[frame], labels[frame], strict=True):
            alone = assign_anchor_targets(box[None, None], label[None, None], CLASSES, GRID)
            assert alone.positive.any() == (label >= 0)
        assert len(owned)


def test_weights_follow_the_box():
    boxes, labels = random_boxes(1, count=2, frames=1)
    labels[:] = torch.tensor([0, 1])
    targets = assign_anchor_targets(
        boxes, labels, CLASSES, GRID,
        heat_weight=torch.tensor([[0.5, 0.0]]), box_weight=torch.tensor([[0.0, 2.0]]),
    )  # fmt: skip
    positive = targets.positive
    assert (targets.labels[positive] == 0).all()
    assert set(targets.score[positive].tolist()) == {0.5}
    assert (targets.labels == AnchorTargets.IGNORED).any()  # the second box's anchors
    assert set(targets.weight.unique().tolist()) <= {0.0, 2.0}


def test_no_box_makes_background():
    targets = assign_anchor_targets(torch.zeros(1, 0, 7), torch.zeros(1, 0).long(), CLASSES, GRID)
    assert (targets.labels == AnchorTargets.BACKGROUND).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_boxes_come_back_from_residuals(seed):
    boxes, _ = random_boxes(seed)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(all_anchors()), boxes.shape[:2], generator=generator)
    anchors = all_anchors()[chosen]
    turn = boxes[..., 6] - math.pi / 4
    halves = ((turn - (turn / (2 * math.pi)).floor() * 2 * math.pi) / math.pi).long()
    again = decode_boxes(encode_boxes(boxes, anchors), anchors, halves)
    torch.testing.assert_close(again[..., :6], boxes[..., :6], rtol=1e-4, atol=1e-4)
    apart = again[..., 6] - boxes[..., 6]
    torch.testing.assert_close(apart.cos(), torch.ones_like(apart), rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_equal_the_slow_ones(seed):
    boxes, labels = random_boxes(seed)
    maps, anchors = random_maps(seed), all_anchors()
    targets = assign_anchor_targets(boxes, labels, CLASSES, GRID)
    scores, given_boxes, directions = maps.scores, maps.residuals, maps.directions
    total = {"class": 0.0, "box": 0.0, "direction": 0.0}
    for frame in range(2):
        states = targets.labels[frame].tolist()
        positives = max(sum(state >= 0 for state in states), 1)
        for place, state in enumerate(states):
            if state == AnchorTargets.IGNORED:
                continue
            logits = scores[frame, place].tolist()
            total["class"] += (
                sum(focal(logit, number == state) for number, logit in enumerate(logits))
                / positives
            )
            if state < 0:
                continue
            box, anchor = targets.boxes[frame, place].tolist(), anchors[place].tolist()
            given, asked = given_boxes[frame, place].tolist(), residuals(box, anchor)
            apart = [one - other for one, other in zip(given[:6], asked[:6], strict=True)]
            apart.append(math.sin(given[6] - asked[6]))
            total["box"] += sum(map(smooth_l1, apart)) / positives
            half = int(((box[6] - math.pi / 4) % (2 * math.pi)) // math.pi)
            both = directions[frame, place].tolist()
            total["direction"] += (math.log(sum(map(math.exp, both))) - both[half]) / positives
    found = {
        "class": anchor_class_loss(maps, targets),
        "box": anchor_box_loss(maps, targets, anchors),
        "direction": anchor_direction_loss(maps, targets),
    }
    for name, value in found.items():
        assert value.item() == pytest.approx(total[name] / 2, rel=1e-4), name


def test_heatmap_holds_the_best_anchor_of_each_class():
    maps = random_maps(0)
    by_hand = maps.scores.view(2, *GRID.shape, len(KINDS), 3).amax(dim=3).permute(0, 3, 1, 2)
    assert torch.equal(maps.heatmap, by_hand)


BOUNDS = (-6.4, -6.4, -2.0, 6.4, 6.4, 4.0)
SMALL = {
    "second": {"backbone_3d": 0.25, "backbone_2d": 0.25},
    "pointpillar": {"encoder": 0.25, "backbone_2d": 0.25},
}


@pytest.fixture(scope="module", params=SMALL)
def small(request):
    torch.manual_seed(0)
    return create_detector(
        request.param,
        point_cloud_range=BOUNDS,
        width=SMALL[request.param],
        norm_momentum=0.1,
    )


def one_car():
    generator = torch.Generator().manual_seed(0)
    box = torch.tensor([[1.2, -0.6, 0.9, 4.6, 2.0, 1.8, 0.3]])
    points = torch.rand(400, 5, generator=generator) - 0.5
    points[:, :3] *= torch.tensor([4.6, 2.0, 1.8])
    points[:, :3] += box[0, :3]
    ground = torch.rand(400, 5, generator=generator) * torch.tensor([12, 12, 0.1, 1, 1])
    ground[:, :2] -= 6
    return PointBatch.from_points(
        [torch.cat((points, ground))], boxes=[box], labels=[torch.tensor([0])]
    )


def test_detector_learns_one_scene(small):
    batch = one_car()
    small.train()
    optimizer = torch.optim.Adam(small.parameters(), lr=3e-3)
    targets = small.assign_targets(batch.boxes, batch.labels)
    for _ in range(60):
        losses = small.loss(small(batch), targets)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["loss"].item() == pytest.approx(
        sum(losses[key].item() for key in losses if key != "loss")
    )
    found = small.decode(small(batch).detach())[0]
    assert len(found) > 0
    assert found.labels[0] == 0
    assert (found.boxes[0, :6] - batch.boxes[0, 0, :6]).abs().max() < 0.5
    candidates = small.candidates(small(batch).detach())[0]
    assert torch.equal(candidates.scores[candidates.labels >= 0][:1], found.scores[:1])


def test_a_size_that_overflows_is_large_and_what_is_no_number_is_no_box(small):
    with torch.no_grad():
        maps = small(one_car())
    maps.score.fill_(5.0)
    maps.residuals.zero_()[..., 3:6] = 200.0
    (found,) = small.decode(maps)
    assert len(found) > 0
    assert found.boxes.isfinite().all()
    assert (found.boxes[:, 3:6] > 1e5).all()
    maps.residuals[..., 6] = math.nan
    assert [len(one) for one in small.decode(maps)] == [0]


def test_detector_is_rebuilt_from_its_file(small, tmp_path):
    save_detector(small, tmp_path / "x.ckpt")
    again = load_detector(tmp_path / "x.ckpt")
    batch = one_car()
    small.eval()
    with torch.no_grad():
        assert torch.equal(again(batch).score, small(batch).score)
    assert again.spec() == small.spec()


def test_kitti_network():
    detector = create_detector(
        "second",
        classes=list(KITTI_ANCHORS),
        anchors=KITTI_ANCHORS,
        point_cloud_range=(0.0, -40.0, -3.0, 70.4, 40.0, 1.0),
        voxel_size=(0.05, 0.05, 0.1),
        point_features=4,
        intensity="as_is",
        width=SMALL["second"],
        nms_threshold=0.01,
    )
    assert detector.grid.shape == (200, 176)
    cars = detector.anchors.view(200, 176, 6, 7)[..., 0, :]
    assert cars[..., 2].unique().tolist() == pytest.approx([-1.0])
    assert cars[0, [0, -1], 0].tolist() == pytest.approx([0.0, 70.4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("Vehicle", "Sign")}, "no anchors for Sign"),
        ({"anchors": {name: {"size": (1, 1)} for name in NAMES}}, "is not size"),
        (
            {"anchors": {name: {**WAYMO_ANCHORS[name], "unmatched": 0.9} for name in NAMES}},
            "unmatched <= matched",
        ),
        (
            {"anchors": {name: {**WAYMO_ANCHORS[name], "size": (0, 1, 1)} for name in NAMES}},
            "must be positive",
        ),
        ({"width": {"head": 0.5}}, "no part 'head'"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ConfigError, match=message):
        PointPillar(BOUNDS, (0.32, 0.32), 20, **changes)


def test_bad_boxes():
    boxes = torch.full((1, 1, 7), math.nan)
    with pytest.raises(InputError, match="box 0 of frame 0"):
        assign_anchor_targets(boxes, torch.zeros(1, 1).long(), CLASSES, GRID)
