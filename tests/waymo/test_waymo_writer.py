import dataclasses

import numpy as np
import pytest

from kd3d.errors import InputError, OutputError
from kd3d.waymo import decode_raw_frame, encode_frame, read_frames, read_raw_frames, write_segment


def test_segments_come_back(make_frame, assert_same, tmp_path):
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
    synced = dataclasses.replace(frame.labels[0], camera_synced_box=np.zeros(6))
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
        (dataclasses.replace(frame, labels=(synced,)), "object-0', camera-synced box: its box has"),
        (dataclasses.replace(frame, zone_ids=("a",)), "1 names for 2 no-label zones"),
    ]
    for damaged, text in cases:
        with pytest.raises(InputError, match=text):
            encode_frame(damaged)


def test_images_of_top_without_a_point_need_no_pose(make_frame):
    frame = make_frame(lasers=(1,), returns=1)
    image = np.full_like(frame.lasers[0].returns[0], -1)
    blind = of_laser(frame, 0, returns=(image,), pixel_pose=None)
    (laser,) = decode_raw_frame(encode_frame(blind), "here").lasers
    assert laser.pixel_pose is None
    np.testing.assert_array_equal(laser.returns[0], image)


def test_zones_without_names_are_numbered(make_frame):
    frame = dataclasses.replace(make_frame(), zone_ids=())
    assert decode_raw_frame(encode_frame(frame), "here").zone_ids == ("zone-0", "zone-1")


def test_a_frame_always_gives_the_same_bytes(make_frame):
    assert encode_frame(make_frame(seed=3)) == encode_frame(make_frame(seed=3))
