"""A small plan and invented runs of it."""

from kd3d.study import StudyRun, read_plan

NODE = {
    "name": "small",
    "title": "Small study",
    "metric": "L2_mAPH",
    "seeds": [0, 1, 2],
    "steps": 100,
    "curve_points": 5,
    "teachers": {"teacher": {"steps": 200, "seed": 7}},
    "rows": {
        "plain": {"title": "plain", "overrides": ["run.plain=true"]},
        "kd": {"title": "distilled", "overrides": ["run.student=true"]},
        "long": {"steps": [100, 200]},
    },
    "comparisons": [{"row": "kd", "base": "plain", "title": "KD helps"}],
}


def plan(**changes):
    return read_plan({**NODE, **changes})


def metrics(value):
    """Metrics that are all known once one is."""
    ring = "0-30m"
    return {
        "Vehicle/L2_APH": value + 0.1,
        "Cyclist/L2_APH": value - 0.1,
        f"Vehicle/{ring}/L2_APH": value + 0.2,
        f"Cyclist/{ring}/L2_APH": value,
        "L2_mAPH": value,
        f"{ring}/L2_mAPH": value + 0.1,
        "30-50m/L2_mAPH": 0.0,
    }


def run(row="plain", seed=0, value=0.3, **changes):
    steps = changes.pop("steps", {"teacher": 200, "long": 300}.get(row, 100))
    fields = {
        "row": row,
        "seed": seed,
        "steps": steps,
        "metrics": metrics(value),
        "split": "test",
        "curve": tuple((steps * k // 5, value * k / 5) for k in range(1, 6)),
        "seconds": 90.0,
        "cpu_seconds": 60.0,
        "machine": "a machine",
        "version": "0.1.0",
        "dataset": "simulated-v1-abc",
        "settings": "0" * 12,
        "teacher": None,
        "weights": None,
        "detector": "cp_pillar_v064",
        "parameters": 10,
    }
    return StudyRun(**{**fields, **changes})


PLAIN = (0.30, 0.32, 0.28)
KD = (0.33, 0.34, 0.32)


def runs():
    """All runs of the plan, with differences of 3, 2 and 4 points."""
    found = [run("teacher", 7, 0.5)]
    for seed in range(3):
        found += [run("plain", seed, PLAIN[seed]), run("kd", seed, KD[seed])]
        found.append(run("long", seed, 0.31))
    return found
