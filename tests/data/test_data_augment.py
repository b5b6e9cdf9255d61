import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kd3d.data import WorldAugmentation, WorldTransform, keyed_generator
from kd3d.errors import ConfigError, InputError
from kd3d.geometry import points_in_boxes

angles = st.floats(-7, 7)
transforms = st.builds(
    WorldTransform,
    flip_x=st.booleans(),
    flip_y=st.booleans(),
    angle=angles,
    scale=st.floats(0.5, 2),
)


@st.composite
def boxes_with_points(draw):
    """Boxes [M, 7], and for each 8 points well inside and 8 well outside of it, [M, 16, 3]."""
    count = draw(st.integers(1, 4))
    number = st.floats(-60, 60, width=32)
    centres = torch.tensor([[draw(number), draw(number), draw(number) / 20] for _ in range(count)])
    sizes = torch.tensor([[draw(st.floats(0.5, 9)) for _ in range(3)] for _ in range(count)])
    heading = torch.tensor([[draw(angles)] for _ in range(count)])
    signs = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    local = torch.cat((signs * 0.45, signs * 0.55)) * sizes[:, None]
    cos, sin = heading.cos(), heading.sin()
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    points = torch.stack((x, y, local[..., 2]), dim=-1) + centres[:, None]
    return torch.cat((centres, sizes, heading), dim=1), points


@given(boxes_with_points(), transforms)
@settings(deadline=None)
def test_points_keep_to_their_boxes(scene, transform):
    boxes, points = scene
    moved_boxes = transform.boxes(boxes)
    moved = transform.points(points.flatten(0, 1)).view_as(points)
    for box, cloud in zip(moved_boxes, moved, strict=True):
        inside = points_in_boxes(cloud, box[None])[:, 0]
        assert inside[:8].all()
        assert not inside[8:].any()


@given(boxes_with_points(), transforms)
@settings(deadline=None)
def test_inverse_leads_back(scene, transform):
    boxes, points = scene
    cloud = torch.cat((points.flatten(0, 1), torch.rand(points.shape[0] * 16, 2)), dim=1)
    back = transform.inverse()
    assert torch.allclose(back.points(transform.points(cloud)), cloud, atol=1e-4)
    returned = back.boxes(transform.boxes(boxes))
    assert torch.allclose(returned[:, :6], boxes[:, :6], atol=1e-4)
    turn = returned[:, 6] - boxes[:, 6]
    assert torch.allclose(turn.cos(), torch.ones_like(turn), atol=1e-4)


@given(boxes_with_points(), transforms)
@settings(deadline=None)
def test_headings_are_wrapped_and_inputs_untouched(scene, transform):
    boxes, points = scene
    before = boxes.clone(), points.clone()
    heading = transform.boxes(boxes)[:, 6]
    transform.points(points.flatten(0, 1))
    assert ((heading >= -math.pi) & (heading < math.pi)).all()
    assert torch.equal(boxes, before[0])
    assert torch.equal(points, before[1])


def test_each_change_by_hand():
    box = torch.tensor([[3.0, 2.0, 1.0, 4.0, 2.0, 1.5, 0.5]])

    def moved(**change):
        return WorldTransform(**change).boxes(box)[0].tolist()

    assert moved() == pytest.approx([3, 2, 1, 4, 2, 1.5, 0.5])
    assert moved(flip_x=True) == pytest.approx([3, -2, 1, 4, 2, 1.5, -0.5])
    assert moved(flip_y=True) == pytest.approx([-3, 2, 1, 4, 2, 1.5, math.pi - 0.5])
    assert moved(angle=math.pi / 2) == pytest.approx([-2, 3, 1, 4, 2, 1.5, 0.5 + math.pi / 2])
    assert moved(scale=2.0) == pytest.approx([6, 4, 2, 8, 4, 3, 0.5])
    assert moved(flip_x=True, angle=math.pi / 2) == pytest.approx(
        [2, 3, 1, 4, 2, 1.5, math.pi / 2 - 0.5]
    )


def test_features_of_points_stay():
    points = torch.rand(9, 5)
    moved = WorldTransform(flip_x=True, flip_y=True, angle=1.0, scale=2.0).points(points)
    assert torch.equal(moved[:, 3:], points[:, 3:])


def test_draws_follow_their_key_alone():
    augmentation = WorldAugmentation()
    first = augmentation.draw(keyed_generator("world", 0, 3, "a"))
    torch.manual_seed(1)
    assert first == augmentation.draw(keyed_generator("world", 0, 3, "a"))
    others = [("world", 1, 3, "a"), ("world", 0, 4, "a"), ("world", 0, 3, "b"), ("w", 0, 3, "a")]
    assert first not in [augmentation.draw(keyed_generator(*key)) for key in others]


def test_draws_fill_their_ranges():
    draws = [WorldAugmentation().draw(keyed_generator(number)) for number in range(2000)]
    for flip in ("flip_x", "flip_y"):
        assert 900 < sum(getattr(draw, flip) for draw in draws) < 1100
    assert 400 < sum(draw.flip_x and draw.flip_y for draw in draws) < 600
    angle = sorted(draw.angle for draw in draws)
    scale = sorted(draw.scale for draw in draws)
    assert (angle[0], angle[-1]) == pytest.approx((-math.pi / 4, math.pi / 4), abs=0.01)
    assert (scale[0], scale[-1]) == pytest.approx((0.95, 1.05), abs=0.001)
    assert angle[1000] == pytest.approx(0, abs=0.06)


def test_options_that_are_off_leave_the_others_alone():
    everything = WorldAugmentation().draw(keyed_generator(7))
    partly = WorldAugmentation(flip_x=0, flip_y=1, scaling=(1.0, 1.0)).draw(keyed_generator(7))
    assert partly == WorldTransform(False, True, everything.angle, 1.0)


def test_changes_that_are_off_are_never_drawn():
    still = WorldAugmentation(flip_x=0, flip_y=0, rotation=None, scaling=None)
    assert {still.draw(keyed_generator(number)) for number in range(50)} == {WorldTransform()}


def test_changes_end_after_their_last_epoch():
    def draw(epoch, last_epoch):
        augmentation = WorldAugmentation(flip_x=1, flip_y=1, last_epoch=last_epoch)
        return augmentation.draw(keyed_generator(7), epoch)

    everything = draw(0, None)
    assert draw(99, None) == draw(3, 3) == everything
    assert draw(4, 3) == WorldTransform()
    assert draw(4, {"rotation": 3, "flip_y": 4}) == replace(everything, angle=0.0)
    assert draw(5, {"rotation": 3, "flip_y": 4}) == replace(everything, angle=0.0, flip_y=False)
    assert draw(1, {"scaling": 0}) == replace(everything, scale=1.0)


def test_last_epochs_may_come_from_a_config():
    given = OmegaConf.create({"rotation": 3})
    augmentation = WorldAugmentation(last_epoch=given)
    assert augmentation == WorldAugmentation(last_epoch={"rotation": 3})
    assert type(augmentation.last_epoch) is dict


@pytest.mark.parametrize(
    ("last_epoch", "message"),
    [
        (-1, "augmentation.last_epoch: -1 is no epoch"),
        (1.5, "1.5 is no epoch. Count from 0"),
        ({"scaling": -2}, "-2 is no epoch"),
        ({"turn": 2}, r"\['turn'\] is no change of a scene. Name some of flip_x, flip_y, rotation"),
    ],
)
def test_impossible_last_epochs_are_named(last_epoch, message):
    with pytest.raises(ConfigError, match=message):
        WorldAugmentation(last_epoch=last_epoch)


@pytest.mark.parametrize(
    "option", [{"flip_x": 1.5}, {"flip_y": -1}, {"rotation": (1, -1)}, {"scaling": (0, 1)}]
)
def test_impossible_options_are_named(option):
    with pytest.raises(ConfigError, match=rf"augmentation.{next(iter(option))}"):
        WorldAugmentation(**option)


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match=r"points must be \[N, F >= 3\], not \(4, 2\)"):
        WorldTransform().points(torch.zeros(4, 2))
    with pytest.raises(InputError, match=r"boxes must be \[M, 7\], not \(4, 9\)"):
        WorldTransform().boxes(torch.zeros(4, 9))
