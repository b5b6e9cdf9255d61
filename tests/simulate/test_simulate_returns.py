import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd3d.errors import ConfigError
from kd3d.simulate import Actor, EgoPath, Scene, default_sensors, render_frames
from kd3d.simulate.ground import Ground
from kd3d.simulate.materials import (
    FOLIAGE,
    GLASS,
    METAL,
    REFLECTOR,
    RUBBER,
    Surface,
    echo_rows,
    echo_strength,
    ground_rows,
    lets_through,
    matt,
)
from kd3d.simulate.shapes import Part, Shape, block, unlabelled
from kd3d.simulate.weather import CLEAR, Weather, fog, rain, sample_weather
from kd3d.waymo import Frame, RawFrame, decode_frame, encode_frame

LEVEL = Ground(np.zeros(2), np.zeros((0, 4)), np.array([0.0]), road=8.0, pavement=12.0)
STANDING = EgoPath(lane=0.0, speed=0.0, sway=0.0, period=6.0, phase=0.0)
WHITE, BLACK = Surface(0.7, gloss=0.3), Surface(0.02, gloss=0.3)


def render(*actors: Actor, weather: Weather = CLEAR, resolution: float = 0.25) -> RawFrame:
    scene = Scene(LEVEL, actors, STANDING, 0.0, np.zeros(3), weather)
    sensors = default_sensors(resolution)[:1]
    return next(iter(render_frames(scene, sensors, frames=1, name="test", seed=(1,))))


def panel(surface: Surface, distance: float, turn: float = 0.0, *behind: Part) -> Actor:
    """A panel of 4 m by 1.4 m across the x axis, 0.4 m above the ground."""
    front = block((-0.05, 0.05), (-2.0, 2.0), (0.4, 1.8), surface)
    return Actor("panel", 0, unlabelled([front, *behind]), distance, 0.0, turn)


def above_ground(raw: RawFrame) -> Frame:
    return decode_frame(encode_frame(raw), "test")


def echoes(raw: RawFrame, *, first: bool = True) -> np.ndarray:
    """``[N, 5 or more]`` points above the ground of one return."""
    frame = above_ground(raw)
    chosen = (frame.points[:, 2] > 0.3) & (frame.return_index == (1 if first else 2))
    return frame.points[chosen]


def strength(surface: Surface, cosine: float) -> float:
    rows = np.repeat(echo_rows(np.array([surface])), 1, axis=0)
    return float(echo_strength(rows, np.array([cosine], dtype=np.float32))[0])


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_matt_surface_follows_the_cosine(diffuse, cosine):
    assert strength(matt(diffuse), cosine) == pytest.approx(diffuse * cosine, rel=1e-4)


@given(
    st.floats(0.01, 0.9),
    st.floats(0.0, 0.6),
    st.floats(0.0, 1.0),
    st.floats(0.0, 6.0),
    st.floats(0.02, 1.0),
    st.floats(0.02, 1.0),
)
def test_light_falls_with_the_angle(diffuse, roughness, gloss, retro, one, two):
    surface = Surface(diffuse, roughness, gloss, retro)
    low, high = sorted((one, two))
    assert strength(surface, low) <= strength(surface, high) * (1 + 1e-4) + 1e-6


def test_rough_surfaces_stay_bright_at_grazing_angles_and_coated_ones_do_not():
    grazing = np.cos(np.radians(80.0))
    rough, plain, coated = (
        strength(surface, grazing)
        for surface in (matt(0.3, 0.5), matt(0.3), Surface(0.3, gloss=0.3))
    )
    assert rough > 1.5 * plain
    assert coated < 0.5 * plain
    assert strength(Surface(0.3, gloss=0.3), 1.0) == pytest.approx(0.6, rel=1e-3)


def test_wet_ground_is_darker_and_a_mirror_at_grazing_angles():
    cover = np.array([0.1, 0.5], dtype=np.float32)
    for cosine, share in ((1.0, 0.5), (0.05, 0.2)):
        angle = np.full(2, cosine, dtype=np.float32)
        dry, wet = (echo_strength(ground_rows(cover, wetness), angle) for wetness in (0.0, 1.0))
        np.testing.assert_array_less(wet, (share + 0.01) * dry)
    np.testing.assert_allclose(ground_rows(cover)[:, 2:], 0.0)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_pane_passes_less_at_grazing_angles(share, cosine):
    passes = lets_through(np.float32([share, share]), np.float32([cosine, 1.0]))
    assert 0.0 <= passes[0] <= passes[1] == pytest.approx(share, abs=1e-6)


def test_glass_loses_most_returns():
    paint = len(echoes(render(panel(WHITE, 15.0, 0.5))))
    glass = len(echoes(render(panel(GLASS, 15.0, 0.5))))
    assert paint > 150
    assert glass < 0.15 * paint


def test_glass_answers_weakly_at_normal_incidence_only():
    straight = echoes(render(panel(GLASS, 10.0)))
    oblique = echoes(render(panel(GLASS, 10.0, 0.6)))
    paint = echoes(render(panel(WHITE, 10.0)))
    assert len(straight) > 2 * len(oblique)
    assert len(straight) < 0.6 * len(paint)
    assert np.median(straight[:, 3]) < 0.1 * np.median(paint[:, 3])


def test_what_lies_behind_a_pane_answers():
    seat = block((1.0, 1.2), (-2.0, 2.0), (0.4, 1.8), matt(0.4))
    depths = {}
    for name, surface in (("glass", GLASS), ("paint", WHITE)):
        points = echoes(render(panel(surface, 15.0, 0.3, seat)))
        depths[name] = np.cos(0.3) * (points[:, 0] - 15.0) + np.sin(0.3) * points[:, 1]
        assert len(points) > 100
    assert (depths["glass"] > 0.8).mean() > 0.65
    assert (depths["paint"] < 0.2).mean() > 0.9


def test_wheels_drop_returns():
    paint, rubber = (len(echoes(render(panel(surface, 15.0)))) for surface in (WHITE, RUBBER))
    assert 0.4 * paint < rubber < 0.8 * paint


def test_dark_polished_panels_lose_returns_at_grazing_angles():
    counts = {}
    for name, surface in (("black", BLACK), ("white", WHITE)):
        facing, grazing = (
            echoes(render(panel(surface, 25.0, turn), resolution=1.0)) for turn in (0.3, 1.35)
        )
        counts[name] = len(grazing) / len(facing)
    assert counts["black"] < 0.7 * counts["white"]


@pytest.mark.parametrize("surface", [WHITE, matt(0.5), matt(0.5, 0.5), METAL, FOLIAGE])
def test_intensity_falls_with_the_angle(surface):
    medians = [
        np.median(echoes(render(panel(surface, 12.0, turn)))[:, 3]) for turn in (0.0, 0.8, 1.2)
    ]
    assert medians[0] > medians[1] > medians[2]


def test_retro_reflectors_are_brightest():
    for turn in (0.0, 0.5, 1.0):
        retro = np.median(echoes(render(panel(REFLECTOR, 15.0, turn)))[:, 3])
        for surface in (WHITE, matt(0.9), METAL):
            assert retro > 1.5 * np.median(echoes(render(panel(surface, 15.0, turn)))[:, 3])


def test_foliage_is_partial_and_gives_second_returns():
    leaves = block((-1.0, 1.0), (-2.0, 2.0), (0.4, 1.8), FOLIAGE, free_path=0.6)
    bush = Actor("bush", 0, unlabelled([leaves]), 15.0, 0.0, 0.0)
    wall = Actor(
        "wall", 0, unlabelled([block((-0.1, 0.1), (-8, 8), (0, 4), matt(0.5))]), 22.0, 0, 0
    )
    points = echoes(render(bush, wall))
    in_bush = (np.abs(points[:, 1]) < 1.5) & (points[:, 2] < 1.6) & (points[:, 0] < 20.0)
    through = (np.abs(points[:, 1]) < 2.0) & (points[:, 2] < 1.0) & (points[:, 0] > 20.0)
    assert np.ptp(points[in_bush, 0]) > 1.0
    assert in_bush.sum() > 100
    assert through.sum() > 3
    assert len(echoes(render(bush, wall), first=False)) > 20


def ground_and_walls(weather: Weather) -> tuple[int, int, int]:
    """Returns of a near wall, of a far wall, and of far ground."""
    near = Actor(
        "near",
        0,
        Shape((0.2, 6.0, 3.0), (block((-0.1, 0.1), (-3, 3), (0, 3), matt(0.3)),)),
        12.0,
        -9.0,
        -0.6,
    )
    far = Actor(
        "far",
        0,
        Shape((0.2, 30.0, 8.0), (block((-0.1, 0.1), (-15, 15), (0, 8), matt(0.3)),)),
        -60.0,
        0.0,
        0.0,
    )
    frame = above_ground(render(near, far, weather=weather))
    x, y, z = frame.points[:, :3].T
    high = (z > 0.3) & (np.hypot(x, y) > 10.0)
    low = (z < 0.1) & (np.hypot(x, y) > 25.0)
    return int((high & (x > 0)).sum()), int((high & (x < -55.0)).sum()), int(low.sum())


def test_extinction_takes_far_returns_and_not_near_ones():
    clear, hazy = ground_and_walls(CLEAR), ground_and_walls(Weather("fog", extinction=0.025))
    assert min(clear) > 100
    assert hazy[0] > 0.9 * clear[0]
    assert hazy[1] < 0.35 * clear[1]


def test_dropout_takes_a_share_everywhere():
    clear, wet = ground_and_walls(CLEAR), ground_and_walls(Weather("rain", dropout=0.3))
    np.testing.assert_allclose(np.array(wet) / clear, 0.7, atol=0.08)


def test_wet_ground_vanishes_far_away_and_walls_do_not():
    dry, wet = ground_and_walls(CLEAR), ground_and_walls(Weather("rain", wetness=1.0))
    assert wet[2] < 0.6 * dry[2]
    assert wet[0] > 0.95 * dry[0]


def test_droplets_are_few_weak_near_and_in_front():
    share = 0.01
    clear = render(panel(WHITE, 20.0))
    raw = render(panel(WHITE, 20.0), weather=Weather("rain", backscatter=share))
    first, second = (image[..., 0] for image in raw.lasers[0].returns)
    both = second > 0
    assert (second[both] - first[both] > 0.25).all()
    assert both.sum() > (clear.lasers[0].returns[1][..., 0] > 0).sum() + 50
    frame = above_ground(raw)
    low, beyond = frame.points[:, 2] < 0.3, np.hypot(*frame.points[:, :2].T - [[1.43], [0.0]]) > 17
    drops = frame.points[~low & ~beyond]
    assert 0.2 * share < len(drops) / first.size < 1.1 * share
    assert drops[:, 3].max() < 0.021
    assert (np.linalg.norm(drops[:, :3] - [1.43, 0, 2.18], axis=1) < 17.0).mean() > 0.95
    for image in raw.lasers[0].returns:
        assert (image[image[..., 0] <= 0] == -1).all()
        assert (image[..., 3] == -1).all()


def test_the_record_names_the_weather():
    assert render().weather == "sunny"
    assert render(weather=rain(10.0)).weather == "rain"
    assert render(weather=fog(200.0)).weather == "fog"


def test_weather_is_mostly_clear_and_of_every_kind():
    drawn = [sample_weather(np.random.default_rng(seed)) for seed in range(600)]
    shares = {name: sum(w.name == name for w in drawn) / 600 for name in ("sunny", "rain", "fog")}
    assert 0.8 < shares["sunny"] < 0.9
    assert 0.06 < shares["rain"] < 0.14
    assert 0.02 < shares["fog"] < 0.08
    assert sum(shares.values()) == pytest.approx(1.0)
    assert sample_weather(np.random.default_rng(5)) == drawn[5]


def test_heavier_rain_and_thicker_fog_take_more():
    light, heavy = rain(2.0), rain(40.0)
    for field in ("extinction", "dropout", "backscatter", "wetness"):
        assert getattr(heavy, field) > getattr(light, field) > 0.0
    assert fog(100.0).extinction == pytest.approx(np.log(20.0) / 100.0)
    assert fog(100.0).backscatter > fog(400.0).backscatter > 0.0
    # 10 mm/h: 1.076 * 10 ** 0.67 dB/km
    assert rain(10.0).extinction == pytest.approx(5.033 / 4.343 / 1000.0, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: rain(0.0), "rate"),
        (lambda: rain(float("nan")), "rate"),
        (lambda: fog(10.0), "visibility"),
        (lambda: Weather("rain", extinction=-0.1), "extinction"),
        (lambda: Weather("rain", dropout=1.5), "dropout"),
        (lambda: Weather("rain", backscatter=float("nan")), "backscatter"),
        (lambda: Weather("rain", depth=0.0), "depth"),
        (lambda: Weather("rain", wetness=2.0), "wetness"),
    ],
)
def test_impossible_weather_is_named(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


PROGRAM = """
import hashlib, numpy as np
from kd3d.simulate import default_sensors, render_frames, sample_scene
from kd3d.waymo import encode_frame
scene = sample_scene(np.random.default_rng(3), duration=0.2, extent=40.0)
frames = render_frames(scene, default_sensors(0.1), frames=2, name="x", seed=(3,))
print(hashlib.sha256(b"".join(encode_frame(frame) for frame in frames)).hexdigest())
"""


def test_bytes_do_not_depend_on_the_number_of_threads():
    digests = set()
    for threads in ("1", "3"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1
