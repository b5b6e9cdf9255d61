"""Random frames with every field of the format, written and read back."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kd3d.waymo import (
    TOP,
    RawFrame,
    RawLabel,
    RawLaser,
    decode_frame,
    decode_raw_frame,
    decode_raw_labels,
    effective_difficulty,
    encode_frame,
)

REALS = st.floats(-1e6, 1e6)
ANGLES = st.floats(-3.2, 3.2)
COUNTS = st.integers(0, 2**31 - 1)
LEVELS = st.sampled_from([0, 1, 2])
NAMES = st.text(max_size=8)
PLACES = st.tuples(*[st.floats(-3, 3)] * 3)
NUMBERS = st.sets(st.integers(1, 5))
BOXES = hnp.arrays(np.float64, 7, elements=st.floats(0, 1e4))


def transform(roll, pitch, yaw, position):
    about_x, about_y, about_z = np.eye(3), np.eye(3), np.eye(3)
    for matrix, angle, (i, j) in (
        (about_x, roll, (1, 2)),
        (about_y, pitch, (2, 0)),
        (about_z, yaw, (0, 1)),
    ):
        matrix[[i, j], [i, j]] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    pose = np.eye(4)
    pose[:3, :3] = about_z @ about_y @ about_x
    pose[:3, 3] = position
    return pose


LABELS = st.builds(
    RawLabel,
    box=BOXES,
    waymo_type=st.integers(0, 4),
    id=NAMES,
    num_points=COUNTS,
    num_top_points=COUNTS,
    difficulty=LEVELS,
    tracking_difficulty=LEVELS,
    speed=st.tuples(REALS, REALS),
    speed_z=REALS,
    acceleration=st.tuples(REALS, REALS, REALS),
    most_visible_camera=st.sampled_from(["", "FRONT", "FRONT_LEFT", "SIDE_RIGHT"]),
    camera_synced_box=st.none() | BOXES,
)


@st.composite
def images(draw, height, width, count):
    """Up to two returns; some are all empty, some hold zeros, some lie in a no-label zone."""
    shape = (count, height, width, 4)
    seed = draw(st.integers(0, 2**32 - 1))
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    generator = np.random.default_rng(seed)
    values = generator.uniform(0, [75, 3, 1.5, 1], shape).astype(np.float32)
    values[..., 3] = np.where(values[..., 3] > 0.5, 1, -1)
    empty = generator.random(shape[:3]) >= share
    values[empty] = generator.choice(np.float32([-1, 0]), empty.sum())[:, None]
    return tuple(values)


@st.composite
def lasers(draw, name, position):
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    returns = draw(images(height, width, draw(st.integers(0, 2))))
    has_points = any((image[..., 0] > 0).any() for image in returns)
    pose = None
    if name == TOP and returns and (has_points or draw(st.booleans())):
        spread = draw(st.sampled_from([0.0, 1e-3, 2.0]))
        generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        pose = generator.normal(0, spread, (height, width, 6))
        pose[..., 3:] += position
        pose = pose.astype(np.float32)
    table = st.lists(st.floats(-1.5, 0.5), min_size=height, max_size=height).map(sorted)
    return RawLaser(
        name=name,
        extrinsic=transform(*draw(st.tuples(ANGLES, ANGLES, ANGLES)), draw(PLACES)),
        beam_inclinations=draw(st.none() | table.map(np.float64)),
        beam_inclination_min=draw(st.floats(-1.5, -0.5)),
        beam_inclination_max=draw(st.floats(-0.4, 0.5)),
        returns=returns,
        pixel_pose=pose,
    )


@st.composite
def frames(draw):
    position = np.array(draw(st.tuples(*[st.floats(-40_000, 40_000)] * 2, st.floats(-100, 100))))
    zones = draw(
        st.lists(hnp.arrays(float, (draw(st.integers(0, 5)), 2), elements=REALS), max_size=2)
    )
    counts = st.dictionaries(st.integers(0, 4), COUNTS)
    return RawFrame(
        context_name=draw(NAMES),
        timestamp_micros=draw(st.integers(-(2**63), 2**63 - 1)),
        pose=transform(*draw(st.tuples(ANGLES, ANGLES, ANGLES)), position),
        lasers=tuple(draw(lasers(name, position)) for name in sorted(draw(NUMBERS))),
        labels=tuple(draw(st.lists(LABELS, max_size=4))),
        no_label_zones=tuple(zones),
        zone_ids=tuple(draw(NAMES) for _ in zones),
        location=draw(NAMES),
        time_of_day=draw(NAMES),
        weather=draw(NAMES),
        laser_object_counts=draw(counts),
        camera_object_counts=draw(counts),
    )


@settings(max_examples=50)
@given(frame=frames())
def test_raw_frames_come_back_to_the_last_bit(assert_same, frame):
    payload = encode_frame(frame)
    again = decode_raw_frame(payload, "here")
    assert_same(again, frame)
    assert encode_frame(again) == payload
    assert_same(decode_raw_labels(payload, "here").labels, frame.labels)


@settings(max_examples=40)
@given(frame=frames())
def test_points_come_back_within_float32(slow_points, frame):
    found = decode_frame(encode_frame(frame), "here")
    expected = list(slow_points(frame))
    assert len(found.points) == len(expected)
    if not expected:
        return
    points, laser, number, distance, in_zone = map(np.array, zip(*expected, strict=True))
    # Float32 is good for seven digits; the rest is the loss in 40 km of global coordinates.
    np.testing.assert_allclose(found.points[:, :3], points[:, :3], rtol=3e-7, atol=1e-5)
    np.testing.assert_array_equal(found.points[:, 3:], points[:, 3:])
    np.testing.assert_array_equal(found.laser, laser)
    np.testing.assert_array_equal(found.return_index, number)
    np.testing.assert_array_equal(found.range, distance)
    np.testing.assert_array_equal(found.in_nlz, in_zone)


@settings(max_examples=40)
@given(labels=st.lists(LABELS, max_size=5))
def test_every_field_of_a_label_is_in_the_frame(make_frame, labels):
    frame = dataclasses.replace(make_frame(lasers=()), labels=tuple(labels))
    found = decode_frame(encode_frame(frame), "here")
    assert found.boxes.shape == found.camera_synced_boxes.shape == (len(labels), 7)
    assert found.speed.shape == found.acceleration.shape == (len(labels), 3)
    for row, label in enumerate(labels):
        np.testing.assert_array_equal(found.boxes[row], np.float32(label.box))
        assert found.waymo_types[row] == label.waymo_type
        assert found.object_ids[row] == label.id
        assert found.num_points[row] == label.num_points
        assert found.num_top_points[row] == label.num_top_points
        assert found.difficulty[row] == label.difficulty
        assert found.tracking_difficulty[row] == label.tracking_difficulty
        assert found.most_visible_camera[row] == label.most_visible_camera
        np.testing.assert_array_equal(found.speed[row], np.float32([*label.speed, label.speed_z]))
        np.testing.assert_array_equal(found.acceleration[row], np.float32(label.acceleration))
        synced = label.camera_synced_box
        expected = np.full(7, np.nan) if synced is None else synced
        np.testing.assert_array_equal(found.camera_synced_boxes[row], np.float32(expected))
    levels = effective_difficulty(found.difficulty, found.num_points)
    for level, label in zip(levels, labels, strict=True):
        assert level == (label.difficulty or (2 if label.num_points <= 5 else 1))
    for zone, made in zip(found.no_label_zones, frame.no_label_zones, strict=True):
        np.testing.assert_array_equal(zone, made)
