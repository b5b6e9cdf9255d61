"""docs/cost.md and the script that writes it."""

import importlib.util
from pathlib import Path

import pytest

from kd3d.detectors import list_detectors
from kd3d.profiling import Cost, Tally

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    spec = importlib.util.spec_from_file_location("make_cost_table", DOCS / "make_cost_table.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "make_cost_table", module)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_every_network_with_what_it_costs_today(script):
    page = (DOCS / "cost.md").read_text(encoding="utf-8")
    assert sorted(script.NETWORKS) == list_detectors()
    for name in script.NETWORKS:
        dense = script.dense_cost(name)
        rows = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert any(f"| {dense.true.macs / 1e9:.3f} |" in row for row in rows), name
        assert any(f"| {dense.paper.macs / 1e9:.3f} |" in row for row in rows), name


def test_the_published_rows_of_other_grids(script):
    encoder = Cost(paper=Tally(4640, 96))  # per padded row
    dense = {name: script.dense_cost(name) for name in script.PILLARS}
    text = script.pillar_rows(dense, encoder)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `cp_")]
    assert [(row[1], row[4], row[6].rstrip(" |")) for row in rows] == [
        ("±74.24 m", "338.00", "not reproduced"),
        ("±73.60 m", "212.95", "reproduced"),
        ("±74.88 m", "153.08", "not reproduced"),
        ("±73.92 m", "149.35", "reproduced"),
        ("±74.24 m", "85.09", "reproduced"),
    ]
    assert "461.05 x 461.05 cells" in text


def test_the_table_of_students_takes_their_cost_from_the_profiler(script):
    box = (-12.8, -12.8, -2.0, 12.8, 12.8, 4.0)

    def student(name, width, accuracy):
        return {
            "name": name,
            "family": "pillar",
            "detector": "cp_pillar_v064",
            "changes": {"point_cloud_range": box, "width": {"backbone_2d": width}},
            "l2_maph": accuracy,
            "seeds": [0, 1],
            "steps": 1200,
        }

    results = {
        "command": "the command",
        "machine": "a machine",
        "frame": {"seed": 3, "resolution": 0.02, "extent": 20.0},
        "teachers": {"pillar": student("teacher", 0.25, 40.0)},
        "students": [student("half", 0.125, 30.0), {**student("x", 1, 1.0), "family": "voxel"}],
    }
    text = script.student_table(results)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["| teacher", "| half"]
    teacher, half = rows
    assert float(half[3]) < float(teacher[3])
    assert half[6:8] == ["30.00", "2 x 1,200"]
    saved = 1 - float(half[5]) / float(teacher[5])
    assert float(half[8].rstrip(" |")) == pytest.approx(0.5 * (saved + 0.75**3), abs=2e-3)
    assert teacher[8].rstrip(" |") == "0.500"
    assert "`the command` on a machine" in text.replace("\n", " ")
