import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kd3d.simulate.ground import Ground, sample_ground
from kd3d.simulate.intersect import meet_boxes, meet_cylinders, meet_leaning
from kd3d.simulate.raycast import cast
from kd3d.simulate.rays import Rays, sensor_rays
from kd3d.simulate.scene import pose_matrix
from kd3d.simulate.sensors import default_sensors
from kd3d.simulate.windows import Parts

FAR_DOWN = Ground(np.zeros(2), np.zeros((0, 4)), np.array([0.0]), 8.0, 12.0)
BELOW = pose_matrix(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 500.0]))


def random_parts(rng: np.random.Generator, count: int) -> Parts:
    half = rng.uniform(0.05, 4.0, (count, 3))
    is_round = rng.random(count) < 0.4
    half[is_round, 1] = half[is_round, 0]
    lean = rng.uniform(0.0, 0.9, (count, 3)) * half[:, [0, 0, 1]]
    lean[is_round | (rng.random(count) < 0.5)] = 0.0
    return Parts(
        centre=rng.uniform([-30, -30, -1], [30, 30, 4], (count, 3)),
        half=half,
        heading=rng.uniform(-4, 4, count),
        is_round=is_round,
        free_path=np.full(count, np.inf),
        actor=np.arange(count),
        transmission=np.zeros(count, dtype=np.float32),
        lean=lean,
    )


def moving_rays(sensor, speed: float, turn: float) -> Rays:
    if not sensor.is_top:
        return sensor_rays(sensor)
    times = np.linspace(-0.05, 0.05, sensor.columns)
    angles = np.zeros((sensor.columns, 6))
    angles[:, 2], angles[:, 3] = turn * times, speed * times
    return sensor_rays(sensor, pose_matrix(angles))


def between_planes(start, way, half, lean) -> tuple[np.ndarray, np.ndarray]:
    """``[N, 3]`` entries and exits of the three pairs of planes."""
    low, high = np.full(start.shape, -np.inf), np.full(start.shape, np.inf)
    slopes = [(lean[0], lean[1]), (lean[2], lean[2]), (0.0, 0.0)]
    for axis, pair in enumerate(slopes):
        for sign, inward in zip((1.0, -1.0), pair, strict=True):
            # inside: sign * p[axis] <= half - inward * (share of the height)
            rise = inward / (2 * half[2])
            room = half[axis] - rise * (start[:, 2] + half[2]) - sign * start[:, axis]
            pace = sign * way[:, axis] + rise * way[:, 2]
            cut = room / np.where(np.abs(pace) < 1e-12, 1e-12, pace)
            low[:, axis] = np.where(pace < 0, np.maximum(low[:, axis], cut), low[:, axis])
            high[:, axis] = np.where(pace > 0, np.minimum(high[:, axis], cut), high[:, axis])
    return low, high


def nearest_of_all(rays: Rays, parts: Parts) -> np.ndarray:
    """Every ray against every part in float64, by the parts' implicit inequalities."""
    origin = np.broadcast_to(
        rays.origin[:, None] if len(rays.origin) == 1 else rays.origin[None],
        (rays.sensor.rows, rays.sensor.columns, 3),
    ).reshape(-1, 3)
    best = np.full(len(rays.direction), np.inf)
    for i in range(len(parts.heading)):
        cos, sin = np.cos(parts.heading[i]), np.sin(parts.heading[i])
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        start = (origin.astype(np.float64) - parts.centre[i]) @ turn.T
        way = rays.direction.astype(np.float64) @ turn.T
        way = np.where(np.abs(way) < 1e-12, 1e-12, way)
        if parts.lean[i].any():
            low, high = between_planes(start, way, parts.half[i], parts.lean[i])
        else:
            one, two = (-parts.half[i] - start) / way, (parts.half[i] - start) / way
            low, high = np.minimum(one, two), np.maximum(one, two)
        if parts.is_round[i]:
            a = (way[:, :2] ** 2).sum(1)
            b = (way[:, :2] * start[:, :2]).sum(1)
            c = (start[:, :2] ** 2).sum(1) - parts.half[i, 0] ** 2
            root = np.sqrt(np.maximum(b * b - a * c, 0))
            miss = b * b < a * c
            low = np.stack([np.where(miss, np.inf, (-b - root) / a), low[:, 2]], 1)
            high = np.stack([(-b + root) / a, high[:, 2]], 1)
        enter, leave = low.max(1), high.min(1)
        met = (enter < leave) & (enter > 0) & (enter < rays.sensor.reach)
        best = np.where(met & (enter < best), enter, best)
    best[~rays.is_open] = np.inf
    return best


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 25.0), st.floats(-0.6, 0.6))
@example(1, 25.0, 0.6)
@example(2, 25.0, -0.6)
@example(226, 6.0, 0.0)
def test_windows_lose_no_hit(seed, speed, turn):
    """The nearest part by windows equals the nearest of all rays against all parts."""
    rng = np.random.default_rng(seed)
    parts = random_parts(rng, 25)
    for sensor in default_sensors(0.06):
        rays = moving_rays(sensor, speed, turn)
        hits = cast(rays, parts, FAR_DOWN, BELOW, rng)
        expected = nearest_of_all(rays, parts)
        agree = np.isclose(hits.distance, expected, atol=2e-3, rtol=0)
        agree |= np.isinf(hits.distance) & np.isinf(expected)
        # float32 and float64 may disagree about rays that graze an edge
        assert (~agree).sum() <= 3
        assert ((hits.part >= 0) == np.isfinite(hits.distance)).all()


def test_what_is_behind_belongs_to_another_actor():
    parts = Parts(
        centre=np.array([[10.0, 0, 1], [11.0, 0, 1], [14.0, 0, 1]]),
        half=np.array([[0.2, 1.0, 1.0], [0.2, 1.0, 1.0], [0.2, 5.0, 5.0]]),
        heading=np.zeros(3),
        is_round=np.zeros(3, dtype=bool),
        free_path=np.full(3, np.inf),
        actor=np.array([0, 0, 1]),
        transmission=np.zeros(3, dtype=np.float32),
        lean=np.zeros((3, 3)),
    )
    rays = sensor_rays(default_sensors(0.1)[0])
    hits = cast(rays, parts, FAR_DOWN, BELOW, np.random.default_rng(0))
    front = hits.part == 0
    assert front.sum() > 20
    assert set(hits.behind_part[front]) == {2}
    gap = hits.behind[front] - hits.distance[front]
    np.testing.assert_allclose(gap, 4.0, atol=0.4)
    assert np.isinf(hits.behind[hits.part < 0]).all()


def test_rays_that_start_inside_a_part_ignore_it():
    parts = Parts(
        centre=np.array([[1.43, 0.0, 2.0]]),
        half=np.array([[3.0, 3.0, 3.0]]),
        heading=np.zeros(1),
        is_round=np.zeros(1, dtype=bool),
        free_path=np.full(1, np.inf),
        actor=np.zeros(1, dtype=np.int64),
        transmission=np.zeros(1, dtype=np.float32),
        lean=np.zeros((1, 3)),
    )
    hits = cast(
        sensor_rays(default_sensors(0.1)[0]), parts, FAR_DOWN, BELOW, np.random.default_rng(0)
    )
    assert np.isinf(hits.distance).all()


@given(st.integers(0, 10_000))
def test_entry_points_lie_on_the_surface(seed):
    rng = np.random.default_rng(seed)
    away = rng.uniform(-20, 20, (200, 3)).astype(np.float32)
    target = rng.uniform(-2, 2, (200, 3)).astype(np.float32)
    way = target - away
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    half = rng.uniform(0.2, 3.0, (200, 3)).astype(np.float32)
    half[:, 1] = half[:, 0]

    entry, leave, cosine = meet_boxes(away, way, half)
    hit = (leave > entry) & (entry > 0)
    outer = np.abs(away + entry[:, None] * way) - half
    np.testing.assert_allclose(outer.max(axis=1)[hit], 0.0, atol=1e-4)
    assert ((cosine >= 0) & (cosine <= 1.0001))[hit].all()

    lean = (rng.uniform(0.0, 0.9, (200, 3)) * half[:, [0, 0, 1]]).astype(np.float32)
    entry, leave, cosine = meet_leaning(away, way, half, lean)
    hit = (leave > entry) & (entry > 0)
    place = (away + entry[:, None] * way)[hit]
    share = lean[hit] * (place[:, 2:] / half[hit, 2:] + 1) / 2
    ahead, aside = place[:, 0], np.abs(place[:, 1]) + share[:, 2]
    outer = np.stack([ahead + share[:, 0], share[:, 1] - ahead, aside, np.abs(place[:, 2])], axis=1)
    np.testing.assert_allclose((outer - half[hit][:, [0, 0, 1, 2]]).max(axis=1), 0.0, atol=1e-3)
    assert ((cosine >= 0) & (cosine <= 1.0001))[hit].all()
    assert hit.sum() > 20

    entry, leave, cosine = meet_cylinders(away, way, half)
    hit = (leave > entry) & (entry > 0)
    place = away + entry[:, None] * way
    side = np.hypot(place[:, 0], place[:, 1]) - half[:, 0]
    outer = np.maximum(side, np.abs(place[:, 2]) - half[:, 2])
    np.testing.assert_allclose(outer[hit], 0.0, atol=2e-3)
    assert ((cosine >= 0) & (cosine <= 1.0001))[hit].all()


@given(st.integers(0, 10_000))
def test_rays_end_on_the_ground(seed):
    rng = np.random.default_rng(seed)
    ground = sample_ground(rng, np.array([0.0]), 8.0, 12.0)
    x, y = rng.uniform(-50, 50, 2)
    origin = np.array([[x, y, ground.height(np.array(x), np.array(y)) + 2.0]])
    azimuth, down = rng.uniform(-np.pi, np.pi, 300), rng.uniform(-0.1, 1.5, 300)
    direction = np.stack(
        [np.cos(azimuth) * np.cos(down), np.sin(azimuth) * np.cos(down), -np.sin(down)], axis=1
    )
    distance, cosine = ground.cast(origin, direction, 75.0)
    met = np.isfinite(distance)
    place = origin + distance[met, None] * direction[met]
    np.testing.assert_allclose(place[:, 2], ground.height(place[:, 0], place[:, 1]), atol=0.01)
    assert met[down > 0.06].all()
    assert (np.abs(cosine[met] - np.sin(down[met])) < 0.04).all()
    assert (distance[met] < 75.0).all()


def test_own_body_blocks_only_the_bumper_sensors():
    top, *others = (sensor_rays(sensor) for sensor in default_sensors(0.1))
    assert top.is_open.all()
    for rays in others:
        assert 0.2 < rays.is_open.mean() < 0.6


@given(st.integers(0, 10_000))
def test_sides_that_do_not_lean_are_those_of_a_box(seed):
    rng = np.random.default_rng(seed)
    away = rng.uniform(-20, 20, (100, 3)).astype(np.float32)
    way = rng.uniform(-2, 2, (100, 3)).astype(np.float32) - away
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    half = rng.uniform(0.2, 3.0, (100, 3)).astype(np.float32)
    plain = meet_boxes(away, way, half)
    leaning = meet_leaning(away, way, half, np.zeros_like(half))
    for one, two in zip(plain, leaning, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)


def test_paint_is_brighter_than_asphalt():
    ground = Ground(np.zeros(2), np.zeros((0, 4)), np.array([0.0, 3.5]), 8.0, 12.0)
    painted, asphalt, pavement, soil = ground.reflectivity(np.array([3.52, 5.0, 10.0, 40.0]))
    assert painted > pavement > asphalt
    assert soil == pytest.approx(ground.reflectivity(np.array([-40.0]))[0])
