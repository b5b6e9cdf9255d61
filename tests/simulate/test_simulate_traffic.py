from dataclasses import replace

import numpy as np
import pytest

from kd3d.simulate import sample_scene
from kd3d.simulate.density import KINDS
from kd3d.simulate.placing import Placer
from kd3d.simulate.population import Population
from kd3d.simulate.scene import EgoPath, advance
from kd3d.simulate.street import Opening, draw_street
from kd3d.simulate.traffic import Flow, fill_cyclists, fill_lanes, fill_turns

AWAY = EgoPath(lane=900.0, speed=0.0, sway=0.0, period=6.0, phase=0.0)
MAIN_ROAD = KINDS[2]


def filled(seed, *, duration=2.0):
    rng = np.random.default_rng(seed)
    return Population(rng, Placer(AWAY, duration), duration)


def crossed(seed=0, kind=MAIN_ROAD):
    street = draw_street(np.random.default_rng(seed), kind, x=0.0, heading=0.0, span=(-60.0, 60.0))
    return replace(street, opening=Opening(-10.0, 10.0, (True, True)))


def way_of(actor, duration):
    times = np.linspace(0.0, duration, 9)
    ones = np.ones_like(times)
    state = (actor.x * ones, actor.y * ones, actor.heading * ones, actor.speed * ones)
    return np.stack(advance(*state, actor.turn_rate * ones, times))


def test_waiting_traffic_stays_before_the_crossing():
    standing = 0
    for seed in range(12):
        population = filled(seed)
        fill_lanes(population, crossed(seed), Flow(passes=False))
        for actor in population.placer.actors:
            x, half = way_of(actor, 2.0)[0], actor.shape.size[0] / 2
            ahead = 1.0 if np.cos(actor.heading) > 0 else -1.0
            before, behind = (ahead * x + half).max(), (ahead * x - half).min()
            assert before < -10.0 or behind > 10.0 - actor.shape.size[0]
            if actor.speed == 0.0:
                assert before < -11.0
                standing += 1
    assert standing > 10


def test_traffic_with_the_right_of_way_drives_over_the_crossing():
    inside = 0
    for seed in range(12):
        population = filled(seed)
        fill_lanes(population, crossed(seed), Flow(passes=True))
        inside += sum((np.abs(way_of(a, 2.0)[0]) < 10.0).any() for a in population.placer.actors)
    assert inside > 12


def test_a_jam_leaves_the_crossing_free():
    standing = 0
    for seed in range(6):
        population = filled(seed)
        fill_lanes(population, crossed(seed), Flow(passes=True, led=(0, 0), speed=0.0))
        led = [actor for actor in population.placer.actors if actor.speed == 0.0]
        assert all(abs(actor.x) - actor.shape.size[0] / 2 > 11.0 for actor in led)
        standing += len(led)
    assert standing > 20


def test_traffic_keeps_right_and_the_led_lane_keeps_its_speed():
    for seed in range(10):
        street, population = crossed(seed), filled(seed)
        fill_lanes(population, street, Flow(passes=True, led=(0, 0), speed=7.25))
        for actor in population.placer.actors:
            side = 0 if actor.y < 0 else 1
            assert np.cos(actor.heading - street.sides[side].way) > 0.99
            assert abs(actor.y) < street.lanes_end(side)
            if abs(actor.y - street.lane_middle(0, 0)) < 1.0:
                assert actor.speed == 7.25


@pytest.mark.parametrize("bicycle", [0.0, 1.8])
def test_cyclists_ride_on_their_lane_or_at_the_edge_of_the_road(bicycle):
    count = 0
    for seed in range(10):
        street = crossed(seed)
        sides = tuple(replace(side, bicycle=bicycle) for side in street.sides)
        street = replace(street, sides=sides)
        population = filled(seed)
        fill_cyclists(population, street)
        for actor in population.placer.actors:
            side = 0 if actor.y < 0 else 1
            edge = street.lanes_end(side)
            low, high = (edge, edge + bicycle) if bicycle else (edge - 1.2, edge)
            assert low < abs(actor.y) < high
            assert np.cos(actor.heading - street.sides[side].way) > 0.99
            assert actor.speed == 0.0 or 1.9 < actor.speed < 9.0
            count += 1
    assert count > 10


@pytest.mark.parametrize("span", [(-60.0, 60.0), (0.0, 60.0), (-60.0, 0.0)])
def test_turning_vehicles_go_from_one_street_into_the_other(span):
    arms = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        main = draw_street(rng, KINDS[0], x=0.0, heading=0.0, span=(-60.0, 60.0))
        side = draw_street(rng, KINDS[0], x=4.0, heading=np.pi / 2, span=span)
        population = filled(seed, duration=0.5)
        fill_turns(population, main, side)
        for actor in population.placer.actors:
            x, y, heading = way_of(actor, 0.5)
            assert 6.5 <= actor.speed / abs(actor.turn_rate) <= 10.0
            assert (np.abs(x - 4.0) < 15.0).all()
            assert (np.abs(y) < 16.0).all()
            # Where the rest of the quarter circle leads: up or down the side street.
            left = np.sign(actor.turn_rate)
            origin = np.round(heading[0] / np.pi - left * 0.25) * np.pi
            arms.append(np.sign(np.sin(origin + left * np.pi / 2)))
    assert len(arms) > 5
    assert set(arms) == {float(np.sign(end)) for end in span if end}


def test_long_segments_have_no_turning_vehicles():
    rng = np.random.default_rng(0)
    main = draw_street(rng, KINDS[0], x=0.0, heading=0.0, span=(-60.0, 60.0))
    side = draw_street(rng, KINDS[0], x=4.0, heading=np.pi / 2, span=(-60.0, 60.0))
    for seed in range(10):
        population = filled(seed, duration=20.0)
        fill_turns(population, main, side)
        assert not population.placer.actors


def test_side_streets_have_moving_traffic():
    crossings = moving = 0
    for seed in range(40):
        scene = sample_scene(np.random.default_rng(seed), duration=1.0, extent=45.0)
        beside = [
            actor
            for actor in scene.actors
            if actor.waymo_type == 1 and abs(actor.y) > scene.ground.road + 8.0
        ]
        crossings += bool(beside)
        moving += any(actor.speed > 1.0 for actor in beside)
    assert crossings > 15
    assert moving > 0.5 * crossings
