from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d import DetectorModule
from kd3d.data import (
    FrameDataset,
    ObjectPaste,
    Scan,
    SweptFrames,
    WaymoDataModule,
    WaymoFrames,
    WorldAugmentation,
    build_index,
    build_objects,
)
from kd3d.detectors import create_detector
from kd3d.errors import ConfigError, RecordError

#: corners of a building in the world, metres; far from the origin, as Waymo's are
LANDMARKS = np.array([[2.0, 1.0, 0.5], [-3.0, 4.0, 1.0], [5.0, -2.0, 2.5]])
ORIGIN = np.array([1.0e5, -2.0e5, 30.0])


def pose_at(shift, yaw, pitch=0.0):
    turn, tilt = np.eye(4), np.eye(4)
    turn[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    tilt[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(pitch), np.sin(pitch), -np.sin(pitch), np.cos(pitch)
    pose = turn @ tilt
    pose[:3, 3] = ORIGIN + shift
    return pose


@dataclass
class Drive:
    """A car that passes things that stand still; its records are made when they are read."""

    poses: list = field(default_factory=lambda: [pose_at([0, 0, 0], 0.0)])
    of_segment: tuple = ()
    classes = ("Vehicle",)
    root = "drive"
    reads_ahead = True

    def __post_init__(self):
        self.was_read, self.was_expected = [], []

    @property
    def segments(self):
        return np.array(self.of_segment or [0] * len(self.poses))

    def __len__(self):
        return len(self.poses)

    def name(self, frame):
        return f"record {frame}"

    def file(self, frame):
        return "drive"

    def frame_id(self, frame):
        return f"id {frame}"

    def expect(self, frames):
        self.was_expected.extend(frames)

    def read(self, frame):
        self.was_read.append(frame)
        local = (LANDMARKS + ORIGIN - self.poses[frame][:3, 3]) @ self.poses[frame][:3, :3]
        points = np.concatenate([local, np.full((len(local), 1), float(frame))], axis=1)
        return Scan(
            points=torch.tensor(points, dtype=torch.float32),
            boxes=torch.zeros(1, 7),
            labels=torch.zeros(1, dtype=torch.int64),
            num_points=torch.ones(1, dtype=torch.int64),
            difficulty=torch.zeros(1, dtype=torch.int64),
            frame_id=self.frame_id(frame),
            pose=self.poses[frame],
            time=1.5e9 + 0.1 * frame,
        )


@settings(max_examples=40)
@given(
    shift=st.tuples(*[st.floats(-2.0, 2.0)] * 3),
    yaw=st.floats(-3.1, 3.1),
    pitch=st.floats(-0.3, 0.3),
)
def test_what_stands_still_stays_where_it_is_far_from_the_origin(shift, yaw, pitch):
    drive = Drive([pose_at(shift, yaw, pitch), pose_at([0.1, 0.2, 0.0], -yaw / 3)])
    points = SweptFrames(drive, 2).read(1).points.double()
    now, then = points[:3], points[3:]
    assert (now[:, :3] - then[:, :3]).abs().max() < 1e-6
    assert torch.equal(then[:, 3], torch.zeros(3).double())


def test_without_compensation_they_would_not():
    drive = Drive([pose_at([-1.0, 0, 0], 0.0), pose_at([0, 0, 0], 0.0)])
    raw, swept = drive.read(0).points, SweptFrames(drive, 2).read(1).points
    assert torch.allclose(raw[:, 0] - swept[3:, 0], torch.ones(3))


def test_current_points_come_first_and_time_runs_backwards():
    drive = Drive([pose_at([x, 0, 0], 0.0) for x in range(4)])
    scan = SweptFrames(drive, 3).read(3)
    assert scan.points.shape == (9, 5)
    assert scan.points[:, 3].tolist() == [3] * 3 + [2] * 3 + [1] * 3
    assert scan.points[:, 4].tolist() == pytest.approx([0] * 3 + [-0.1] * 3 + [-0.2] * 3, abs=1e-6)
    assert (scan.frame_id, len(scan.boxes)) == ("id 3", 1)


def test_sweeps_stop_at_the_border_of_a_segment():
    drive = Drive([pose_at([x, 0, 0], 0.0) for x in range(5)], of_segment=(0, 0, 1, 1, 1))
    swept = SweptFrames(drive, 3)
    assert [swept.members(frame) for frame in range(5)] == [[0], [1, 0], [2], [3, 2], [4, 3, 2]]
    assert [len(swept.read(frame).points) for frame in range(5)] == [3, 6, 3, 6, 9]
    assert swept.segments.tolist() == [0, 0, 1, 1, 1]


def test_names_and_labels_need_no_other_frame():
    drive = Drive([pose_at([x, 0, 0], 0.0) for x in range(3)])
    swept = SweptFrames(drive, 3)
    assert (swept.frame_id(2), swept.name(2), swept.file(2)) == ("id 2", "record 2", "drive")
    assert drive.was_read == []
    assert swept.reads_ahead
    swept.expect([2, 0])
    assert drive.was_expected == [2, 1, 0, 0]


def test_frames_without_pose_or_time_are_refused():
    drive = Drive([pose_at([0, 0, 0], 0.0)] * 2)
    drive.poses[0] = pose_at([0, 0, 0], 0.0)
    whole = drive.read

    def read(frame):
        scan = whole(frame)
        return Scan(**{name: getattr(scan, name) for name in Scan.__slots__} | {"pose": None})

    drive.read = read
    assert len(SweptFrames(drive, 2).read(0).points) == 3
    with pytest.raises(RecordError, match=r"record 0: several sweeps need the pose"):
        SweptFrames(drive, 2).read(1)


def test_at_least_one_sweep():
    with pytest.raises(ConfigError, match=r"data\.sweeps: 0 is below 1"):
        SweptFrames(Drive(), 0)
    with pytest.raises(ConfigError, match=r"data\.sweeps: 0 is below 1"):
        WaymoDataModule(sweeps=0)


def test_a_subset_still_sees_the_frames_recorded_before(waymo_root):
    data = WaymoDataModule(waymo_root, frame_interval=3, sweeps=2, augmentation=None)
    frames = data.train_frames
    assert len(frames) == 2 + 3
    assert [len(frames[number].points) for number in range(5)] == [240, 480, 240, 480, 480]
    index = build_index(waymo_root, "training/*.tfrecord")
    before = FrameDataset(index)[2].points[:, :5]
    mixed = frames[1].points
    earlier = mixed[mixed[:, 5] < 0][:, :5]
    assert sorted(earlier.tolist()) == sorted(before.tolist())
    assert mixed[:, 5].unique().tolist() == pytest.approx([-0.1, 0.0], abs=1e-6)


def test_swept_frames_train_with_every_augmentation(waymo_root, tmp_path):
    source = SweptFrames(WaymoFrames(build_index(waymo_root, "training/*.tfrecord")), 2)
    build_objects(source, tmp_path / "objects", workers=1)
    data = WaymoDataModule(
        waymo_root,
        sweeps=2,
        batch_size=2,
        augmentation=WorldAugmentation(),
        paste=ObjectPaste(tmp_path / "objects", {"Vehicle": 4}, min_points=0),
        point_range=(-19.2, -19.2, -2, 19.2, 19.2, 4),
    )
    batch = next(iter(data.train_dataloader()))
    assert batch.points.shape[1] == 6
    assert torch.isfinite(batch.points).all()
    detector = create_detector(
        "cp_pillar_v064",
        point_cloud_range=(-19.2, -19.2, -2, 19.2, 19.2, 4),
        point_features=6,
        width={"encoder": 0.25, "backbone_2d": 0.25, "head": 0.25},
    )
    loss = DetectorModule(detector).training_step(batch, 0)
    assert torch.isfinite(loss)
