"""docs/make_data_card.py: what it counts, draws and writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from kd3d.errors import DatasetError
from kd3d.simulate import simulate_dataset
from kd3d.waymo import CLASSES, read_frames

sys.path.append(str(Path(__file__).parents[2] / "docs"))
import _card_facts
import _card_page
import make_data_card

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = ("frames", "points", "sizes", "strips", "real_points")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny dataset, and everything that the command makes of it."""
    folder = tmp_path_factory.mktemp("card")
    options = {"frames": 1, "resolution": 0.04, "extent": 40.0, "workers": 1, "progress": False}
    simulate_dataset(folder / "data", scenes=2, val_scenes=1, test_scenes=6, seed=3, **options)
    words = ["make_data_card.py", f"--root={folder}/data", f"--page={folder}/page.md"]
    words += [f"--results={folder}/results.json", f"--images={folder}/images"]
    words += ["--sweeps=1", f"--real={folder}/nowhere"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        make_data_card.main()
    return folder


def test_counts_are_those_of_the_records(made):
    results = json.loads((made / "results.json").read_text())
    frames = [f for path in (made / "data/test").glob("*.tfrecord") for f in read_frames(path)]
    found = results["splits"]["test"]
    assert (found["segments"], found["frames"], sum(found["weather"].values())) == (6, 6, 6)
    for number, name in enumerate(CLASSES):
        points = np.concatenate([f.num_points[f.labels == number] for f in frames])
        sums = {level: sum(rings) for level, rings in found["boxes"][name].items()}
        assert sums["L1"] == (points > 5).sum()
        assert sums["L2"] == ((points > 0) & (points <= 5)).sum()
        assert sums["no points"] == (points == 0).sum()
    assert found["points_per_frame"]["most"] == max(len(frame.points) for frame in frames)
    near = results["classes"]["Vehicle"]["points"]["0-30m"]
    of_splits = results["splits"].values()
    assert near["objects"] == sum(
        one["boxes"]["Vehicle"][level][0] for one in of_splits for level in _card_facts.LEVELS
    )


def test_the_page_shows_the_figures_and_the_pictures(made):
    page = (made / "page.md").read_text()
    results = json.loads((made / "results.json").read_text())
    assert _card_page.card(results) in page
    assert results["fingerprint"] in page
    assert "The real sweeps were not there" in page
    for name in PICTURES:
        assert f"images/sim_{name}.png" in page
        assert (made / "images" / f"sim_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_only_the_card_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Mine\n\n<!-- card:begin -->\nold\n<!-- card:end -->\n\n## And more\n")
    make_data_card.write_card(page, "new")
    first = page.read_text()
    assert first.startswith("# Mine\n\n<!-- card:begin -->\n\nnew\n\n<!-- card:end -->")
    assert first.endswith("\n\n## And more\n")
    make_data_card.write_card(page, "new")
    assert page.read_text() == first
    page.write_text("no marks")
    with pytest.raises(DatasetError, match="has not one <!-- card:begin -->"):
        make_data_card.write_card(page, "new")


def test_the_committed_card_shows_the_committed_figures():
    results = DOCS / "results" / "simulated_benchmark.json"
    if not results.is_file():
        pytest.skip("the card is not made yet: make data-card")
    page = (DOCS / "simulated-benchmark.md").read_text()
    assert _card_page.card(json.loads(results.read_text())) in page


def test_real_sweeps_are_counted_beside_simulated_ones(shared_data):
    real = make_data_card.real_sweeps(shared_data / "real_lidar")
    facts = real.facts()
    assert (facts["sweeps"], facts["points_per_sweep"]) == (2, 97524)
    assert real.objects.distance.max() < make_data_card.REACH
