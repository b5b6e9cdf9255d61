import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.geometry import iou_bev
from kd3d.simulate import sample_scene
from kd3d.simulate.scene import advance, pose_matrix

KINDS = {1: "vehicle", 2: "pedestrian", 4: "cyclist"}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 5.0))
def test_nothing_overlaps_at_any_time(seed, duration):
    scene = sample_scene(np.random.default_rng(seed), duration=duration, extent=30.0)
    sizes = np.array([actor.shape.size for actor in scene.actors])
    for time in np.linspace(0.0, duration, 4):
        places = scene.actors_at(float(time))
        boxes = np.concatenate([places[:, :3], sizes, places[:, 3:]], axis=1)
        boxes[:, 2] = 0.0
        x, y, yaw = (float(v[0]) for v in scene.ego.at(np.array([time])))
        body = [x + 1.45 * np.cos(yaw), y + 1.45 * np.sin(yaw), 0.0, 5.0, 2.0, 1.8, yaw]
        boxes = torch.tensor(np.concatenate([boxes, [body]]))
        overlap = iou_bev(boxes, boxes).fill_diagonal_(0.0)
        assert overlap.max() < 0.05


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_scene_is_a_function_of_its_seed(seed):
    scenes = [
        sample_scene(np.random.default_rng(seed), duration=1.0, extent=30.0) for _ in range(2)
    ]
    assert scenes[0].actors == scenes[1].actors
    assert scenes[0].ego == scenes[1].ego
    assert scenes[0].weather == scenes[1].weather
    assert len({actor.name for actor in scenes[0].actors}) == len(scenes[0].actors)


def test_labels_are_named_by_their_type():
    for seed in range(5):
        for actor in sample_scene(np.random.default_rng(seed), duration=1.0, extent=30.0).actors:
            assert actor.name.startswith(KINDS.get(actor.waymo_type, "clutter"))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 6.0), st.floats(15.0, 80.0))
def test_everything_comes_within_the_extent(seed, duration, extent):
    scene = sample_scene(np.random.default_rng(seed), duration=duration, extent=extent)
    end, nearest = scene.ego.speed * duration, np.full(len(scene.actors), np.inf)
    for time in np.linspace(0.0, duration, int(10 * duration) + 2):
        x, y = scene.actors_at(float(time))[:, :2].T
        along = np.maximum(np.maximum(-x, x - end), 0.0)
        nearest = np.minimum(nearest, np.hypot(along, y - scene.ego.lane))
    still = np.array([actor.speed == 0.0 for actor in scene.actors])
    assert nearest[still].max() <= extent
    assert nearest.max() <= extent + 1.5  # one may be inside between two of these times only


def test_most_scenes_are_dry_and_some_are_not():
    weather = [
        sample_scene(np.random.default_rng(seed), duration=0.1, extent=15.0).weather.name
        for seed in range(60)
    ]
    assert 0.7 < weather.count("sunny") / 60 < 1.0


def test_the_recording_car_keeps_a_lane_of_its_street():
    speeds = []
    for seed in range(30):
        scene = sample_scene(np.random.default_rng(seed), duration=1.0, extent=20.0)
        ground, lane = scene.ground, scene.ego.lane
        assert ground.middle - ground.road + 1.4 < lane < ground.middle + ground.road - 1.4
        # The painted lines are the lanes' edges: none is under the car.
        assert np.abs(ground.lines - lane).min() > 1.4
        speeds.append(scene.ego.speed)
    assert 0.05 < np.mean(np.array(speeds) == 0.0) < 0.6


def test_parts_lie_inside_their_labels():
    for seed in range(5):
        scene = sample_scene(np.random.default_rng(seed), duration=1.0, extent=30.0)
        for actor in scene.actors:
            if not actor.waymo_type:
                continue
            for part in actor.shape.parts:
                outer = np.abs(part[:2]) + np.array(part[3:5])
                assert (outer <= np.array(actor.shape.size[:2]) / 2 - 0.02).all()
                assert part.z - part.half_height >= 0.0
                assert part.z + part.half_height <= actor.shape.size[2] - 0.02


def test_traffic_keeps_its_lane_for_twenty_seconds():
    scene = sample_scene(np.random.default_rng(2), duration=20.0, extent=50.0)
    start, stop = scene.actors_at(0.0), scene.actors_at(20.0)
    way = stop[:, :2] - start[:, :2]
    moving = [
        i
        for i, actor in enumerate(scene.actors)
        if actor.waymo_type == 1 and actor.speed > 1 and abs(np.sin(actor.heading)) < 0.2
    ]
    assert len(moving) > 3
    assert np.abs(way[moving, 0]).min() > 20.0
    assert np.abs(way[moving, 1]).max() < 1.2


@given(st.floats(-3, 3), st.floats(0, 15), st.floats(-0.8, 0.8), st.floats(0, 2))
def test_advance_follows_the_arc(heading, speed, turn_rate, time):
    steps = 2000
    angles = heading + turn_rate * (np.arange(steps) + 0.5) * time / steps
    expected = np.array([np.cos(angles).sum(), np.sin(angles).sum()]) * speed * time / steps
    zero = np.zeros(1)
    x, y, after = advance(zero, zero, zero + heading, zero + speed, zero + turn_rate, time)
    np.testing.assert_allclose([x[0], y[0]], expected, atol=1e-4)
    assert after[0] == pytest.approx(heading + turn_rate * time)


@given(st.tuples(*[st.floats(-3, 3)] * 6))
def test_pose_matrices_are_rotations_in_the_stated_order(values):
    angles = np.array(values)
    roll, pitch, yaw = angles[:3]
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]]
    )
    about_y = np.array(
        [[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]]
    )
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    pose = pose_matrix(angles)
    np.testing.assert_allclose(pose[:3, :3], about_z @ about_y @ about_x, atol=1e-12)
    np.testing.assert_array_equal(pose[:3, 3], angles[3:])


def test_the_car_stands_on_the_ground_and_leans_with_it():
    scene = sample_scene(np.random.default_rng(1), duration=1.0, extent=30.0)
    angles = scene.ego_angles(np.array([0.4]))
    pose = pose_matrix(angles)[0]
    ahead = pose[:3, :3] @ [1.0, 0.0, 0.0] * 0.5 + pose[:3, 3]
    aside = pose[:3, :3] @ [0.0, 1.0, 0.0] * 0.5 + pose[:3, 3]
    for place in (pose[:3, 3], ahead, aside):
        height = scene.ground.height(place[:1], place[1:2])[0]
        assert place[2] == pytest.approx(height, abs=2e-3)
