"""A tiny dataset of valid Waymo records, and small scenes in memory."""

import numpy as np
import pytest
import torch

from kd3d.data import Scan, build_objects
from kd3d.errors import RecordError
from kd3d.geometry import count_points_in_boxes, points_in_boxes
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


class Scenes:
    """A source of small scenes in memory: boxes with points in them, and points between them."""

    def __init__(self, lengths=(6, 5), classes=("Vehicle", "Pedestrian", "Cyclist"), features=5):
        self.classes = classes
        self.root = "scenes"
        self.segments = np.repeat(np.arange(len(lengths)), lengths)
        self.features = features
        self.reads = []
        self.broken = ()

    def __len__(self):
        return len(self.segments)

    def name(self, frame):
        return f"scenes, frame {frame}"

    def file(self, frame):
        return f"scene {self.segments[frame]}"

    def frame_id(self, frame):
        return f"{self.segments[frame]}/{frame}"

    def read(self, frame):
        if frame in self.broken:
            raise RecordError("is broken.", where=self.name(frame))
        self.reads.append(frame)
        generator = torch.Generator().manual_seed(frame)
        boxes = torch.rand(14, 7, generator=generator)
        boxes[:, :3] = (boxes[:, :3] - 0.5) * torch.tensor([60.0, 60.0, 1.0])
        boxes[:, 3:6] = 0.5 + boxes[:, 3:6] * torch.tensor([4.0, 2.0, 1.5])
        boxes[:, 6] = (boxes[:, 6] - 0.5) * 6.2
        # Every class, objects of none, and one that no beam met.
        labels = torch.arange(14) % (len(self.classes) + 1) - 1
        count = torch.randint(1, 25, (14,), generator=generator)
        count[5] = 0
        owner = torch.repeat_interleave(torch.arange(14), count)
        local = (torch.rand(len(owner), 3, generator=generator) - 0.5) * 0.98 * boxes[owner, 3:6]
        cos, sin = boxes[owner, 6].cos(), boxes[owner, 6].sin()
        x = local[:, 0] * cos - local[:, 1] * sin
        y = local[:, 0] * sin + local[:, 1] * cos
        inside = torch.stack((x, y, local[:, 2]), dim=1) + boxes[owner, :3]
        around = (torch.rand(4000, 3, generator=generator) - 0.5) * torch.tensor([64.0, 64.0, 2.0])
        around = around[~points_in_boxes(around, boxes[count == 0]).any(dim=1)]
        xyz = torch.cat((inside, around))
        rest = torch.rand(len(xyz), self.features - 3, generator=generator)
        return Scan(
            points=torch.cat((xyz, rest), dim=1),
            boxes=boxes,
            labels=labels,
            num_points=count_points_in_boxes(xyz, boxes),
            difficulty=torch.arange(14) % 3,
            frame_id=self.frame_id(frame),
        )


@pytest.fixture(scope="session")
def make_scenes():
    """Make a source of small scenes, of segments of so many frames."""
    return Scenes


@pytest.fixture(scope="session")
def object_folder(tmp_path_factory):
    """A database of the objects of small scenes, every frame of every class."""
    folder = tmp_path_factory.mktemp("objects")
    build_objects(Scenes((12, 12)), folder, intervals={}, workers=1)
    return folder
