import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.detectors.voxelize import Voxelizer
from kd3d.errors import ConfigError

RANGE = (-2.0, -2.0, -1.0, 2.0, 2.0, 1.0)


def one_by_one(points, frames, voxelizer):
    """Voxels as a point-after-point loop makes them: {(frame, z, y, x): [points]} in order."""
    found = {}
    low = torch.tensor(voxelizer.point_cloud_range[:3])
    high = torch.tensor(voxelizer.point_cloud_range[3:])
    size = torch.tensor(voxelizer.voxel_size)
    for point, frame in zip(points, frames.tolist(), strict=True):
        cell = torch.floor((point[:3] - low) / size).long().tolist()
        inside = all(0 <= c < n for c, n in zip(cell, voxelizer.grid_size, strict=True))
        if not inside or not bool(((point[:2] >= low[:2]) & (point[:2] <= high[:2])).all()):
            continue
        key = (frame, *cell[::-1])
        if key not in found and sum(k[0] == frame for k in found) == voxelizer.max_voxels:
            continue
        stored = found.setdefault(key, [])
        if len(stored) < voxelizer.max_points:
            stored.append(point)
    return found


@settings(max_examples=60, deadline=None)
@given(
    cloud=st.lists(
        st.tuples(*[st.integers(-9, 9)] * 3).map(lambda p: [0.25 * v for v in p]), max_size=60
    ),
    sizes=st.sampled_from([(1.0, 1.0, 2.0), (0.5, 1.0, 1.0), (0.25, 0.25, 0.5)]),
    max_points=st.integers(1, 4),
    max_voxels=st.integers(1, 12),
    split=st.integers(0, 60),
)
def test_equals_a_loop_over_points(cloud, sizes, max_points, max_voxels, split):
    points = torch.tensor(cloud, dtype=torch.float32).reshape(-1, 3)
    points = torch.cat((points, torch.arange(len(points))[:, None].float()), dim=1)
    frames = (torch.arange(len(points)) >= split).long() * 2  # frame 1 is empty
    voxelizer = Voxelizer(RANGE, sizes, max_points, max_voxels)
    expected = one_by_one(points, frames, voxelizer)

    voxels = voxelizer(points, frames, num_frames=3)

    assert [tuple(row) for row in voxels.coords.tolist()] == list(expected)
    assert voxels.counts.tolist() == [len(stored) for stored in expected.values()]
    flat = [point for stored in expected.values() for point in stored]
    assert torch.equal(voxels.points, torch.stack(flat) if flat else points[:0])
    assert torch.equal(voxels.owner, torch.repeat_interleave(voxels.counts))
    assert voxels.num_frames == 3


def test_upper_border_in_x_and_y_is_outside_the_last_cell():
    voxelizer = Voxelizer(RANGE, (1.0, 1.0, 2.0), 5, 100)
    points = torch.tensor([[2.0, 0, 0], [-2.0, 0, 0], [0, 0, 1.0], [0, 0, -1.0]])
    voxels = voxelizer(points, torch.zeros(4, dtype=torch.int64), 1)
    assert voxels.points.tolist() == [[-2, 0, 0], [0, 0, -1]]


@pytest.mark.parametrize("limits", [(0, 5), (5, 0)])
def test_limits_must_be_positive(limits):
    with pytest.raises(ConfigError, match="must be at least 1"):
        Voxelizer(RANGE, (1.0, 1.0, 2.0), *limits)
