"""Small frames for the tests of records."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kd3d.waymo import RawFrame, RawLabel, RawLaser, write_segment


def pose_of(roll, pitch, yaw, position):
    """Return the 4 x 4 matrix of Rz(yaw) Ry(pitch) Rx(roll) and a position."""
    cosines, sines = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_x = np.array([[1, 0, 0], [0, cosines[0], -sines[0]], [0, sines[0], cosines[0]]])
    about_y = np.array([[cosines[1], 0, sines[1]], [0, 1, 0], [-sines[1], 0, cosines[1]]])
    about_z = np.array([[cosines[2], -sines[2], 0], [sines[2], cosines[2], 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = about_z @ about_y @ about_x
    pose[:3, 3] = position
    return pose


def made_frame(
    *, seed=0, lasers=(1, 2, 3, 4, 5), height=4, width=9, returns=2, labels=3, motion=0.02
) -> RawFrame:
    """Return a small frame with every feature of a record, 40 km from the map's origin."""
    generator = np.random.default_rng(seed)
    position = np.array([-25_000.0, 31_000.0, 40.0])
    poses = np.zeros((height, width, 6))
    poses[..., :3] = generator.normal([0.01, -0.02, 2.9], motion, (height, width, 3))
    poses[..., 3:] = generator.normal(0, 1, (height, width, 3)) + position
    return RawFrame(
        context_name=f"segment-{seed}",
        timestamp_micros=1_500_000_000_000_000 + seed,
        pose=pose_of(0.01, -0.02, 2.9, position),
        lasers=tuple(
            _laser(generator, name, height, width, returns, poses.astype(np.float32))
            for name in lasers
        ),
        labels=tuple(_label(generator, index) for index in range(labels)),
        no_label_zones=(generator.normal(0, 50, (4, 2)), generator.normal(0, 50, (3, 2))),
        location="location_sf",
        time_of_day="Day",
        weather="rain",
    )


def _laser(generator, name, height, width, returns, poses) -> RawLaser:
    images = generator.random((returns, height, width, 4)).astype(np.float32)
    images[..., 0] *= 75
    images[..., 3] = np.where(images[..., 3] > 0.5, 1, -1)
    images[generator.random(images.shape[:3]) < 0.4] = -1
    table = np.sort(generator.uniform(-0.3, 0.1, height)) if name == 1 else None
    return RawLaser(
        name=name,
        extrinsic=pose_of(*generator.normal(0, 0.1, 2), name, generator.normal(0, 2, 3)),
        beam_inclinations=table,
        beam_inclination_min=-1.5,
        beam_inclination_max=0.5,
        returns=tuple(images),
        pixel_pose=poses if name == 1 and returns else None,
    )


def _label(generator, index) -> RawLabel:
    box = np.append(generator.normal(0, 20, 3), generator.uniform(0.5, 5, 3))
    return RawLabel(
        box=np.append(box, generator.uniform(-3, 3)),
        waymo_type=index % 5,
        id=f"object-{index}",
        num_points=int(generator.integers(0, 500)),
        num_top_points=3,
        difficulty=2 * (index % 2),
        speed=(1.5, -0.5),
    )


@pytest.fixture(scope="session")
def make_frame() -> Callable[..., RawFrame]:
    """How to make a small frame."""
    return made_frame


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A file of three small frames."""
    path = tmp_path / "segment.tfrecord"
    write_segment(path, [made_frame(seed=seed) for seed in range(3)])
    return path
