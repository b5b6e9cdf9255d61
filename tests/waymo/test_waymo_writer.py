import dataclasses
import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.errors import InputError, OutputError, RecordError
from kd3d.waymo import (
    Frame,
    decode_frame,
    decode_raw_frame,
    encode_frame,
    iterate_records,
    read_frames,
    read_raw_frames,
    write_segment,
)


def assert_same(one, other):
    """Compare two values of dataclasses, tuples and arrays, to the last bit."""
    if dataclasses.is_dataclass(one):
        assert type(one) is type(other)
        for entry in dataclasses.fields(one):
            assert_same(getattr(one, entry.name), getattr(other, entry.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lasers=st.sets(st.integers(1, 5)).map(sorted).map(tuple),
    height=st.integers(1, 6),
    width=st.integers(1, 12),
    returns=st.integers(0, 2),
    labels=st.integers(0, 6),
)
def test_raw_frames_come_back_to_the_last_bit(make_frame, seed, **arguments):
    frame = make_frame(seed=seed, **arguments)
    payload = encode_frame(frame)
    assert_same(decode_raw_frame(payload, "here"), frame)
    assert encode_frame(decode_raw_frame(payload, "here")) == payload


def test_segments_come_back(make_frame, tmp_path):
    frames = [make_frame(seed=seed) for seed in range(3)]
    path = tmp_path / "new" / "folder" / "a.tfrecord"
    assert write_segment(path, iter(frames)) == 3
    for again, frame in zip(read_raw_frames(path), frames, strict=True):
        assert_same(again, frame)
    for decoded, frame in zip(read_frames(path), frames, strict=True):
        assert decoded.boxes.tolist() == [
            label.box.astype(np.float32).tolist() for label in frame.labels
        ]
    assert list(path.parent.iterdir()) == [path]


def test_a_failing_frame_leaves_nothing(make_frame, tmp_path):
    def frames():
        yield make_frame()
        raise KeyError("scene 2")

    with pytest.raises(KeyError, match="scene 2"):
        write_segment(tmp_path / "a.tfrecord", frames())
    assert list(tmp_path.iterdir()) == []


def test_unwritable(tmp_path, make_frame):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.a.tfrecord: cannot be written"):
        write_segment(tmp_path / "file" / "a.tfrecord", [make_frame()])


def of_laser(frame, index, **changes):
    lasers = list(frame.lasers)
    lasers[index] = dataclasses.replace(lasers[index], **changes)
    return dataclasses.replace(frame, lasers=tuple(lasers))


def test_frames_that_do_not_fit(make_frame):
    frame = make_frame()
    image = frame.lasers[0].returns[0]
    label = dataclasses.replace(frame.labels[0], box=np.zeros(8))
    cases = [
        (dataclasses.replace(frame, pose=np.eye(3)), "the frame's pose: has shape"),
        (dataclasses.replace(frame, pose=np.zeros((4, 4))), "the frame's pose: is no rotation"),
        (dataclasses.replace(frame, lasers=frame.lasers[:1] * 2), r"lasers \[1, 1\] are not"),
        (of_laser(frame, 1, name=6), "are not different numbers from 1 to 5"),
        (of_laser(frame, 1, extrinsic=np.eye(3)), "extrinsic of laser FRONT: has shape"),
        (of_laser(frame, 1, returns=(image,) * 3), "laser FRONT: its returns have shapes"),
        (of_laser(frame, 1, returns=(image, image[:2])), "laser FRONT: its returns have shapes"),
        (of_laser(frame, 1, returns=(image[..., :3],)), "laser FRONT: its returns have shapes"),
        (of_laser(frame, 0, beam_inclinations=np.zeros(3)), "laser TOP: the beam table has"),
        (of_laser(frame, 0, pixel_pose=None), "laser TOP: pixel_pose is absent"),
        (of_laser(frame, 0, pixel_pose=image), r"laser TOP: pixel_pose is \(4, 9, 4\)"),
        (of_laser(frame, 0, returns=()), r"laser TOP: pixel_pose is \(4, 9, 6\) beside \[\]"),
        (of_laser(frame, 1, pixel_pose=frame.lasers[0].pixel_pose), "laser FRONT: pixel_pose is"),
        (dataclasses.replace(frame, labels=(label,)), "label 'object-0': its box has shape"),
    ]
    for damaged, text in cases:
        with pytest.raises(InputError, match=text):
            encode_frame(damaged)


def outcome_of(payload):
    """Return the frame or our error; any other error escapes and fails the test."""
    try:
        return decode_frame(payload, "mutated, record 0")
    except RecordError as error:
        return error


def mutate(content: bytes, generator: random.Random) -> bytes:
    mutated = bytearray(content)
    kind = generator.randrange(4)
    place = generator.randrange(len(mutated))
    if kind == 0:
        mutated[place] ^= 1 << generator.randrange(8)
    elif kind == 1:
        del mutated[place : place + generator.randrange(1, 20)]
    elif kind == 2:
        mutated[place:place] = generator.randbytes(generator.randrange(1, 20))
    else:
        mutated[place : place + 4] = generator.randbytes(4)
    return bytes(mutated)


@pytest.mark.parametrize("seed", range(6))
def test_mutated_records_decode_or_raise_our_error(make_frame, seed):
    generator = random.Random(seed)
    frames = [make_frame(seed=seed), make_frame(seed=seed, height=1, width=2, labels=8)]
    payloads = [encode_frame(frame) for frame in frames]
    outcomes = []
    for index in range(120):
        payload = payloads[index % 2]
        for _ in range(generator.randrange(1, 4)):
            payload = mutate(payload, generator)
        outcomes.append(outcome_of(payload))
    read = [outcome for outcome in outcomes if isinstance(outcome, Frame)]
    errors = [str(outcome) for outcome in outcomes if isinstance(outcome, RecordError)]
    assert 0 < len(read) < len(read) + len(errors) == len(outcomes)
    assert all(error.startswith("mutated, record 0") for error in errors)
    for frame in read:
        assert np.isfinite(frame.points).all()
        assert np.isfinite(frame.boxes).all()
        assert len(frame.points) == len(frame.laser) == len(frame.range) == len(frame.in_nlz)


@pytest.mark.parametrize("seed", range(3))
def test_mutated_files_read_or_raise_our_error(make_frame, tmp_path, seed):
    generator = random.Random(seed)
    path = tmp_path / "a.tfrecord"
    write_segment(path, [make_frame(seed=k, height=1, width=2, labels=1) for k in range(2)])
    content = path.read_bytes()
    for _ in range(60):
        path.write_bytes(mutate(content, generator))
        with pytest.raises(RecordError, match=r"a\.tfrecord, record [012]"):
            list(iterate_records(path))


def test_the_official_protos_read_what_is_written(make_frame):
    pytest.importorskip("waymo_open_dataset", reason="the official library is not installed")
    from waymo_open_dataset import dataset_pb2

    frame = make_frame(labels=5)
    official = dataset_pb2.Frame.FromString(encode_frame(frame))
    assert official.context.name == frame.context_name
    assert official.context.stats.weather == frame.weather
    assert list(official.pose.transform) == frame.pose.ravel().tolist()
    for label, made in zip(official.laser_labels, frame.labels, strict=True):
        box = label.box
        assert [box.center_x, box.center_y, box.center_z] == made.box[:3].tolist()
        assert [box.length, box.width, box.height, box.heading] == made.box[3:].tolist()
        assert label.type == made.waymo_type
        assert label.num_lidar_points_in_box == made.num_points
        assert label.detection_difficulty_level == made.difficulty
        assert (label.metadata.speed_x, label.metadata.speed_y) == made.speed
    for laser, made in zip(official.lasers, frame.lasers, strict=True):
        assert laser.name == made.name
        images = (laser.ri_return1, laser.ri_return2)
        for image, values in zip(images, made.returns, strict=True):
            assert_official_matrix(dataset_pb2, image.range_image_compressed, values)
            zeros = dataset_pb2.MatrixInt32.FromString(
                zlib.decompress(image.camera_projection_compressed)
            )
            assert list(zeros.shape.dims) == [*values.shape[:2], 6]
            assert set(zeros.data) == {0}
        if made.pixel_pose is not None:
            assert_official_matrix(
                dataset_pb2, images[0].range_image_pose_compressed, made.pixel_pose
            )


def assert_official_matrix(dataset_pb2, stream, values):
    official = dataset_pb2.MatrixFloat.FromString(zlib.decompress(stream))
    assert list(official.shape.dims) == list(values.shape)
    assert list(official.data) == values.ravel().tolist()
