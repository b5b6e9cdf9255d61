import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import InputError
from kd3d.waymo import LaserCalibration, azimuths_of, inclinations_of, rays_of, read_frames
from kd3d.waymo.points import points_of


# The larger motion makes the angles of a block differ by more than the series are good for.
@pytest.mark.parametrize("motion", [0.002, 0.02, 1.0])
@pytest.mark.parametrize("block", [5, 8_000])
def test_points_equal_the_formula_pixel_by_pixel(
    make_frame, slow_points, monkeypatch, motion, block
):
    monkeypatch.setattr("kd3d.waymo.points._BLOCK", block)
    frame = make_frame(seed=4, motion=motion)
    expected = [np.array(column) for column in zip(*slow_points(frame), strict=True)]
    found = points_of(frame)
    assert found.points.dtype == np.float32
    np.testing.assert_allclose(found.points, expected[0], atol=2e-5, rtol=0)
    for values, column in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(values, column)


def test_order_does_not_follow_the_record(make_frame):
    frame = make_frame()
    turned = dataclasses.replace(frame, lasers=frame.lasers[::-1])
    for one, other in zip(points_of(frame), points_of(turned), strict=True):
        np.testing.assert_array_equal(one, other)
    order = np.stack([points_of(frame).laser, points_of(frame).return_index]).T.tolist()
    assert order == sorted(order)


def test_empty_pixels_are_no_points(make_frame):
    frame = make_frame(lasers=(2,), returns=1)
    image = np.full((4, 9, 4), -1, np.float32)
    image[0, :3, 0] = [0.0, -0.0, 1e-6]
    laser = dataclasses.replace(frame.lasers[0], returns=(image,))
    assert points_of(dataclasses.replace(frame, lasers=(laser,))).range.tolist() == [
        np.float32(1e-6)
    ]


def test_a_frame_without_points(make_frame):
    for frame in (make_frame(lasers=()), make_frame(returns=0)):
        found = points_of(frame)
        assert found.points.shape == (0, 5)
        assert all(len(values) == 0 for values in found)


def calibration(height=4, *, table=True, yaw=0.3):
    extrinsic = np.eye(4)
    extrinsic[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    return LaserCalibration(
        name=2,
        extrinsic=extrinsic,
        beam_inclinations=np.linspace(-0.3, 0.1, height) if table else None,
        beam_inclination_min=-0.4,
        beam_inclination_max=0.2,
    )


def test_rows_fall_from_the_highest_beam():
    np.testing.assert_array_equal(inclinations_of(calibration(), 4), np.linspace(0.1, -0.3, 4))
    # Evenly spaced beams sit in the middle of their share: the bounds are never reached.
    np.testing.assert_allclose(inclinations_of(calibration(table=False), 3), [0.1, -0.1, -0.3])


def test_columns_fall_from_behind():
    np.testing.assert_allclose(
        azimuths_of(calibration(), 4) + 0.3, np.array([0.75, 0.25, -0.25, -0.75]) * np.pi
    )
    middle = rays_of(calibration(height=1), 1, 5)[0, 2]
    ahead = calibration().extrinsic[:3, :3] @ middle
    np.testing.assert_allclose(ahead[1], 0, atol=1e-12)
    assert ahead[0] > 0.9


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 8), width=st.integers(1, 30), yaw=st.floats(-3, 3))
def test_rays_are_unit_vectors_at_their_angles(height, width, yaw):
    laser = calibration(height, table=False, yaw=yaw)
    rays = rays_of(laser, height, width)
    assert rays.shape == (height, width, 3)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=2), 1, rtol=1e-12)
    np.testing.assert_allclose(
        np.arcsin(rays[..., 2]), np.tile(inclinations_of(laser, height)[:, None], width), atol=1e-9
    )
    turn = np.arctan2(rays[..., 1], rays[..., 0]) - azimuths_of(laser, width)
    np.testing.assert_allclose(np.cos(turn), 1, atol=1e-12)


def test_a_beam_table_of_another_height():
    with pytest.raises(InputError, match=r"laser FRONT: the beam table has 4 entries.*5 rows"):
        rays_of(calibration(4), 5, 10)


def test_full_frame_agrees_with_the_official_points(shared_data):
    oracle = np.load(shared_data / "frames" / "full_frame.npz")
    (frame,) = read_frames(shared_data / "frames" / "full_frame.tfrecord")
    assert len(frame.points) == oracle["counts"].sum() == 511_861
    for number in (1, 2):
        for laser in range(1, 6):
            part = (frame.laser == laser) & (frame.return_index == number)
            place = (number - 1, laser - 1)
            assert part.sum() == oracle["counts"][place]
            assert frame.in_nlz[part].sum() == oracle["nlz_counts"][place]
            points = frame.points[part].astype(np.float64)
            count = part.sum()
            np.testing.assert_allclose(
                points[:, :3].sum(axis=0) / count,
                oracle["sums_xyz_double"][place] / count,
                atol=1e-6,
            )
            sums = np.append(frame.range[part].sum(dtype=np.float64), points[:, 3:].sum(axis=0))
            np.testing.assert_allclose(sums, oracle["sums"][place][3:], rtol=1e-9)
            sampled = (oracle["sample_return"] == number) & (oracle["sample_laser"] == laser)
            rows = oracle["sample_row"][sampled]
            official = oracle["sample_points"][sampled]
            np.testing.assert_allclose(
                points[rows, :3], oracle["sample_xyz_double"][sampled], atol=1e-5, rtol=0
            )
            np.testing.assert_allclose(points[rows, :3], official[:, :3], atol=0.015, rtol=0)
            np.testing.assert_array_equal(points[rows, 3:], official[:, 4:])
            np.testing.assert_array_equal(frame.range[part][rows], official[:, 3])
            np.testing.assert_array_equal(
                frame.in_nlz[part][rows], oracle["sample_nlz"][sampled] == 1
            )


def test_the_points_come_in_order(shared_data):
    (frame,) = read_frames(shared_data / "frames" / "full_frame.tfrecord")
    order = frame.laser.astype(int) * 2 + frame.return_index
    assert (np.diff(order) >= 0).all()


def test_real_sweeps(shared_data):
    path = shared_data / "real_lidar" / "segment-av2-7fab2350_with_camera_labels.tfrecord"
    frames = list(read_frames(path))
    counts = [[(f.return_index == number).sum() for number in (1, 2)] for f in frames]
    assert counts == [[87_030, 10_398], [87_591, 10_030]]
    assert [len(frame.boxes) for frame in frames] == [73, 73]
