import numpy as np
import pytest
import torch

from kd3d.geometry import count_points_in_boxes
from kd3d.simulate import Actor, EgoPath, Scene, default_sensors, render_frames, sample_scene
from kd3d.simulate.ground import Ground
from kd3d.simulate.materials import FOLIAGE, matt
from kd3d.simulate.shapes import LABEL_LIFT, Shape, block
from kd3d.waymo import RawFrame, decode_frame, encode_frame

LEVEL = Ground(np.zeros(2), np.zeros((0, 4)), np.array([0.0]), road=8.0, pavement=12.0)
STANDING = EgoPath(lane=0.0, speed=0.0, sway=0.0, period=6.0, phase=0.0)


def scene_with(*actors: Actor, ego: EgoPath = STANDING, ground: Ground = LEVEL) -> Scene:
    return Scene(ground, actors, ego, bearing=0.7, offset=np.array([900.0, -1500.0, 40.0]))


def render(scene: Scene, *, frames: int = 1, resolution: float = 0.1) -> list[RawFrame]:
    sensors = default_sensors(resolution)
    return list(render_frames(scene, sensors, frames=frames, name="test", seed=(1,)))


def solid(length: float, width: float, height: float, reflectivity: float = 0.6) -> Shape:
    part = block(
        (-length / 2, length / 2), (-width / 2, width / 2), (0.0, height), matt(reflectivity)
    )
    return Shape((length, width, height), (part,))


@pytest.fixture(scope="module")
def street() -> list[RawFrame]:
    scene = sample_scene(np.random.default_rng(5), duration=1.0, extent=40.0)
    return render(scene, frames=3)


def test_labels_state_the_points_in_their_boxes(street):
    counted = 0
    for raw in street:
        frame = decode_frame(encode_frame(raw), "test")
        points, boxes = torch.from_numpy(frame.points).double(), torch.from_numpy(frame.boxes)
        inside = count_points_in_boxes(points, boxes.double())
        np.testing.assert_array_equal(frame.num_points, inside.numpy())
        top = count_points_in_boxes(points[torch.from_numpy(frame.laser == 1)], boxes.double())
        assert [label.num_top_points for label in raw.labels] == top.tolist()
        counted += int(inside.sum())
        assert set(frame.difficulty) == {0}
        assert not frame.in_nlz.any()
    assert counted > 1000


def test_boxes_without_points_are_kept():
    house = Actor("house", 0, solid(1.0, 30.0, 10.0), 10.0, 0.0, 0.0)
    hidden = Actor("hidden", 1, solid(4.0, 2.0, 1.5), 16.0, 0.0, 0.0)
    (frame,) = render(scene_with(house, hidden))
    (label,) = frame.labels
    assert (label.id, label.num_points, label.num_top_points) == ("hidden", 0, 0)


def test_a_car_is_hit_on_the_faces_towards_the_sensor():
    car = Actor("car", 1, solid(4.0, 2.0, 1.5), 12.0, 6.0, 0.5)
    (raw,) = render(scene_with(car), resolution=0.5)
    frame = decode_frame(encode_frame(raw), "test")
    offset = frame.points[:, :3] - [12.0, 6.0, 0.0]
    cos, sin = np.cos(0.5), np.sin(0.5)
    x = cos * offset[:, 0] + sin * offset[:, 1]
    y = cos * offset[:, 1] - sin * offset[:, 0]
    z = frame.points[:, 2]
    over = (np.abs(x) < 2.1) & (np.abs(y) < 1.1) & (z > 0.1)
    assert over.sum() > 300
    gap = np.min([np.abs(np.abs(x) - 2.0), np.abs(np.abs(y) - 1.0), np.abs(z - 1.5)], axis=0)
    assert gap[over].max() < 0.1
    assert np.median(gap[over]) < 0.02
    # Nothing comes from the ground in the car's shadow, where the line from TOP passes through it.
    shadow = (np.hypot(frame.points[:, 0] - 1.43, frame.points[:, 1]) > 16.0) & (z < 0.1)
    shadow &= (frame.laser == 1) & (frame.return_index == 1)
    bearing = np.arctan2(frame.points[:, 1], frame.points[:, 0] - 1.43)
    behind = shadow & (np.abs(bearing - np.arctan2(6.0, 12.0 - 1.43)) < 0.03)
    reach = np.hypot(frame.points[:, 0], frame.points[:, 1])
    assert not (behind & (reach < 30.0)).any()
    assert (shadow & (reach < 30.0)).sum() > 100


def test_points_on_the_ground_follow_its_relief():
    ground = Ground(
        np.array([0.01, -0.012]), np.array([[0.06, 0.1, 0.03, 1.0]]), np.array([0.0]), 8.0, 12.0
    )
    scene = scene_with(ground=ground, ego=EgoPath(-1.75, 12.0, 0.2, 6.0, 0.3))
    for raw in render(scene, frames=2):
        frame = decode_frame(encode_frame(raw), "test")
        world = frame.points[:, :3] @ frame.pose[:3, :3].T + frame.pose[:3, 3] - scene.offset
        cos, sin = np.cos(scene.bearing), np.sin(scene.bearing)
        x, y = cos * world[:, 0] + sin * world[:, 1], cos * world[:, 1] - sin * world[:, 0]
        assert len(world) > 3000
        assert np.abs(world[:, 2] - ground.height(x, y)).max() < 0.08


def test_motion_during_the_sweep_is_in_the_pixel_poses():
    wall = Actor("wall", 0, solid(0.5, 60.0, 8.0), 30.0, 0.0, 0.0)
    scene = scene_with(wall, ego=EgoPath(0.0, 20.0, 0.0, 6.0, 0.0))
    (raw,) = render(scene)
    top = raw.lasers[0]
    assert np.ptp(top.pixel_pose[0, :, 3:5], axis=0).max() > 1.0
    frame = decode_frame(encode_frame(raw), "test")
    on_wall = frame.points[(frame.laser == 1) & (frame.points[:, 2] > 0.3)]
    assert len(on_wall) > 300
    assert np.abs(on_wall[:, 0] - 29.75).max() < 0.1


def test_labels_stand_on_the_ground():
    car = Actor("car", 1, solid(4.0, 2.0, 1.5), 12.0, 6.0, 0.5)
    (frame,) = render(scene_with(car))
    expected = [12.0, 6.0, (1.5 + LABEL_LIFT) / 2, 4.0, 2.0, 1.5 - LABEL_LIFT, 0.5]
    np.testing.assert_allclose(frame.labels[0].box, expected, atol=1e-9)


def test_second_returns_lie_behind_the_first(street):
    seconds = 0
    for frame in street:
        for laser in frame.lasers:
            first, second = laser.returns[0][..., 0], laser.returns[1][..., 0]
            both = second > 0
            assert (first[both] > 0).all()
            assert (second[both] - first[both] > 0.25).all()
            seconds += int(both.sum())
    assert seconds > 100


def test_empty_pixels_hold_minus_one_and_values_are_sane(street):
    for laser in street[0].lasers:
        for image in laser.returns:
            empty = image[..., 0] <= 0
            assert (image[empty] == -1).all()
            assert (image[..., 3] == -1).all()
            if laser.name != 1:
                assert image[..., 0].max() < 20.2
            values = image[~empty]
            assert values[:, 1].min(initial=0) >= 0
            assert values[:, 2].min(initial=0) >= 0
            assert values[:, 2].max(initial=0) <= 1.5


def test_resolution_thins_columns_and_keeps_beams():
    for resolution, top, side in ((1.0, 2650, 600), (0.25, 662, 150), (0.125, 331, 75)):
        shapes = [(s.rows, s.columns) for s in default_sensors(resolution)]
        assert shapes == [(64, top)] + 4 * [(200, side)]
    frame = render(scene_with(), resolution=0.25)[0]
    assert [laser.returns[0].shape for laser in frame.lasers] == [(64, 662, 4)] + 4 * [
        (200, 150, 4)
    ]


def test_objects_move_as_their_labels_say(street):
    """In the global frame a label advances by its speed, and its heading points that way."""
    moved = 0
    frames = [decode_frame(encode_frame(raw), "test") for raw in street]
    for raw, frame, after, raw_after in zip(street, frames, frames[1:], street[1:], strict=False):
        later = {label.id: row for row, label in enumerate(raw_after.labels)}
        assert len(later) == len(raw_after.labels)
        for row, label in enumerate(raw.labels):
            if label.id not in later:
                continue
            there = raw_after.labels[later[label.id]]
            start = frame.pose[:3, :3] @ label.box[:3] + frame.pose[:3, 3]
            stop = after.pose[:3, :3] @ there.box[:3] + after.pose[:3, 3]
            way = np.array(label.speed) * 0.1
            np.testing.assert_allclose((stop - start)[:2], way, atol=0.02)
            np.testing.assert_allclose(label.box[3:6], there.box[3:6])
            if np.hypot(*way) > 0.1:
                yaw = np.arctan2(frame.pose[1, 0], frame.pose[0, 0]) + frame.boxes[row, 6]
                assert np.cos(yaw - np.arctan2(way[1], way[0])) > 0.999
                moved += 1
    assert moved > 5


def test_noise_differs_between_frames_but_not_between_calls():
    scene = scene_with()
    first, second = render(scene, frames=2)
    again = render(scene, frames=2)[1]
    images = [frame.lasers[0].returns[0] for frame in (first, second, again)]
    assert (images[0] != images[1]).any()
    np.testing.assert_array_equal(images[1], images[2])


def test_bright_surfaces_return_more_intensity_and_foliage_lets_light_through():
    pale = Actor("pale", 1, solid(4.0, 2.0, 1.5, 0.8), 12.0, 5.0, 0.0)
    dark = Actor("dark", 1, solid(4.0, 2.0, 1.5, 0.08), 12.0, -5.0, 0.0)
    frame = decode_frame(encode_frame(render(scene_with(pale, dark))[0]), "test")
    high = frame.points[:, 2] > 0.2
    left = frame.points[high & (frame.points[:, 1] > 0), 3]
    right = frame.points[high & (frame.points[:, 1] < 0), 3]
    assert np.median(left) > 5 * np.median(right)

    leaves = block((-1.0, 1.0), (-1.0, 1.0), (0.0, 1.5), FOLIAGE, free_path=0.7)
    bush = Actor("bush", 0, Shape((2.0, 2.0, 1.5), (leaves,)), 12.0, 5.0, 0.0)
    frame = decode_frame(encode_frame(render(scene_with(bush))[0]), "test")
    inside = frame.points[(frame.points[:, 2] > 0.2) & (frame.return_index == 1)]
    depth = inside[:, 0] - 11.0
    assert ((depth > 0.3) & (depth < 1.7)).mean() > 0.3


def test_an_empty_scene_is_a_valid_frame():
    frame = decode_frame(encode_frame(render(scene_with())[0]), "test")
    assert frame.boxes.shape == (0, 7)
    assert len(frame.points) > 3000
