"""The README's way from a bucket to the first training step, with nothing downloaded."""

import json
import sys
from pathlib import Path

import pytest

from kd3d.simulate import simulate_dataset

sys.path.append(str(Path(__file__).parents[1] / "data"))
from web_server import running_server

PATTERNS = ("training", "validation")


@pytest.fixture
def bucket(tmp_path):
    """Segments behind a web server, which stands in for a bucket, and the server."""
    made = tmp_path / "elsewhere"
    options = {"frames": 2, "resolution": 0.05, "extent": 16.0, "workers": 1}
    simulate_dataset(made, scenes=1, val_scenes=1, **options)
    with running_server() as web:
        yield web.serve(made), web


def test_two_commands_after_the_installation(bucket, command, command_here, tmp_path, monkeypatch):
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    root, web = bucket
    here = tmp_path / "here"
    here.mkdir()
    indexed = command("kd3d-data", "index", f"root={root}", folder=here)
    assert indexed.returncode == 0, indexed.stdout + indexed.stderr
    assert len(list((tmp_path / "cache").glob("index-*.npz"))) == len(PATTERNS)
    reads = [last + 1 - first for path, first, last in web.ranges if path.endswith("tfrecord")]
    assert set(reads) == {12}  # of each record, for the index
    web.ranges.clear()
    trained = command_here(
        "kd3d-train",
        "experiment=cp_pillar",
        f"data.root={root}",
        "scale=smoke",
        "simulate=null",
        "run.teacher=false",
        "run.plain=false",
        "run.initialised=false",
        "trainer.max_steps=1",
        "callbacks.pictures=null",
        "hydra.run.dir=run",
        folder=here,
    )
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (run,) = json.loads((here / "run" / "metrics.json").read_text())["runs"]
    assert run["steps"] == 1
    read = {path.split("/")[2] for path, *_ in web.ranges if path.endswith("tfrecord")}
    assert read == set(PATTERNS)
    assert not list(here.rglob("*.tfrecord"))
