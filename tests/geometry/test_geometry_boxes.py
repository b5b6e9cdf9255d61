"""Angles, corners, and points in boxes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd3d.errors import InputError
from kd3d.geometry import (
    corners_3d,
    corners_bev,
    count_points_in_boxes,
    points_in_boxes,
    wrap_angle,
)

BOX = torch.tensor([[10.0, 5.0, 1.0, 4.0, 2.0, 1.5, math.pi / 2]])


@given(st.floats(-1e3, 1e3, width=32))
def test_wrapped_angles_lie_in_range_and_point_the_same_way(angle):
    value = torch.tensor(angle, dtype=torch.float32)
    wrapped = wrap_angle(value)
    assert -math.pi <= float(wrapped) + 1e-6
    assert float(wrapped) < math.pi
    assert float(wrapped.double().cos()) == pytest.approx(math.cos(angle), abs=2e-4)
    assert float(wrapped.double().sin()) == pytest.approx(math.sin(angle), abs=2e-4)
    assert torch.equal(wrap_angle(wrapped), wrapped)


def test_wrapping_at_the_borders():
    edge = torch.tensor([math.pi, -math.pi, math.nextafter(-math.pi, -4)], dtype=torch.float64)
    wrapped = wrap_angle(edge)
    assert wrapped.tolist()[:2] == [-math.pi, -math.pi]
    assert ((wrapped >= -math.pi) & (wrapped < math.pi)).all()


def test_angles_in_range_do_not_change():
    angles = torch.linspace(-3.1415, 3.1415, 1001)
    assert torch.equal(wrap_angle(angles), angles)


def test_corners_follow_the_heading_counter_clockwise():
    corners = corners_bev(BOX)[0]
    # Heading +y: front left is at smaller x and larger y.
    expected = torch.tensor([[9.0, 7.0], [9.0, 3.0], [11.0, 3.0], [11.0, 7.0]])
    torch.testing.assert_close(corners, expected)


def test_corners_in_3d_are_the_flat_ones_at_bottom_and_top():
    corners = corners_3d(BOX)[0]
    torch.testing.assert_close(corners[:4, :2], corners_bev(BOX)[0])
    torch.testing.assert_close(corners[4:, :2], corners_bev(BOX)[0])
    assert corners[:4, 2].tolist() == [0.25] * 4
    assert corners[4:, 2].tolist() == [1.75] * 4


def test_points_inside_outside_and_on_a_face():
    points = torch.tensor(
        [
            [10.0, 6.9, 1.0, 0.3],  # inside along the heading
            [11.1, 5.0, 1.0, 0.3],  # beyond the width
            [10.0, 5.0, 1.75, 0.3],  # on the roof
            [10.0, 5.0, 1.76, 0.3],
            [10.0, 5.0, 0.24, 0.3],
        ]
    )
    assert points_in_boxes(points, BOX)[:, 0].tolist() == [True, False, True, False, False]
    assert count_points_in_boxes(points, BOX).tolist() == [2]


def test_chunks_give_what_one_block_gives(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(999, 4, generator=generator) * 20
    boxes = torch.rand(13, 7, generator=generator) * torch.tensor([20, 20, 20, 8, 8, 8, 6.0])
    whole = points_in_boxes(points, boxes)
    monkeypatch.setattr("kd3d.geometry.boxes._CHUNK", 100)
    assert torch.equal(points_in_boxes(points, boxes), whole)
    assert torch.equal(count_points_in_boxes(points, boxes), whole.sum(dim=0))
    assert 0 < whole.sum() < whole.numel()


def test_no_points_or_no_boxes():
    assert points_in_boxes(torch.zeros(0, 3), BOX).shape == (0, 1)
    assert points_in_boxes(torch.zeros(5, 3), BOX[:0]).shape == (5, 0)
    assert count_points_in_boxes(torch.zeros(0, 3), BOX).tolist() == [0]


@pytest.mark.parametrize("wrong", [torch.zeros(7), torch.zeros(2, 6), torch.zeros(2, 7).long()])
def test_what_is_not_boxes_is_refused(wrong):
    with pytest.raises(InputError, match=r"boxes must be floating \[N, 7\]"):
        corners_bev(wrong)


def test_what_is_not_points_is_refused():
    with pytest.raises(InputError, match=r"points must be \[N, 3\]"):
        points_in_boxes(torch.zeros(4, 2), BOX)
