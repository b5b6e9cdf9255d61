from dataclasses import replace

import numpy as np

from kd3d.simulate.density import KINDS
from kd3d.simulate.parking import fill_car_park, fill_parking
from kd3d.simulate.people import fill_bus_stops, fill_people, fill_square_people, put_group
from kd3d.simulate.placing import Placer
from kd3d.simulate.population import Population
from kd3d.simulate.roadside import fill_furniture, fill_houses, fill_median, fill_square
from kd3d.simulate.scene import EgoPath
from kd3d.simulate.street import Opening, draw_street

AWAY = EgoPath(lane=900.0, speed=0.0, sway=0.0, period=6.0, phase=0.0)


def street_of(seed, kind=KINDS[1], **changes):
    street = draw_street(np.random.default_rng(seed), kind, x=0.0, heading=0.0, span=(-60.0, 60.0))
    return replace(street, **changes)


def population_of(seed):
    return Population(np.random.default_rng(seed), Placer(AWAY, 0.5), 0.5)


def side_of(actor):
    return 0 if actor.y < 0 else 1


def reach_of(actor):
    """Half the extent across the street, metres."""
    length, width, _ = actor.shape.size
    return (length * abs(np.sin(actor.heading)) + width * abs(np.cos(actor.heading))) / 2


def test_small_clutter_stands_on_the_pavements_and_not_in_the_side_street():
    count = 0
    for seed in range(10):
        street = street_of(seed, opening=Opening(-10.0, 10.0, (True, False)))
        population = population_of(seed)
        fill_furniture(population, street)
        for actor in population.placer.actors:
            side = side_of(actor)
            assert street.kerb(side) < abs(actor.y) < street.pavement_end(side)
            assert side == 1 or abs(actor.x) > 10.0
            assert actor.waymo_type == 0
            count += 1
    assert count > 200


def test_houses_and_gardens_stand_behind_the_pavement():
    for kind in (KINDS[0], KINDS[2]):
        for seed in range(5):
            street = street_of(seed, kind, opening=Opening(-10.0, 10.0, (True, False)))
            population = population_of(seed)
            fill_houses(population, street, (None, (20.0, 40.0)))
            assert len(population.placer.actors) > 8
            for actor in population.placer.actors:
                side = side_of(actor)
                assert abs(actor.y) > street.pavement_end(side)
                if side == 0:
                    assert abs(actor.x) > 10.0
                else:
                    assert not 20.0 < actor.x < 40.0


def test_a_median_is_planted_where_there_is_no_crossing():
    street = street_of(0, KINDS[2], median=3.0, opening=Opening(-10.0, 10.0, (True, True)))
    population = population_of(0)
    fill_median(population, street)
    actors = population.placer.actors
    assert len(actors) > 3
    assert all(abs(a.x) >= 13.0 and reach_of(a) + abs(a.y) < 1.5 for a in actors)
    population = population_of(0)
    fill_median(population, replace(street, median=0.0))
    assert not population.placer.actors


def test_parked_vehicles_fill_the_strips_in_their_direction():
    wrong = total = clutter = 0
    for seed in range(10):
        street = street_of(seed, KINDS[0], opening=Opening(-10.0, 10.0, (True, True)))
        sides = (replace(street.sides[0], parking=2.4), replace(street.sides[1], parking=5.2))
        street = replace(street, sides=sides)
        population = population_of(seed)
        fill_parking(population, street)
        for actor in population.placer.actors:
            side = side_of(actor)
            middle = street.kerb(side) - street.sides[side].parking / 2
            assert abs(abs(actor.y) - middle) < 0.3
            assert abs(actor.x) > 13.0
            clutter += actor.waymo_type == 0
            square = abs(np.cos(actor.heading)) < 0.2
            assert square == (side == 1)
            if side == 0:
                total += 1
                wrong += np.cos(actor.heading - street.sides[0].way) < 0
    assert total > 20
    assert 0 < wrong < 0.3 * total
    assert clutter > 0


def test_a_car_park_lies_behind_the_pavement():
    street, population = street_of(0), population_of(0)
    fill_car_park(population, street, 1, (0.0, 40.0), 30.0)
    actors = population.placer.actors
    assert len(actors) > 10
    low = street.pavement_end(1)
    assert all(low < a.y - reach_of(a) + 0.6 and a.y < low + 31.0 for a in actors)
    assert all(0.0 < a.x < 40.0 for a in actors)
    rows = {round(a.y / 2.6) for a in actors}
    assert len(rows) >= 2


def test_people_walk_on_pavements_or_cross():
    on_pavement = elsewhere = 0
    for seed in range(10):
        street, population = street_of(seed), population_of(seed)
        fill_people(population, street)
        for actor in population.placer.actors:
            side = side_of(actor)
            inside = street.kerb(side) < abs(actor.y) < street.pavement_end(side)
            on_pavement += inside
            elsewhere += not inside
            if actor.speed and not inside:
                assert abs(np.sin(actor.heading)) > 0.8
    assert on_pavement > 8 * elsewhere > 0


def test_a_walking_group_goes_abreast_with_one_speed():
    street, population = street_of(0), population_of(1)
    put_group(population, street, (0.0, 0.0), 0.3, stands=False, size=3)
    actors = population.placer.actors
    assert len(actors) == 3
    assert len({(actor.speed, actor.heading) for actor in actors}) == 1
    aside = [-np.sin(0.3) * a.x + np.cos(0.3) * a.y for a in actors]
    assert (np.diff(sorted(aside)) > 0.9).all()
    assert np.ptp([np.cos(0.3) * a.x + np.sin(0.3) * a.y for a in actors]) <= 0.5


def test_most_people_are_not_alone():
    population, street, sizes = population_of(0), street_of(0), []
    for number in range(600):
        before = len(population.placer.actors)
        put_group(population, street, (20.0 * number, 0.0), 0.0, stands=False)
        sizes.append(len(population.placer.actors) - before)
    together = sum(size for size in sizes if size > 1) / sum(sizes)
    assert 0.58 < together < 0.72
    assert max(sizes) >= 4


def test_standing_people_keep_within_their_room():
    population = population_of(0)
    put_group(population, street_of(0), (0.0, 0.0), 0.0, stands=True, size=12, room=2.0)
    actors = population.placer.actors
    assert len(actors) > 4
    assert max(abs(actor.y) for actor in actors) < 0.6 < max(abs(actor.x) for actor in actors)
    assert {actor.speed for actor in actors} == {0.0}


def test_people_wait_at_bus_stops_and_corners():
    kind = replace(KINDS[1], bus_stops=4.0)
    people = buses = 0
    for seed in range(8):
        population = population_of(seed)
        fill_bus_stops(population, street_of(seed, kind))
        waiting = [actor for actor in population.placer.actors if actor.waymo_type == 2]
        buses += sum(actor.waymo_type == 1 for actor in population.placer.actors)
        assert all(actor.speed == 0.0 for actor in waiting)
        people += len(waiting)
    assert people > 60
    assert buses > 3
    corners = 0
    for seed in range(20):
        street = street_of(seed, opening=Opening(-10.0, 10.0, (True, True)))
        population = population_of(seed)
        fill_people(population, street)
        standing = [a for a in population.placer.actors if a.waymo_type == 2 and a.speed == 0.0]
        corners += sum(10.0 < abs(actor.x) < 13.5 for actor in standing)
    assert corners > 20


def test_squares_hold_people_and_clutter_to_confuse_them_with():
    street, population = street_of(0), population_of(0)
    fill_square_people(population, street, 0, (-20.0, 20.0), 30.0)
    fill_square(population, street, 0, (-20.0, 20.0), 30.0)
    people = [actor for actor in population.placer.actors if actor.waymo_type == 2]
    clutter = [actor for actor in population.placer.actors if actor.waymo_type == 0]
    assert len(people) > 3
    assert len(clutter) > 15
    edge = street.pavement_end(0)
    assert all(-22.5 < a.x < 22.5 and edge - 2.5 < -a.y < edge + 33.0 for a in people + clutter)
