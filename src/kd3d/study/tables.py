"""A study as Markdown and CSV."""

import csv
import io
import math
from collections.abc import Sequence

from kd3d.study.cells import MISSING, interval, markdown, percent, spread
from kd3d.study.plan import Comparison
from kd3d.study.summary import Summary, last_gain, metric_parts

__all__ = [
    "comparison_table",
    "convergence",
    "detail_table",
    "row_table",
    "runs_csv",
    "verdict",
]

_CONVERGED = 0.01


def row_table(summary: Summary) -> str:
    """One line per teacher and row: mean and spread of the metric and of every class, and times."""
    plan = summary.plan
    level, kind = metric_parts(plan.metric)
    classes = summary.classes()
    header = ["Row", "Steps", "Seeds", f"{level} m{kind}", *classes, "Training", "CPU"]
    lines = []
    steps = {one.name: one.steps for one in plan.teachers}
    steps |= {row.name: row.steps for row in plan.rows}
    for name, title in plan.titles.items():
        runs = summary.of(name)
        keys = [plan.metric, *(f"{label}/{level}_{kind}" for label in classes)]
        lines.append(
            [
                title,
                f"{steps[name]:,}",
                str(len(runs)),
                *(spread(summary.mean(name, key)) for key in keys),
                _minutes([run.seconds for run in runs]),
                _minutes([run.cpu_seconds for run in runs]),
            ]
        )
    return markdown(header, lines)


def comparison_table(summary: Summary) -> str:
    """One line per question: the paired difference, its interval, and each seed's difference."""
    metric = summary.plan.metric
    seeds = sorted({seed for row in summary.plan.rows for seed in row.seeds})
    header = ["Question", "Difference", "95 % interval", *(f"seed {seed}" for seed in seeds)]
    lines = []
    for question in summary.plan.comparisons:
        row, base = (summary.values(name, metric) for name in (question.row, question.base))
        each = [
            percent(row[seed] - base[seed] if seed in row and seed in base else None, signed=True)
            for seed in seeds
        ]
        found = summary.difference(question, metric)
        lines.append(
            [question.title, f"**{percent(found.mean, signed=True)}**", interval(found), *each]
        )
    return markdown(header, lines)


def detail_table(summary: Summary, question: Comparison) -> str:
    """One line per class and ring of distance: both rows, their paired difference, its interval."""
    plan = summary.plan
    level, kind = metric_parts(plan.metric)
    header = [
        *("Class", "Distance", plan.row(question.base).title, plan.row(question.row).title),
        *("Difference", "95 % interval"),
    ]
    lines = []
    for label in ["mean", *summary.classes()]:
        for ring in ["all", *summary.rings()]:
            part = "" if ring == "all" else f"{ring}/"
            key = f"{part}{plan.metric}" if label == "mean" else f"{label}/{part}{level}_{kind}"
            found = summary.difference(question, key)
            both = [summary.mean(name, key) for name in (question.base, question.row)]
            lines.append(
                [
                    *(label, ring),
                    *(spread(one) for one in both),
                    percent(found.mean, signed=True),
                    interval(found),
                ]
            )
    return markdown(header, lines, words=2)


def verdict(summary: Summary, question: Comparison) -> str:
    """Say in words what the runs answer to a question, whatever it is."""
    metric = summary.plan.metric
    level, kind = metric_parts(metric)
    found = summary.difference(question, metric)
    unit = f"{level} m{kind}"
    sides = f"{_title(summary, question.row)} against {_title(summary, question.base)}"
    if found.count == 0:
        return f"{question.name}: no pair of runs is finished ({sides})."
    change = f"{percent(found.mean, signed=True)} {unit} ({sides}, {_pairs(found.count)}"
    if found.low is None or found.high is None or math.isnan(found.mean):
        return f"{question.name}: {change}). One pair has no interval: nothing is proved."
    told = f"{change}, 95 % interval {interval(found)})"
    if found.low > 0:
        return f"{question.name}: **yes**, {told}."
    if found.high < 0:
        return f"{question.name}: **no**, {told}: all of the interval is below zero."
    return f"{question.name}: **not shown**: {told}; the interval holds zero."


def convergence(summary: Summary) -> list[str]:
    """Say of every teacher whether it was trained to the end."""
    level, kind = metric_parts(summary.plan.metric)
    told = []
    for run in (run for one in summary.plan.teachers for run in summary.of(one.name)):
        gain = last_gain(run)
        if gain is None:
            told.append(
                f"Whether {run.row} has converged is not known: its learning curve has no points "
                "at 80 % and 100 % of the steps."
            )
            continue
        word = "converged" if gain < _CONVERGED else "not converged"
        told.append(
            f"The last 20 % of the {run.steps:,} steps of {run.row} added "
            f"{percent(gain, signed=True)} {level} m{kind} on the validation frames: {word} "
            f"(under {percent(_CONVERGED)} asked)."
        )
    return told


def runs_csv(summary: Summary) -> str:
    """Every run and every metric, as fractions, for whoever wants to compute for themselves."""
    metrics = sorted({name for run in summary.runs for name in run.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "seed", "steps", "split", "seconds", "cpu_seconds", *metrics])
    for run in (run for name in summary.plan.titles for run in summary.of(name)):
        values = [run.metrics.get(name, math.nan) for name in metrics]
        writer.writerow(
            [
                *(run.row, run.seed, run.steps, run.split),
                *(f"{value:.1f}" for value in (run.seconds, run.cpu_seconds)),
                *("" if math.isnan(value) else f"{value:.6f}" for value in values),
            ]
        )
    return text.getvalue()


def _title(summary: Summary, row: str) -> str:
    return f"“{summary.plan.row(row).title}”"


def _pairs(count: int) -> str:
    return "one seed" if count == 1 else f"{count} paired seeds"


def _minutes(seconds: Sequence[float]) -> str:
    """Mean time of a run."""
    if not seconds:
        return MISSING
    mean = sum(seconds) / len(seconds)
    return f"{mean / 60:.1f} min" if mean >= 60 else f"{mean:.0f} s"
