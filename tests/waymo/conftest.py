"""Small frames for the tests of records."""

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kd3d.waymo import RawFrame, RawLabel, RawLaser, rays_of, write_segment


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
        zone_ids=("zone-a", "zone-b"),
        location="location_sf",
        time_of_day="Day",
        weather="rain",
        laser_object_counts={1: 7, 4: 2},
        camera_object_counts={2: 3},
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
        tracking_difficulty=index % 3,
        speed=(1.5, -0.5),
        speed_z=0.125,
        acceleration=(0.5, -1.0, 0.25),
        most_visible_camera=("", "FRONT", "SIDE_LEFT")[index % 3],
        camera_synced_box=np.append(box, 0.5) if index % 3 else None,
    )


def points_one_by_one(frame: RawFrame):
    """Yield every point by the text of the format, one pixel at a time.

    Each is x, y, z, intensity and elongation; sensor; return; range; in a no-label zone.
    """
    for laser in sorted(frame.lasers, key=lambda laser: laser.name):
        for number, image in enumerate(laser.returns, start=1):
            rays = rays_of(laser, *image.shape[:2])
            for row, column in np.argwhere(image[..., 0] > 0):
                distance, intensity, elongation, zone = image[row, column].astype(np.float64)
                point = laser.extrinsic @ np.append(rays[row, column] * distance, 1)
                if laser.pixel_pose is not None:
                    pose = laser.pixel_pose[row, column].astype(np.float64)
                    point = np.linalg.inv(frame.pose) @ pose_of(*pose[:3], pose[3:]) @ point
                yield [*point[:3], intensity, elongation], laser.name, number, distance, zone == 1


@pytest.fixture(scope="session")
def make_frame() -> Callable[..., RawFrame]:
    """How to make a small frame."""
    return made_frame


@pytest.fixture(scope="session")
def slow_points() -> Callable[[RawFrame], Iterator[tuple]]:
    """Every point of a frame, one pixel at a time."""
    return points_one_by_one


def same(one, other):
    """Compare two values of dataclasses, tuples and arrays, to the last bit."""
    if dataclasses.is_dataclass(one):
        assert type(one) is type(other)
        for entry in dataclasses.fields(one):
            same(getattr(one, entry.name), getattr(other, entry.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    else:
        assert one == other


@pytest.fixture(scope="session")
def assert_same() -> Callable[[object, object], None]:
    """How to compare frames to the last bit."""
    return same


@pytest.fixture(scope="session")
def fuzzer() -> ModuleType:
    """The benchmark that damages records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        return importlib.import_module("fuzz_records")


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A file of three small frames."""
    path = tmp_path / "segment.tfrecord"
    write_segment(path, [made_frame(seed=seed) for seed in range(3)])
    return path
