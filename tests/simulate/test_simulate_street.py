from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.simulate.density import KINDS
from kd3d.simulate.placing import Placer
from kd3d.simulate.population import VEHICLE, Population
from kd3d.simulate.scene import Actor, EgoPath, advance
from kd3d.simulate.shapes import Shape
from kd3d.simulate.street import Opening, draw_street

AWAY = EgoPath(lane=900.0, speed=0.0, sway=0.0, period=6.0, phase=0.0)


def street_of(seed=0, kind=KINDS[2], **changes):
    rng = np.random.default_rng(seed)
    street = draw_street(rng, kind, x=0.0, heading=0.0, span=(-50.0, 50.0))
    return replace(street, **changes)


@given(st.floats(-1 / 90, 1 / 90), st.floats(-60, 60), st.floats(-15, 15), st.floats(-4, 4))
def test_places_on_a_bend_keep_their_distance_from_the_middle(curvature, along, across, heading):
    street = street_of(curvature=curvature, heading=heading, x=3.0)
    middle, aside = street.locate(along, 0.0), street.locate(along, across)
    assert np.hypot(aside[0] - middle[0], aside[1] - middle[1]) == pytest.approx(abs(across))
    assert aside[2] == pytest.approx(heading + curvature * along)
    # The middle line has unit speed in the direction of its heading.
    step = np.array(street.locate(along + 1e-4, 0.0)) - middle
    np.testing.assert_allclose(step[:2] / 1e-4, [np.cos(aside[2]), np.sin(aside[2])], atol=1e-5)
    left = np.array(aside[:2]) - middle[:2]
    assert left @ [-np.sin(aside[2]), np.cos(aside[2])] == pytest.approx(across, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.floats(-1 / 90, 1 / 90), st.floats(-8, 8), st.sampled_from([0.0, np.pi]))
def test_moving_actors_follow_the_bend(curvature, across, way):
    street = street_of(curvature=curvature)
    population = Population(np.random.default_rng(0), Placer(AWAY, 3.0), 3.0)
    shape = Shape((4.0, 2.0, 1.5), ())
    assert population.put(street, VEHICLE, shape, (5.0, across), way, speed=8.0)
    (actor,) = population.placer.actors
    state = [np.array([v]) for v in (actor.x, actor.y, actor.heading, 8.0, actor.turn_rate)]
    x, y, heading = (float(v[0]) for v in advance(*state, 3.0))
    travelled = 24.0 / (1.0 - curvature * across) * (1.0 if way == 0.0 else -1.0)
    expected = street.locate(5.0 + travelled, across)
    np.testing.assert_allclose([x, y], expected[:2], atol=1e-6)
    assert np.cos(heading - expected[2] - way) == pytest.approx(1.0)


def test_the_cross_section_adds_up():
    for seed in range(20):
        for kind in KINDS:
            street = street_of(seed, kind)
            for side, sign in ((0, -1), (1, 1)):
                strip = street.sides[side]
                edges = [street.lane_middle(side, n) * sign for n in range(strip.lanes)]
                assert np.diff([street.median / 2 - street.lane / 2, *edges]) == pytest.approx(
                    street.lane
                )
                assert street.lanes_end(side) <= street.kerb(side) < street.pavement_end(side)
                width = street.kerb(side) - street.lanes_end(side)
                assert width == pytest.approx(strip.bicycle + strip.parking)
            assert 3.0 <= street.lane <= 3.55
            assert street.sides[0].lanes >= 1
            assert street.sides[1].way == (np.pi if street.sides[1].lanes else 0.0)


def test_streets_vary():
    streets = [street_of(seed, kind) for seed in range(40) for kind in KINDS]
    lanes = {(s.sides[0].lanes, s.sides[1].lanes) for s in streets}
    assert {(1, 0), (1, 1), (2, 2)} <= lanes
    assert {side.parking for s in streets for side in s.sides} == {0.0, 2.4, 5.2}
    assert {side.bicycle > 0 for s in streets for side in s.sides} == {True, False}
    assert {s.median > 0 for s in streets} == {True, False}


def test_an_opening_counts_on_its_sides_only():
    street = street_of(opening=Opening(10.0, 20.0, (True, False)))
    assert street.is_open(0, 12.0)
    assert not street.is_open(1, 12.0)
    assert not street.is_open(0, 8.0)
    assert street.is_open(0, 8.0, room=3.0)
    assert not street_of().is_open(0, 12.0)


def box(x, y, heading=0.0, speed=0.0, turn_rate=0.0):
    return Actor("a", 1, Shape((4.0, 2.0, 1.5), ()), x, y, heading, speed, turn_rate)


def test_the_placer_refuses_what_meets_at_any_time():
    placer = Placer(AWAY, 2.0)
    assert placer.add(box(0.0, 0.0, speed=10.0))
    assert not placer.add(box(20.0, 0.5))  # it is hit at the end
    assert placer.add(box(20.0, 3.0))
    assert not placer.add(box(10.0, -10.0, np.pi / 2, speed=10.0))  # both reach (10, 0) after 1 s
    assert placer.add(box(10.0, -26.0, np.pi / 2, speed=10.0))  # this one passes behind
    assert len(placer.actors) == 3


def test_the_placer_keeps_margins_and_the_recording_car_free():
    placer = Placer(EgoPath(0.0, 5.0, 0.0, 6.0, 0.0), 2.0)
    assert not placer.add(box(8.0, 0.0))
    assert placer.add(box(8.0, 5.0), margin=0.0)
    assert not placer.add(box(8.0, 7.3), margin=0.5)
    assert placer.add(box(8.0, 7.3), margin=0.1)


def test_the_placer_refuses_what_never_comes_near():
    placer = Placer(EgoPath(0.0, 5.0, 0.0, 6.0, 0.0), 2.0, reach=30.0)
    assert placer.add(box(39.0, 3.0))
    assert not placer.add(box(41.0, 3.0))
    assert placer.add(box(44.0, 7.0, np.pi, speed=5.0))
    assert not placer.add(box(0.0, 31.0))


def test_many_actors_fit_in_the_placer():
    placer = Placer(AWAY, 0.5)
    taken = sum(placer.add(box(5.0 * n, 0.0)) for n in range(300))
    assert taken == 300
    assert not any(placer.add(box(5.0 * n + 1.0, 0.5)) for n in range(300))
