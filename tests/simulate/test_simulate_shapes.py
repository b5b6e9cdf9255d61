import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.simulate import clutter, road_users
from kd3d.simulate.materials import DARK, GLASS, REFLECTOR, RUBBER
from kd3d.simulate.shapes import MARGIN, Shape, block, unlabelled
from kd3d.simulate.sizes import CORRELATIONS, REFERENCES, SIZES, draw, draw_size

#: Plates and lamps stand out of a body by this much (metres).
PROUD = 0.011
ROAD_USERS = sorted(road_users.__all__)
CLUTTER = sorted(clutter.__all__)
VEHICLES = ("bus", "car", "pickup", "tractor", "trailer", "truck", "van")


def drawn(module, name: str, rng: np.random.Generator) -> Shape:
    """Draw a shape; lengths and depths are asked for where it takes them."""
    make = getattr(module, name)
    extra = [float(rng.uniform(2.0, 18.0)) for _ in list(inspect.signature(make).parameters)[1:]]
    return make(rng, *extra)


def check_parts(shape: Shape) -> None:
    """Sizes are positive, sides do not lean past each other, shares are shares."""
    for part in shape.parts:
        assert min(part.half_length, part.half_width, part.half_height) > 0.0
        front, rear, side = part.lean
        assert front + rear <= 2 * part.half_length
        assert 0.0 <= side <= part.half_width
        assert part.free_path > 0.0
        assert part.z - part.half_height >= -1e-9
        assert 0.0 <= part.surface.transmission < 1.0
        assert 0.0 <= part.surface.loss < 1.0
        if part.is_round:
            assert part.half_length == part.half_width
            assert part.lean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ROAD_USERS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_parts_of_road_users_stay_inside_their_label(name, seed):
    shape = drawn(road_users, name, np.random.default_rng(seed))
    check_parts(shape)
    for part in shape.parts:
        outer = np.abs(part[:2]) + np.array(part[3:5])
        assert (outer <= np.array(shape.size[:2]) / 2 - MARGIN + PROUD).all()
        assert part.z + part.half_height <= shape.size[2] - MARGIN + 1e-9
    ends = np.array([np.abs(part[:2]) + np.array(part[3:5]) for part in shape.parts]).max(axis=0)
    tops = max(part.z + part.half_height for part in shape.parts)
    assert tops == pytest.approx(shape.size[2] - MARGIN)
    if name in VEHICLES or name == "cyclist":  # the label is tight around the object
        np.testing.assert_allclose(ends, np.array(shape.size[:2]) / 2 - MARGIN, atol=PROUD)


@pytest.mark.parametrize("name", CLUTTER)
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_clutter_is_as_large_as_its_parts(name, seed):
    shape = drawn(clutter, name, np.random.default_rng(seed))
    check_parts(shape)
    assert unlabelled(shape.parts) == shape
    assert np.isfinite(shape.size).all()


@pytest.mark.parametrize("module", [road_users, clutter])
def test_a_shape_is_a_function_of_the_generator(module):
    for name in module.__all__:
        one, two = (drawn(module, name, np.random.default_rng(8)) for _ in range(2))
        other = drawn(module, name, np.random.default_rng(9))
        assert one == two
        assert one != other or name == "pushchair"


@pytest.mark.parametrize("run", ["fence", "hedge", "railing", "scaffold", "wall"])
def test_runs_have_the_asked_length(run):
    shape = getattr(clutter, run)(np.random.default_rng(1), 7.5)
    assert shape.size[0] == pytest.approx(7.5)


@pytest.mark.parametrize("run", ["fence", "hedge"])
def test_fences_and_hedges_are_partial(run):
    for seed in range(5):
        shape = getattr(clutter, run)(np.random.default_rng(seed), 5.0)
        widest = max(shape.parts, key=lambda part: part.half_length)
        assert np.isfinite(widest.free_path)


def test_cars_have_windows_wheels_seats_and_plates():
    for name in ("car", "pickup", "bus", "truck", "tractor"):
        surfaces = [
            part.surface for part in drawn(road_users, name, np.random.default_rng(3)).parts
        ]
        assert GLASS in surfaces
        assert surfaces.count(RUBBER) == 4
        assert surfaces.count(REFLECTOR) >= 2
        assert DARK in surfaces


def test_several_body_shapes_and_poses():
    heights = [road_users.bystander(np.random.default_rng(s)).size[2] for s in range(200)]
    assert min(heights) < 1.35
    assert 1.68 < np.median(heights) < 1.82
    walkers = [road_users.pedestrian(np.random.default_rng(s)).parts for s in range(200)]
    umbrellas = sum(any(part.lean[0] > 0.0 for part in parts) for parts in walkers)
    assert 1 <= umbrellas <= 20
    assert 0.2 < np.mean([len(parts) > 9 for parts in walkers]) < 0.5  # with something carried
    sizes = np.array([road_users.car(np.random.default_rng(s)).size for s in range(200)])
    assert np.percentile(sizes[:, 0], 10) < 4.35
    assert np.percentile(sizes[:, 0], 90) > 4.8


@pytest.mark.parametrize("row", SIZES, ids=lambda row: f"{row.kind}-{row.quantity}")
def test_draws_have_the_tables_mean_and_spread(row):
    rng = np.random.default_rng(0)
    values = np.array(
        [draw(rng, row.kind, row.quantity, rng.standard_normal()) for _ in range(3000)]
    )
    assert values.mean() == pytest.approx(row.mean, abs=0.08 * row.spread)
    assert values.std() == pytest.approx(row.spread, rel=0.08)
    assert np.abs(values - row.mean).max() <= 2.5 * row.spread + 1e-12


@pytest.mark.parametrize("kind", ["saloon", "upright"])
def test_sizes_of_one_object_are_correlated(kind):
    rng = np.random.default_rng(1)
    sizes = np.array([draw_size(rng, kind) for _ in range(3000)])
    expected = CORRELATIONS["Vehicle" if kind == "saloon" else "Cyclist"]
    found = np.corrcoef(sizes.T)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(found, expected, atol=0.06)


def test_shapes_follow_the_table():
    """The labels themselves, not only the draws: mean length, width and height per kind."""
    rng = np.random.default_rng(2)
    for name, kind in (("bus", "bus"), ("truck", "truck"), ("trailer", "trailer")):
        sizes = np.array([drawn(road_users, name, rng).size for _ in range(400)])
        rows = {row.quantity: row for row in SIZES if row.kind == kind}
        for column, quantity in enumerate(("length", "width", "height")):
            row = rows[quantity]
            assert sizes[:, column].mean() == pytest.approx(row.mean, abs=0.2 * row.spread)


@pytest.mark.parametrize(
    ("makers", "class_name", "tolerance"),
    [
        ((road_users.car, road_users.van), "Vehicle", (0.2, 0.08, 0.2)),
        ((road_users.pedestrian, road_users.bystander), "Pedestrian", (0.06, 0.05, 0.08)),
        ((road_users.cyclist,), "Cyclist", (0.06, 0.05, 0.06)),
    ],
)
def test_class_means_are_near_waymos(makers, class_name, tolerance):
    rng = np.random.default_rng(4)
    sizes = np.array([make(rng).size for make in makers for _ in range(600)])
    known = [ref.size for ref in REFERENCES if ref.name == f"Waymo {class_name}"]
    assert len(known) == 2
    assert (np.abs(sizes.mean(axis=0) - np.mean(known, axis=0)) < tolerance).all()


def test_every_figure_names_its_source():
    for entry in (*SIZES, *REFERENCES):
        assert entry.class_name in CORRELATIONS
        assert len(entry.source) > 10
    assert len({(row.kind, row.quantity) for row in SIZES}) == len(SIZES)


def test_blocks_are_centred_between_their_limits():
    part = block((1.0, 3.0), (-1.0, 0.0), (0.5, 2.5), DARK, lean=(0.2, 0.1, 0.0))
    assert part[:6] == (2.0, -0.5, 1.5, 1.0, 0.5, 1.0)
    assert part.lean == (0.2, 0.1, 0.0)
