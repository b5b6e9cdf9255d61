"""Which student? Widths, depths and cell sizes of both families, trained briefly on simulated data.

    python studies/which_student.py            (or: make student-study)

Every network is trained alone, from new weights, by ``kd3d-train scale=demo`` with the same steps
and seed. Results are stored as they come, in docs/results/which_student.json, and finished ones are
not repeated; ``make cost-table`` turns them into the second table of docs/cost.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kd3d.cli.environment import describe_machine
from kd3d.cli.results import read_results
from kd3d.files import write_text

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "which_student.json"
HALF_RANGE = 19.2
BOUNDS = [-HALF_RANGE, -HALF_RANGE, -2.0, HALF_RANGE, HALF_RANGE, 4.0]

#: Changes to the teacher of each family. The teachers are a quarter as wide as the paper's.
TEACHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pillars": ("cp_pillar", {"width": {"encoder": 0.25, "backbone_2d": 0.25, "head": 0.25}}),
    "voxels": ("cp_voxel", {"width": {"backbone_3d": 0.25, "backbone_2d": 0.25, "head": 0.25}}),
}
STUDENTS: dict[str, dict[str, dict[str, Any]]] = {
    "pillars": {
        "width x 0.75": {"width": {"encoder": 0.25, "backbone_2d": 0.1875, "head": 0.1875}},
        "width x 0.5": {"width": {"encoder": 0.25, "backbone_2d": 0.125, "head": 0.125}},
        "depth 2, 3, 3": {"depth": [2, 3, 3]},
        "depth 1, 1, 1": {"depth": [1, 1, 1]},
        "cells of 0.48 m": {"cell_size": [0.48, 0.48], "max_points": 36},
        "cells of 0.64 m": {"cell_size": [0.64, 0.64], "max_points": 50},
    },
    "voxels": {
        "width x 0.75": {"width": {"backbone_3d": 0.1875, "backbone_2d": 0.1875, "head": 0.1875}},
        "width x 0.5": {"width": {"backbone_3d": 0.125, "backbone_2d": 0.125, "head": 0.125}},
        "depth 3, 3 and 1 block": {"depth": [3, 3], "depth_3d": [1, 1, 1, 1]},
        "depth 1, 1 and 1 block": {"depth": [1, 1], "depth_3d": [1, 1, 1, 1]},
        "cells of 0.15 m": {"voxel_size": [0.15, 0.15, 0.15]},
        "cells of 0.2 m": {"voxel_size": [0.2, 0.2, 0.15]},
    },
}


def main() -> None:
    """Train what is missing, and store every result when it is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of each network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, default=Path("logs/train/which_student"))
    arguments = parser.parse_args()
    stored = read(arguments.results, arguments.steps, arguments.seed)
    for family, (detector, base) in TEACHERS.items():
        for name, changes in {"as the teacher": {}, **STUDENTS[family]}.items():
            if any(one["name"] == name and one["family"] == family for one in entries(stored)):
                continue
            print(f"== {family}: {name}", flush=True)
            folder = arguments.runs / f"{family}-{name.replace(' ', '_').replace(',', '')}"
            one = {
                "name": name,
                "family": family,
                "detector": detector,
                "changes": {"point_cloud_range": BOUNDS, **base, **changes},
                "seeds": [arguments.seed],
                "steps": arguments.steps,
            }
            one["l2_maph"] = train(one, folder)
            if changes:
                stored["students"].append(one)
            else:
                stored["teachers"][family] = one
            arguments.results.parent.mkdir(parents=True, exist_ok=True)
            write_text(arguments.results, json.dumps(stored, indent=1) + "\n")


def read(path: Path, steps: int, seed: int) -> dict[str, Any]:
    """Read what an earlier call stored; runs of another length or seed are refused."""
    if not path.is_file():
        return {
            "command": "make student-study",
            "machine": describe_machine(),
            "frame": {"extent": HALF_RANGE, "resolution": 0.125},
            "teachers": {},
            "students": [],
        }
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for one in entries(stored):
        if one["steps"] != steps or one["seeds"] != [seed]:
            sys.exit(
                f"{path}: {one['family']}, {one['name']} has {one['steps']} steps and seeds "
                f"{one['seeds']}; name another file (--results) for {steps} steps and seed {seed}."
            )
    return stored


def entries(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Give teachers and students alike."""
    return [*stored["teachers"].values(), *stored["students"]]


def train(one: dict[str, Any], folder: Path) -> float:
    """Train one network and give its L2 mAPH in percent."""
    command = [
        str(Path(sys.executable).with_name("kd3d-train")),
        "scale=demo",
        f"student={one['detector']}",
        f"seed={one['seeds'][0]}",
        f"trainer.max_steps={one['steps']}",
        f"trainer.val_check_interval={one['steps']}",
        "run.teacher=false",
        "run.plain=false",
        "run.initialised=false",
        "run.student=true",
        f"hydra.run.dir={folder}",
    ]
    for key, value in one["changes"].items():
        text = json.dumps(value).replace('"', "").replace(" ", "")
        command.append(f"{'' if key in KNOWN else '+'}student.{key}={text}")
    subprocess.run(command, check=True)
    (result,) = read_results(folder / "student" / "result.json")
    return 100 * result.metrics["L2_mAPH"]


#: Arguments that the configuration of every detector names; others are added to it.
KNOWN = {"point_cloud_range", "width", "depth", "depth_3d", "cell_size", "voxel_size"}


if __name__ == "__main__":
    main()
