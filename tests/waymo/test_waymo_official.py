"""Records beside the official protos, where their package is importable.

They need neither TensorFlow nor the package's own requirements:
``pip install --no-deps waymo-open-dataset-tf-2-12-0``.
"""

import dataclasses
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.waymo import decode_frame, decode_raw_frame, encode_frame, iterate_records, schema

pytest.importorskip("waymo_open_dataset", reason="the official package is not installed")
from waymo_open_dataset import dataset_pb2, label_pb2

FILES = [
    "frames/full_frame.tfrecord",
    "frames/real_labels_only.tfrecord",
    "frames/real_sf_labels_calib.tfrecord",
    "real_lidar/segment-av2-7fab2350_with_camera_labels.tfrecord",
]


def assert_official(official, frame):
    """Compare every field of a frame that kd3d keeps."""
    assert official.context.name == frame.context_name
    assert official.timestamp_micros == frame.timestamp_micros
    assert list(official.pose.transform) == frame.pose.ravel().tolist()
    stats = official.context.stats
    assert stats.time_of_day == frame.time_of_day
    assert stats.location == frame.location
    assert stats.weather == frame.weather
    for counts, expected in (
        (stats.laser_object_counts, frame.laser_object_counts),
        (stats.camera_object_counts, frame.camera_object_counts),
    ):
        assert {entry.type: entry.count for entry in counts} == expected
    zones = [(zone.id, list(zip(zone.x, zone.y, strict=True))) for zone in official.no_label_zones]
    assert zones == [
        (name, [tuple(corner) for corner in zone.tolist()])
        for name, zone in zip(frame.zone_ids, frame.no_label_zones, strict=True)
    ]
    for label, ours in zip(official.laser_labels, frame.labels, strict=True):
        assert_official_label(label, ours)
    assert_official_lasers(official, frame)


def assert_official_label(label, ours):
    assert box_of(label.box) == ours.box.tolist()
    assert label.HasField("camera_synced_box") == (ours.camera_synced_box is not None)
    if ours.camera_synced_box is not None:
        assert box_of(label.camera_synced_box) == ours.camera_synced_box.tolist()
    motion = label.metadata
    assert (motion.speed_x, motion.speed_y, motion.speed_z) == (*ours.speed, ours.speed_z)
    assert (motion.accel_x, motion.accel_y, motion.accel_z) == ours.acceleration
    assert label.type == ours.waymo_type
    assert label.id == ours.id
    assert label.detection_difficulty_level == ours.difficulty
    assert label.tracking_difficulty_level == ours.tracking_difficulty
    assert label.num_lidar_points_in_box == ours.num_points
    assert label.num_top_lidar_points_in_box == ours.num_top_points
    assert label.most_visible_camera_name == ours.most_visible_camera


def box_of(box):
    centre = [box.center_x, box.center_y, box.center_z]
    return [*centre, box.length, box.width, box.height, box.heading]


def assert_official_lasers(official, frame):
    calibrations = {entry.name: entry for entry in official.context.laser_calibrations}
    images = {entry.name: entry for entry in official.lasers if entry.name}
    assert sorted(calibrations) == [laser.name for laser in frame.lasers]
    for laser in frame.lasers:
        calibration = calibrations[laser.name]
        beams = [] if laser.beam_inclinations is None else laser.beam_inclinations.tolist()
        assert list(calibration.beam_inclinations) == beams
        assert calibration.beam_inclination_min == laser.beam_inclination_min
        assert calibration.beam_inclination_max == laser.beam_inclination_max
        assert list(calibration.extrinsic.transform) == laser.extrinsic.ravel().tolist()
        entry = images.get(laser.name, dataset_pb2.Laser())
        streams = [
            one.range_image_compressed
            for one in (entry.ri_return1, entry.ri_return2)
            if one.range_image_compressed
        ]
        for stream, values in zip(streams, laser.returns, strict=True):
            assert_official_matrix(stream, values)
        poses = entry.ri_return1.range_image_pose_compressed
        assert bool(poses) == (laser.pixel_pose is not None)
        if poses:
            assert_official_matrix(poses, laser.pixel_pose)


def assert_official_matrix(stream, values):
    official = dataset_pb2.MatrixFloat.FromString(zlib.decompress(stream))
    assert list(official.shape.dims) == list(values.shape)
    np.testing.assert_array_equal(np.float32(official.data).reshape(values.shape), values)


def test_every_number_and_type_of_our_schema_is_official():
    pairs = [
        (schema.Frame, dataset_pb2.Frame),
        (schema.Label, label_pb2.Label),
        (schema.MatrixFloatElements, dataset_pb2.MatrixFloat),
    ]
    seen = set()
    while pairs:
        ours, official = pairs.pop()
        if ours.DESCRIPTOR.full_name in seen:
            continue
        seen.add(ours.DESCRIPTOR.full_name)
        for field in ours.DESCRIPTOR.fields:
            other = official.DESCRIPTOR.fields_by_number[field.number]
            assert field.name == other.name
            kinds = {field.type, other.type}
            # An enum is an int32 on the wire, a text is bytes.
            same = kinds in (
                {field.TYPE_INT32, field.TYPE_ENUM},
                {field.TYPE_BYTES, field.TYPE_STRING},
            )
            assert len(kinds) == 1 or same
            if field.message_type is not None:
                pairs.append(
                    (field.message_type._concrete_class, other.message_type._concrete_class)
                )
    assert len(seen) == 14


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    lasers=st.sets(st.integers(1, 5)).map(sorted).map(tuple),
    returns=st.integers(0, 2),
    labels=st.integers(0, 6),
)
def test_the_official_protos_read_what_is_written(make_frame, seed, **arguments):
    frame = make_frame(seed=seed, **arguments)
    official = dataset_pb2.Frame.FromString(encode_frame(frame))
    assert_official(official, frame)
    assert not official.FindInitializationErrors()
    for laser, made in zip(official.lasers, frame.lasers, strict=True):
        for image, values in zip((laser.ri_return1, laser.ri_return2), made.returns, strict=False):
            zeros = dataset_pb2.MatrixInt32.FromString(
                zlib.decompress(image.camera_projection_compressed)
            )
            assert list(zeros.shape.dims) == [*values.shape[:2], 6]
            assert set(zeros.data) == {0}


@pytest.mark.parametrize("name", FILES)
def test_records_are_read_as_the_official_protos_read_them(shared_data, name):
    for payload in iterate_records(shared_data / name):
        assert_official(dataset_pb2.Frame.FromString(payload), decode_raw_frame(payload, "here"))


def test_what_the_official_protos_write_is_read(make_frame, assert_same):
    frame = make_frame(labels=6)
    official = dataset_pb2.Frame.FromString(encode_frame(frame))
    plain = decode_frame(official.SerializeToString(), "here")
    assert_same(decode_raw_frame(official.SerializeToString(), "here"), frame)
    # And with everything that kd3d has no use for.
    official.images.add(name=1, image=b"jpeg").pose.transform.extend(range(16))
    official.context.camera_calibrations.add(name=1, width=1920).intrinsic.extend(range(9))
    official.camera_labels.add(name=1).labels.add(id="camera", type=1)
    official.projected_lidar_labels.add(name=1).labels.add(id="projected", type=1)
    official.map_features.add(id=3)
    official.map_pose_offset.x = 4.0
    official.laser_labels[0].association.laser_object_id = "other"
    official.laser_labels[1].laser_keypoints.keypoint.add(type=1)
    official.lasers[0].ri_return1.range_image_flow_compressed = b"flow"
    official.lasers[0].ri_return1.segmentation_label_compressed = b"labels"
    official.lasers[0].ri_return1.range_image.shape.dims.extend([1, 2])
    payload = official.SerializeToString()
    assert_same(decode_raw_frame(payload, "here"), frame)
    assert_same(decode_frame(payload, "here"), plain)


def test_labels_without_difficulty_and_camera_are_absent_on_the_wire(make_frame):
    frame = make_frame(labels=1)
    bare = dataclasses.replace(frame.labels[0], difficulty=0, most_visible_camera="")
    (label,) = dataset_pb2.Frame.FromString(
        encode_frame(dataclasses.replace(frame, labels=(bare,)))
    ).laser_labels
    for name in (
        "detection_difficulty_level",
        "tracking_difficulty_level",
        "most_visible_camera_name",
        "camera_synced_box",
    ):
        assert not label.HasField(name)
