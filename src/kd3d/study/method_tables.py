"""Methods and pairs as Markdown and CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence

from kd3d.study.cells import MISSING, interval, markdown, percent, spread
from kd3d.study.compared import ComparedGroup, Line, class_names, metric_names
from kd3d.study.results import StudyRun
from kd3d.study.statistics import Estimate
from kd3d.study.summary import metric_parts

__all__ = [
    "cost_table",
    "group_table",
    "lines_csv",
    "method_sections",
    "overviews",
    "seed_table",
]


_GAIN_NOTE = """\
A gain is the mean of paired differences: runs of one seed have the same first weights, frames and
augmentation. The 95 % interval is Student's t: one that holds zero shows neither gain nor loss, and
a single pair has none."""
_COST_NOTE = """\
Of one validation frame: multiply-accumulates (one is two FLOPs); milliseconds from points to boxes.
Runs of a study are timed with others at work beside them: compare them with each other only."""


def method_sections(
    groups: Sequence[ComparedGroup], metric: str, pictures: Mapping[str, str]
) -> list[str]:
    """Write everything there is to say of groups of lines.

    Args:
        groups: in the order of the page.
        metric: that the gains are of, such as ``L2_mAPH``.
        pictures: link of each group's picture, by the group's title.

    Returns:
        paragraphs.
    """
    parts = []
    tables = overviews(groups, metric)
    if tables:
        parts.append(f"{metric_title(metric)}, and in brackets the gain over the first student:")
    parts += [*tables, _GAIN_NOTE]
    for group in groups:
        parts += [f"### {group.title}", group_table(group, metric)]
        if group.title in pictures:
            parts.append(f"![{group.title}]({pictures[group.title]})")
    return [*parts, "### What the networks cost", cost_table(groups), _COST_NOTE]


def metric_title(metric: str) -> str:
    """Write the name of a mean as tables do: ``L2 mAPH``."""
    level, kind = metric_parts(metric)
    return f"{level} m{kind}"


def overviews(groups: Sequence[ComparedGroup], metric: str) -> list[str]:
    """Lay methods out against pairs; groups that compare with other lines have tables of their own.

    A single group needs no overview.
    """
    by_base: dict[str, list[ComparedGroup]] = {}
    for group in groups:
        by_base.setdefault(group.lines[0].title, []).append(group)
    return [_overview(alike, metric) for alike in by_base.values() if len(alike) > 1]


def _overview(groups: Sequence[ComparedGroup], metric: str) -> str:
    titles = dict.fromkeys(line.title for group in groups for line in group.lines)
    lines = [["teacher", *(_teacher_cell(group.teacher, metric) for group in groups)]]
    for title in titles:
        found = [(group, group.line(title)) for group in groups]
        lines.append([title, *(_overview_cell(group, line, metric) for group, line in found)])
    return markdown(["Method", *(group.title for group in groups)], lines)


def _teacher_cell(teacher: StudyRun | None, metric: str) -> str:
    return MISSING if teacher is None else percent(teacher.metrics.get(metric))


def _overview_cell(group: ComparedGroup, line: Line | None, metric: str) -> str:
    if line is None:
        return ""
    gain = group.gain(line, metric)
    told = spread(line.mean(metric))
    return f"{told} ({percent(gain.mean, signed=True)})" if gain.count else told


def group_table(group: ComparedGroup, metric: str) -> str:
    """One line per way of training: mean and spread, paired gain, and APH (AP) of every class.

    The level (L1, L2) is that of the metric. Where lines have several bases, each names its own.
    """
    level, _ = metric_parts(metric)
    classes = class_names(group.runs)
    bases = {line.base for line in group.lines} - {None}
    over = ["over"] if len(bases) > 1 else []
    header = ["Method", *over, "Seeds", metric_title(metric)]
    header += [f"gain over {next(iter(bases))}" if len(bases) == 1 else "gain", "95 % interval"]
    header += [f"{name} {level} APH (AP)" for name in classes]
    lines = []
    if group.teacher is not None:
        teacher = Line("teacher", (group.teacher,))
        lines.append(_line(group, teacher, metric, [""] * len(over), classes))
    for line in group.lines:
        named = [line.base or ""] if over else []
        lines.append(_line(group, line, metric, named, classes))
    return markdown(header, lines, words=1 + len(over))


def _line(
    group: ComparedGroup, line: Line, metric: str, over: Sequence[str], classes: Sequence[str]
) -> list[str]:
    level, _ = metric_parts(metric)
    gain = group.gain(line, metric)
    return [
        *(line.title, *over, str(len(line.runs)), spread(line.mean(metric))),
        *(_gain_cell(gain, len(line.runs)), interval(gain)),
        *(_aph_and_ap(line, f"{name}/{level}") for name in classes),
    ]


def _gain_cell(gain: Estimate, runs: int) -> str:
    """Write a gain, and of how many pairs it is where not every run has its pair."""
    if not gain.count:
        return ""
    pairs = "" if gain.count == runs else f" ({gain.count} pair{'s' if gain.count > 1 else ''})"
    return f"**{percent(gain.mean, signed=True)}**{pairs}"


def _aph_and_ap(line: Line, name: str) -> str:
    if not line.runs:
        return MISSING
    aph, ap = (percent(line.mean(f"{name}_{kind}").mean) for kind in ("APH", "AP"))
    return f"{aph} ({ap})"


def seed_table(group: ComparedGroup, metric: str) -> str:
    """One line per way of training, one column per seed: the value, and the paired difference."""
    seeds = sorted({run.seed for run in group.runs})
    bases = {line.base for line in group.lines} - {None}
    over = ["over"] if len(bases) > 1 else []
    lines = []
    for line in group.lines:
        values, differences = line.values(metric), group.differences(line, metric)
        lines.append(
            [
                *(line.title, *([line.base or ""] if over else [])),
                *(_seed_cell(values.get(seed), differences.get(seed)) for seed in seeds),
            ]
        )
    header = ["Method", *over, *(f"seed {seed}" for seed in seeds)]
    return markdown(header, lines, words=1 + len(over))


def _seed_cell(value: float | None, difference: float | None) -> str:
    told = percent(value)
    return told if difference is None else f"{told} ({percent(difference, signed=True)})"


def cost_table(groups: Sequence[ComparedGroup]) -> str:
    """One line per network: parameters, multiply-accumulates, milliseconds per frame."""
    lines = {}
    for run in _networks(groups):
        alike = [one for one in _all_runs(groups) if _network(one) == _network(run)]
        lines[_network(run)] = [
            run.detector,
            f"{run.parameters:,}",
            MISSING if run.macs is None else f"{run.macs / 1e9:,.3f} G",
            _milliseconds(Line("", tuple(alike)).latency_ms),
        ]
    return markdown(["Network", "Parameters", "MACs", "ms/frame"], list(lines.values()))


def _networks(groups: Sequence[ComparedGroup]) -> list[StudyRun]:
    """Give one run of every network, in the order of the tables; teachers first."""
    return list({_network(run): run for run in reversed(_all_runs(groups))}.values())[::-1]


def _all_runs(groups: Sequence[ComparedGroup]) -> list[StudyRun]:
    teachers = [group.teacher for group in groups if group.teacher is not None]
    return [*teachers, *(run for group in groups for run in group.runs)]


def _network(run: StudyRun) -> tuple[str, int, int | None]:
    return run.detector, run.parameters, run.macs


def lines_csv(groups: Sequence[ComparedGroup], metric: str) -> str:
    """Every line with its means, fractions, for whoever wants to draw or compute further."""
    names = metric_names([run for group in groups for run in group.runs])
    header = ["pair", "method", "base", "seeds", "mean", "spread"]
    header += ["gain", "gain_low", "gain_high", "detector", "parameters", "macs", "latency_ms"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *names])
    for group, line in [(one, line) for one in groups for line in one.lines]:
        mean, gain = line.mean(metric), group.gain(line, metric)
        writer.writerow(
            [
                *(group.title, line.title, line.base, len(line.runs)),
                *(_number(value) for value in (mean.mean, mean.spread)),
                *(_number(value) for value in (gain.mean, gain.low, gain.high)),
                *(_network(line.runs[0]) if line.runs else ("", "", "")),
                _number(line.latency_ms),
                *(_number(line.mean(name).mean) for name in names),
            ]
        )
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6f}"


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else MISSING
