"""A tiny dataset of valid Waymo records."""

import numpy as np
import pytest

from kd3d.waymo import RawFrame, RawLabel, RawLaser, scan_offsets, write_segment

ROWS, COLUMNS = 6, 40

#: name, type, x, y and annotated points of the objects in every frame
OBJECTS = (
    ("near-car", 1, 12.0, 2.0, 30),
    ("far-car", 1, 45.0, 3.0, 9),
    ("hidden-car", 1, 8.0, -6.0, 0),
    ("walker", 2, -4.0, 7.0, 4),
    ("rider", 4, 3.0, -9.0, 11),
    ("sign", 3, 5.0, 5.0, 6),
    ("thing", 0, 6.0, 6.0, 6),
)


def raw_frame(segment, number, *, ranges=None):
    """A frame of one small sensor; its points are a function of segment and number."""
    generator = np.random.default_rng([len(segment), sum(map(ord, segment)), number])
    image = np.full((ROWS, COLUMNS, 4), -1.0, np.float32)
    image[..., 0] = generator.uniform(2, 40, (ROWS, COLUMNS)) if ranges is None else ranges
    image[..., 1:3] = generator.uniform(0, 1, (ROWS, COLUMNS, 2))
    image[0, :, 3] = 1.0  # the highest beam's points lie in a no-label zone
    front = RawLaser(
        name=2,
        extrinsic=np.eye(4),
        beam_inclination_min=-0.2,
        beam_inclination_max=0.1,
        returns=(image,),
    )
    labels = [
        RawLabel(
            box=np.array([x, y, 0.5, 4.0, 2.0, 1.6, 0.1 * number]),
            waymo_type=kind,
            id=name,
            num_points=points,
            difficulty=2 if name == "walker" else 0,
        )
        for name, kind, x, y, points in OBJECTS
    ]
    return RawFrame(
        context_name=segment,
        timestamp_micros=1_000_000 + 100_000 * number,
        pose=np.eye(4),
        lasers=(front,),
        labels=tuple(labels),
    )


def write_frames(path, frames, **options):
    write_segment(path, [raw_frame(path.stem, number, **options) for number in range(frames)])


@pytest.fixture(scope="session")
def waymo_root(tmp_path_factory):
    """A root with 5 + 7 training frames in two segments and 5 validation frames in one."""
    root = tmp_path_factory.mktemp("waymo")
    write_frames(root / "training" / "segment-a.tfrecord", 5)
    write_frames(root / "training" / "segment-b.tfrecord", 7)
    write_frames(root / "validation" / "segment-c.tfrecord", 5)
    return root


@pytest.fixture
def write():
    """Write a segment of so many tiny frames."""
    return write_frames


@pytest.fixture
def damage():
    """Flip one bit in the middle of a record's payload."""

    def flip(path, record):
        span = scan_offsets(path)[record]
        content = bytearray(path.read_bytes())
        content[span.offset + 12 + span.length // 2] ^= 4
        path.write_bytes(content)

    return flip


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """Keep every test's index to itself."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KD3D_CACHE", str(folder))
    return folder
