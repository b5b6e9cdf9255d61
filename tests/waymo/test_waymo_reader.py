import json
import zlib

import numpy as np
import pytest

from kd3d.errors import DatasetError, RecordError
from kd3d.waymo import (
    LASER_NAMES,
    calibrations_of,
    class_of,
    decode_frame,
    decode_raw_frame,
    effective_difficulty,
    encode_frame,
    iterate_records,
    matrix,
    read_frames,
    read_raw_frames,
    record_name,
    schema,
    write_segment,
)

ORACLES = ["full_frame", "real_labels_only", "real_sf_labels_calib"]


@pytest.fixture
def message(make_frame):
    """A sound frame as a protobuf message, for a test to damage."""
    return schema.Frame.FromString(encode_frame(make_frame()))


def decode(message):
    return decode_frame(message.SerializeToString(), "f.tfrecord, record 5")


@pytest.mark.parametrize("name", ORACLES)
def test_labels_and_metadata_agree_with_the_official_reader(shared_data, name):
    expected = json.loads((shared_data / "frames" / f"{name}.json").read_text())
    (frame,) = read_frames(shared_data / "frames" / f"{name}.tfrecord")
    labels = expected["laser_labels"]
    assert frame.context_name == expected["context_name"]
    assert frame.timestamp_micros == expected["timestamp_micros"]
    np.testing.assert_array_equal(frame.pose.ravel(), np.ravel(expected["pose"]))
    np.testing.assert_array_equal(frame.boxes, np.float32([label["box"] for label in labels]))
    assert frame.waymo_types.tolist() == [label["type"] for label in labels]
    assert frame.num_points.tolist() == [label["num_lidar_points_in_box"] for label in labels]
    assert frame.difficulty.tolist() == [label["detection_difficulty_level"] for label in labels]
    assert frame.boxes.dtype == np.float32
    assert frame.pose.dtype == np.float64


@pytest.mark.parametrize("name", ORACLES)
def test_raw_frames_agree_with_the_official_reader(shared_data, name):
    expected = json.loads((shared_data / "frames" / f"{name}.json").read_text())
    path = shared_data / "frames" / f"{name}.tfrecord"
    (frame,) = read_raw_frames(path)
    assert frame.location == expected["location"]
    assert frame.time_of_day == expected["time_of_day"]
    assert frame.weather == expected["weather"]
    for label, official in zip(frame.labels, expected["laser_labels"], strict=True):
        assert label.id == official["id"]
        assert label.waymo_type == official["type"]
        assert label.box.tolist() == official["box"]
        assert label.num_points == official["num_lidar_points_in_box"]
        assert label.num_top_points == official["num_top_lidar_points_in_box"]
        assert label.difficulty == official["detection_difficulty_level"]
        assert label.tracking_difficulty == official["tracking_difficulty_level"]
        assert label.most_visible_camera == official["most_visible_camera_name"]
        assert (label.camera_synced_box is not None) == official["has_camera_synced_box"]
        assert [*label.speed, label.speed_z] == official["speed"]
        assert list(label.acceleration) == official["accel"]
    assert list(frame.zone_ids) == [zone["id"] for zone in expected["no_label_zones"]]
    for zone, official in zip(frame.no_label_zones, expected["no_label_zones"], strict=True):
        np.testing.assert_array_equal(zone, np.stack([official["x"], official["y"]], axis=1))
    official_by_name = {entry["name"]: entry for entry in expected["laser_calibrations"]}
    calibrations = calibrations_of(path)
    assert [laser.name for laser in calibrations] == sorted(official_by_name)
    for laser in calibrations:
        official = official_by_name[laser.name]
        np.testing.assert_array_equal(laser.extrinsic.ravel(), np.ravel(official["extrinsic"]))
        beams = [] if laser.beam_inclinations is None else laser.beam_inclinations.tolist()
        assert beams == official["beam_inclinations"]
        assert laser.beam_inclination_min == official["beam_inclination_min"]
        assert laser.beam_inclination_max == official["beam_inclination_max"]


def test_classes_of_types():
    assert [class_of(kind, "here") for kind in range(5)] == [-1, 0, 1, -1, 2]


def test_effective_difficulty():
    assert effective_difficulty([0, 2], [-1, -1]).tolist() == [1, 2]  # unknown counts as many
    levels = effective_difficulty([0, 0, 0, 1, 2, 2], [0, 5, 6, 1, 1, 900])
    assert levels.tolist() == [2, 2, 1, 1, 2, 2]
    assert levels.dtype == np.int64
    assert effective_difficulty([], []).shape == (0,)


def test_labels_become_classes(make_frame):
    frame = decode_frame(encode_frame(make_frame(labels=5)), "here")
    assert frame.waymo_types.tolist() == [0, 1, 2, 3, 4]
    assert frame.labels.tolist() == [-1, 0, 1, -1, 2]
    assert frame.difficulty.tolist() == [0, 2, 0, 2, 0]


@pytest.mark.parametrize("kind", [5, 77, -1])
def test_unknown_label_type(message, kind):
    message.laser_labels[1].type = kind
    with pytest.raises(RecordError, match=rf"record 5, label 'object-1': label type {kind} is"):
        decode(message)


def test_a_frame_without_lasers_and_labels_is_a_frame(make_frame):
    frame = decode_frame(encode_frame(make_frame(lasers=(), labels=0)), "here")
    assert frame.points.shape == (0, 5)
    assert frame.boxes.shape == (0, 7)
    assert frame.range.shape == frame.in_nlz.shape == frame.labels.shape == (0,)
    assert decode_frame(b"", "here").pose.tolist() == np.eye(4).tolist()


@pytest.mark.parametrize("name", LASER_NAMES)
def test_a_missing_laser_has_no_points(message, name):
    whole = decode(message)
    del message.lasers[[laser.name for laser in message.lasers].index(name)]
    frame = decode(message)
    assert name not in frame.laser
    np.testing.assert_array_equal(frame.points, whole.points[whole.laser != name])


@pytest.mark.parametrize("name", LASER_NAMES)
@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_return_has_no_points(message, name, number):
    whole = decode(message)
    laser = next(laser for laser in message.lasers if laser.name == name)
    laser.ClearField(f"ri_return{number}")
    if (name, number) == (1, 1):  # it holds the poses of both returns
        with pytest.raises(RecordError, match="laser TOP: points but no pose per pixel"):
            decode(message)
        return
    frame = decode(message)
    gone = (whole.laser == name) & (whole.return_index == number)
    assert gone.any()
    np.testing.assert_array_equal(frame.points, whole.points[~gone])
    np.testing.assert_array_equal(frame.return_index, whole.return_index[~gone])


def test_the_second_return_of_top_needs_the_poses_of_the_first_only(message):
    whole = decode(message)
    message.lasers[0].ri_return1.ClearField("range_image_compressed")
    frame = decode(message)
    gone = (whole.laser == 1) & (whole.return_index == 1)
    np.testing.assert_array_equal(frame.points, whole.points[~gone])
    top = decode_raw_frame(message.SerializeToString(), "here").lasers[0]
    assert (top.returns[0] == -1).all()
    assert top.pixel_pose.shape == (4, 9, 6)


def test_images_of_more_values_than_they_state(message):
    whole = decode(message)
    for laser in message.lasers:
        values = matrix.inflate(laser.ri_return1.range_image_compressed, 4, "here")
        first, rest = values.ravel()[:4], values.ravel()[4:]
        shape = schema.MatrixShape(dims=values.shape)
        parts = [schema.MatrixFloat(data=part.tobytes()) for part in (first, rest)]
        parts.append(schema.MatrixFloat(shape=shape))
        content = b"".join(part.SerializeToString() for part in parts)
        for image in (laser.ri_return1, laser.ri_return2):
            image.range_image_compressed = zlib.compress(content)
    frame = decode(message)
    for number in (1, 2):
        part = frame.return_index == number
        np.testing.assert_array_equal(frame.points[part], whole.points[whole.return_index == 1])
        np.testing.assert_array_equal(frame.laser[part], whole.laser[whole.return_index == 1])


def test_entries_of_sensors_without_data(message):
    for laser in message.lasers:
        laser.Clear()
    assert decode(message).points.shape == (0, 5)


def test_images_without_a_valid_pixel(message):
    empty = matrix.deflate(np.full((4, 9, 4), -1, np.float32))
    for laser in message.lasers:
        laser.ri_return1.range_image_compressed = empty
        laser.ri_return2.range_image_compressed = empty
        laser.ri_return1.ClearField("range_image_pose_compressed")
    assert decode(message).points.shape == (0, 5)


@pytest.mark.parametrize(("pixel", "channel"), [((1, 2), 0), ((0, 0), 1), ((3, 8), 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(message, pixel, channel, value):
    image = np.ones((4, 9, 4), np.float32)
    image[(*pixel, channel)] = value
    message.lasers[2].ri_return2.range_image_compressed = matrix.deflate(image)
    with pytest.raises(RecordError, match=r"record 5.*not a number"):
        decode(message)


def test_poses_that_are_no_numbers(message):
    poses = np.zeros((4, 9, 6), np.float32)
    poses[..., 3] = np.nan
    message.lasers[0].ri_return1.range_image_pose_compressed = matrix.deflate(poses)
    with pytest.raises(RecordError, match="record 5: point 0 is not a number"):
        decode(message)


def test_boxes_that_are_no_numbers(message):
    message.laser_labels[2].box.heading = float("nan")
    with pytest.raises(RecordError, match="record 5: box 2 is not a number"):
        decode(message)
    message.laser_labels[2].box.heading = 1e300
    with pytest.raises(RecordError, match="record 5: box 2 is not a number or infinite"):
        decode(message)


def test_sizes_below_zero(message):
    message.laser_labels[1].box.width = -1e-3
    with pytest.raises(RecordError, match="record 5: box 1 has a negative size"):
        decode(message)


@pytest.mark.parametrize("field", ["detection_difficulty_level", "tracking_difficulty_level"])
@pytest.mark.parametrize("level", [-1, 3])
def test_difficulties_that_are_none(message, field, level):
    setattr(message.laser_labels[0], field, level)
    with pytest.raises(RecordError, match=r"label 'object-0': difficulty levels .* of 0, 1 and 2"):
        decode(message)


@pytest.mark.parametrize("field", ["num_lidar_points_in_box", "num_top_lidar_points_in_box"])
def test_numbers_of_points_below_zero(message, field):
    setattr(message.laser_labels[2], field, -4)
    with pytest.raises(RecordError, match=r"label 'object-2': numbers of points .*-4.* below 0"):
        decode(message)


def damage_twice(message):
    message.lasers.append(message.lasers[0])


def damage_name(message):
    message.lasers[3].name = 6


def damage_calibration(message):
    del message.context.laser_calibrations[1]


def damage_calibration_twice(message):
    message.context.laser_calibrations.append(message.context.laser_calibrations[1])


def damage_beams(message):
    message.context.laser_calibrations[0].beam_inclinations.append(0.2)


def damage_inclination(message):
    message.context.laser_calibrations[0].beam_inclinations[2] = float("nan")


def damage_bound(message):
    message.context.laser_calibrations[1].beam_inclination_max = float("inf")


def damage_extrinsic(message):
    del message.context.laser_calibrations[0].extrinsic.transform[3:]


def damage_rotation(message):
    message.pose.transform[:12] = [0.0] * 12


def damage_position(message):
    message.pose.transform[3] = float("nan")


def damage_no_pose(message):
    message.ClearField("pose")


def damage_second_shape(message):
    image = np.ones((4, 8, 4), np.float32)
    message.lasers[1].ri_return2.range_image_compressed = matrix.deflate(image)


def damage_pose_shape(message):
    poses = np.ones((4, 8, 6), np.float32)
    message.lasers[0].ri_return1.range_image_pose_compressed = matrix.deflate(poses)


def damage_zone(message):
    message.no_label_zones[1].x.append(1.0)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (damage_twice, "laser TOP: range images twice"),
        (damage_name, "range images of laser 6, which is none of 1 to 5"),
        (damage_calibration, "laser FRONT: range images but no calibration"),
        (damage_calibration_twice, "laser FRONT: calibration twice"),
        (damage_beams, "laser TOP: 4 rows but 5 beam inclinations"),
        (damage_inclination, "laser TOP: a beam inclination is not a number or infinite"),
        (damage_bound, "laser FRONT: a beam inclination is not a number or infinite"),
        (damage_extrinsic, "laser TOP, extrinsic: 3 values where"),
        (damage_rotation, "pose: not a rotation and a translation"),
        (damage_position, "pose: not a rotation and a translation"),
        (damage_no_pose, "no pose, which the points of TOP need"),
        (damage_second_shape, r"laser FRONT, return 2: shape \(4, 8, 4\) beside"),
        (damage_pose_shape, r"laser TOP: poses \(4, 8, 6\) beside an image"),
        (damage_zone, "no-label zone zone-b: 4 x beside 3 y"),
    ],
)
def test_parts_that_do_not_fit(message, damage, text):
    damage(message)
    with pytest.raises(RecordError, match=f"record 5.*{text}.*download"):
        decode(message)


def test_text_that_is_no_utf8():
    with pytest.raises(RecordError, match="here: no Waymo v1 frame"):
        decode_frame(b"\x0a\x04\x0a\x02\xff\xfe", "here")


def test_payloads_that_are_no_message():
    with pytest.raises(RecordError, match="here: no Waymo v1 frame"):
        decode_raw_frame(b"\x0a\xff", "here")


def test_packed_scalars_and_unknown_fields_are_read(make_frame):
    frame = make_frame()
    values = np.asarray(frame.pose).ravel()
    packed = b"\x0a\x80\x01" + values.tobytes()  # Transform, its 16 doubles as one block
    pose = b"\x1a" + bytes([0x80 + len(packed) % 128, len(packed) // 128]) + packed
    images = b"\x22\x03abc" + b"\x50\x07"  # field 4 by length, field 10 as a number
    plain = schema.Frame.FromString(encode_frame(frame))
    plain.ClearField("pose")
    payload = images + plain.SerializeToString() + pose
    again = decode_frame(payload, "here")
    np.testing.assert_array_equal(again.pose, frame.pose)
    np.testing.assert_array_equal(again.points, decode_frame(encode_frame(frame), "here").points)


def test_frames_before_a_fault_are_delivered(segment):
    content = bytearray(segment.read_bytes())
    content[-20] ^= 4
    segment.write_bytes(content)
    frames = read_frames(segment)
    assert [next(frames).context_name, next(frames).context_name] == ["segment-0", "segment-1"]
    with pytest.raises(RecordError, match=r"segment\.tfrecord, record 2: the checksum"):
        next(frames)


def test_messages_name_the_record(segment, make_frame):
    payloads = list(iterate_records(segment))
    damaged = schema.Frame.FromString(payloads[1])
    damaged.laser_labels[0].type = 9
    with pytest.raises(RecordError, match=r"segment\.tfrecord, record 1, label 'object-0'"):
        decode_frame(damaged.SerializeToString(), record_name(segment, 1))


def test_calibrations_of_a_file(segment, make_frame, tmp_path):
    for laser, made in zip(calibrations_of(segment), make_frame().lasers, strict=True):
        assert laser.name == made.name
        np.testing.assert_array_equal(laser.extrinsic, made.extrinsic)
        assert not hasattr(laser, "returns")
    for name, frames in (("none", []), ("blind", [make_frame(lasers=())])):
        write_segment(tmp_path / name, frames)
        with pytest.raises(RecordError, match=f"{name}, record 0: has no laser calibrations"):
            calibrations_of(tmp_path / name)
    with pytest.raises(DatasetError, match="cannot be opened"):
        calibrations_of(tmp_path / "absent")
