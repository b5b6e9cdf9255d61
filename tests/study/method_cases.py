"""A small study of methods on two pairs, with invented runs."""

from study_cases import run

from kd3d.study import read_plan

PAIRS = ("Big to small", "Big to tiny")
NODE = {
    "name": "methods",
    "title": "Methods",
    "seeds": [0, 1, 2],
    "steps": 100,
    "curve_points": 5,
    "teachers": {"teacher": {"steps": 200, "seed": 7}},
    "rows": {
        "small_none": {"title": "none"},
        "small_fitnet": {},
        "small_label": {},
        "tiny_none": {"title": "none"},
        "tiny_label": {},
        "tiny_random": {"title": "random", "seeds": [0, 1]},
    },
    "comparisons": [
        {"group": PAIRS[0], "base": "small_none", "row": "small_fitnet", "title": "fitnet"},
        {"group": PAIRS[0], "base": "small_none", "row": "small_label", "title": "label"},
        {"group": PAIRS[1], "base": "tiny_none", "row": "tiny_label", "title": "label"},
        {"group": "Starts", "base": "tiny_random", "row": "tiny_none", "title": "prefix"},
    ],
}
VALUES = {
    "small_none": (0.30, 0.32, 0.28),
    "small_fitnet": (0.33, 0.34, 0.32),  # 3, 2 and 4 points above
    "small_label": (0.29, 0.30, 0.27),  # 1, 2 and 1 points below
    "tiny_none": (0.20, 0.21, 0.22),
    "tiny_label": (0.25, 0.21, 0.20),  # 5 and 0 above, 2 below
    "tiny_random": (0.10, 0.12),
}
MACS = {"small": 2_000_000_000, "tiny": 500_000_000}


def method_plan(**changes):
    return read_plan({**NODE, **changes})


def methods_metrics(value):
    """Both kinds of both levels; AP is a tenth above APH, level 1 two tenths above level 2."""
    metrics = {}
    for label, shift in (("Vehicle", 0.1), ("Cyclist", -0.1)):
        for level, more in (("L1", 0.2), ("L2", 0.0)):
            metrics[f"{label}/{level}_APH"] = value + shift + more
            metrics[f"{label}/{level}_AP"] = value + shift + more + 0.1
    metrics |= {"L2_mAPH": value, "L2_mAP": value + 0.1, "Vehicle/0-30m/L2_APH": value}
    return metrics


def method_run(row, seed, value, **changes):
    pair = row.split("_")[0]
    fields = {
        "metrics": methods_metrics(value),
        "steps": 100,
        "detector": f"net_{pair}",
        "parameters": {"small": 2000, "tiny": 500}.get(pair, 9000),
        "macs": MACS.get(pair),
        "latency_ms": 10.0 + seed,
    }
    return run(row, seed, **{**fields, **changes})


def method_runs(*without):
    """All runs but those left out, each ``(row, seed)``."""
    found = [method_run("teacher", 7, 0.5, steps=200)]
    for row, values in VALUES.items():
        found += [method_run(row, seed, value) for seed, value in enumerate(values)]
    return [one for one in found if (one.row, one.seed) not in without]
