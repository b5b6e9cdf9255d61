"""docs/distillation.md says what is: its code runs, and its table is the one that is printed."""

import re
import runpy
from pathlib import Path

import lightning as L
import numpy as np
import pytest

import kd3d
from kd3d.detectors import save_detector
from kd3d.predictions import ObjectsBuilder, save_objects
from kd3d.simulate import simulate_dataset

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/distillation.md").read_text()
RANGE = (-7.68, -7.68, -2.0, 7.68, 7.68, 4.0)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def small(name, **changes):
    """A detector of this name that runs in no time."""
    parts = dict.fromkeys(("encoder", "backbone_2d", "head"), 0.125)
    return create(name, point_cloud_range=RANGE, width=parts, depth=(1, 1, 1), **changes)


create = kd3d.create_detector
Trainer = L.Trainer


def one_step(**options):
    return Trainer(**{**options, "accelerator": "cpu", "fast_dev_run": True})


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A folder with the files that the page names; small networks and one step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kd3d, "create_detector", small, raising=False)
    monkeypatch.setattr(L, "Trainer", one_step)
    simulate_dataset(
        "waymo",
        scenes=1,
        val_scenes=1,
        frames=1,
        resolution=0.05,
        extent=20.0,
        workers=1,
        progress=False,
    )
    save_detector(small("cp_pillar"), "teacher.ckpt")
    objects = ObjectsBuilder()
    objects.add("segment/17", boxes=np.ones((1, 7)), types=[1], scores=[0.9])
    for name in ("one.parquet", "two.bin"):
        save_objects(name, objects.build())


@pytest.mark.filterwarnings("ignore")
def test_the_code_runs_and_the_table_is_the_printed_one(surroundings):
    names = runpy.run_path(str(ROOT / "examples/distil_your_own.py"))  # the network it is about
    L.seed_everything(0, verbose=False)
    names["teacher"] = names["MyDetector"](channels=32)
    for block in blocks("python"):
        exec(compile(block, "docs/distillation.md", "exec"), names)
    tables = [block for block in blocks("text") if block.startswith("What distillation connects")]
    assert tables == [names["distil"].summary() + "\n"]
    assert len(names["boxes"].detections(["segment/17"])[0]) == 1  # the two files' boxes, fused


def test_every_test_and_page_that_is_named_exists():
    guarantees = TEXT.split("## Guarantees")[1].split("## ")[0]
    tests = re.findall(r"`([a-z_]+)`", "".join(re.findall(r"\|([^|]*)\|\n", guarantees)))
    assert len(tests) > 8
    for name in tests:
        assert (ROOT / f"tests/distill/test_distill_{name}.py").is_file(), name
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link


@pytest.mark.parametrize("example", ["distil_your_own", "distil_other_head"])
def test_every_name_that_an_example_uses_is_described(example):
    source = (ROOT / f"examples/{example}.py").read_text()
    imported = re.findall(r"^from kd3d\S* import (.+)$", source, flags=re.MULTILINE)
    names = {name.strip() for line in imported for name in line.split(",")}
    options = set(
        re.findall(r"\b(student_\w+|teacher_\w+|batch_view|with_targets|decode)=", source)
    )
    grid = set(re.findall(r"\b(to_cells|contains|centers|width|from_range)\b", source))
    for name in names | options | grid:
        assert re.search(rf"\b{name}\b", TEXT), name
