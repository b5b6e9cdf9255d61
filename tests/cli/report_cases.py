"""Invented studies and runs for ``kd3d-report``, and readers of what it writes."""

import csv
import math

import pytest
from omegaconf import OmegaConf

from kd3d.cli.report_command import main
from kd3d.cli.results import RunResult, write_results
from kd3d.cli.stored_config import config_text
from kd3d.study import Failure, StudyRun, read_plan, write_run
from kd3d.study.kept_plan import write_failures, write_plan
from kd3d.study.settings import write_settings

PLAN = {
    "name": "invented",
    "seeds": [0, 1, 2],
    "steps": 10,
    "teachers": {"teacher": {"steps": 20, "seed": 9}},
    "rows": {"a_none": {"title": "none"}, "a_label": {}, "a_fg": {}},
    "comparisons": [
        {"group": "Big to small", "base": "a_none", "row": "a_label", "title": "label"},
        {"group": "Big to small", "base": "a_none", "row": "a_fg", "title": "fg"},
    ],
}
SETTINGS = {"classes": ["Vehicle"], "data": {"object_range": [0, 1], "val": "v"}}
VALUES = {"a_none": (0.30, 0.32, 0.28), "a_label": (0.33, 0.34, 0.32), "a_fg": (0.31,)}


def metrics(value, *, classes=("Vehicle", "Cyclist")):
    found = {}
    for shift, name in enumerate(classes):
        for level in ("L1", "L2"):
            found[f"{name}/{level}_APH"] = value + shift / 10
            found[f"{name}/{level}_AP"] = value + shift / 10 + 0.05
    return found | {"L1_mAPH": value + 0.1, "L2_mAPH": value, "L2_mAP": value + 0.05}


def study_run(row, seed, value, **changes):
    fields = {
        "row": row,
        "seed": seed,
        "steps": 10,
        "metrics": metrics(value),
        "split": "test",
        "curve": (),
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "machine": "",
        "version": "0.1.0",
        "dataset": "sim-v1-abc",
        "settings": "",
        "teacher": None,
        "weights": None,
        "detector": "teacher" if row == "teacher" else "cp_pillar_v064",
        "parameters": 10,
        "macs": 3_000_000_000,
        "latency_ms": 20.0 + seed,
    }
    return StudyRun(**{**fields, **changes})


def make_study(folder, *, settings=SETTINGS, **changes):
    """Results of a study that lacks two runs, one of which failed."""
    write_plan(folder, read_plan(PLAN))
    digest = write_settings(folder, settings)
    runs = [study_run("teacher", 9, 0.5)]
    for row, values in VALUES.items():
        runs += [study_run(row, seed, value) for seed, value in enumerate(values)]
    for run in runs:
        fields = {name: getattr(run, name) for name in run.__dataclass_fields__}
        write_run(folder, StudyRun(**{**fields, "settings": digest, **changes}))
    failures = [Failure("a_fg seed 1", "Traceback\nerror: no memory"), Failure("a_none seed 0", "")]
    write_failures(folder, failures)
    return folder


RESULTS = {
    "teacher": ("teacher", "cp_pillar", "loaded"),
    "plain student": ("plain student", "cp_pillar_v064", "random"),
    "initialised student": ("plain student", "cp_pillar_v064", "copy of the teacher"),
    "distilled student": ("distilled student", "cp_pillar_v064", "copy of the teacher"),
}


def make_run(folder, composed, found, *words, seed=0, kd="sparsekd", finished=True, **changes):
    """A folder as kd3d-train leaves it: ``found`` are values by the names of the networks."""
    config = composed(*words)
    config.seed = seed
    (folder / ".hydra").mkdir(parents=True)
    (folder / "config.yaml").write_text(config_text(config))
    hydra = {"hydra": {"runtime": {"choices": {"kd": kd}, "cwd": str(folder.parent)}}}
    (folder / ".hydra" / "hydra.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(hydra)))
    results = []
    for name, value in found.items():
        role, detector, start = RESULTS[name]
        fields = {"metrics": metrics(value), "macs": 1_500_000_000, "latency_ms": math.nan}
        one = {"parameters": 77, "steps": 2, "seconds": 1.0, **fields, **changes}
        results.append(
            RunResult(name=name, role=role, detector=detector, initialisation=start, **one)
        )
    if finished:
        write_results(folder / "metrics.json", results)
    for result in results:
        stage = folder / {"distilled student": "student"}.get(result.name, result.name.split()[0])
        stage.mkdir()
        write_results(stage / "result.json", [result])
    return folder


def report(capsys, *words):
    main([str(word) for word in words])
    return capsys.readouterr().out


def refused(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def cells(text, title, *, nth=0):
    lines = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in lines[nth][1:-1].split("|")]


def lines_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
