"""Ways of training side by side: the lines of one table, with their runs."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kd3d.metrics.functional import RINGS
from kd3d.study.plan import Comparison, StudyRow
from kd3d.study.results import StudyRun
from kd3d.study.statistics import Estimate, estimate, paired
from kd3d.study.summary import Summary

__all__ = ["ComparedGroup", "Line", "class_names", "groups_of", "metric_names"]


@dataclass(frozen=True, slots=True)
class Line:
    """One way of training a network, such as a method of distillation.

    Args:
        title: what the table calls it.
        runs: finished ones, one per seed.
        base: title of the line that it is compared with; None for one that others are compared
            with.
    """

    title: str
    runs: tuple[StudyRun, ...]
    base: str | None = None

    def values(self, metric: str) -> dict[int, float]:
        """Give a metric by seed; runs that lack it are left out."""
        return {run.seed: run.metrics[metric] for run in self.runs if metric in run.metrics}

    def mean(self, metric: str) -> Estimate:
        """Estimate the mean of a metric over the seeds."""
        return estimate(list(self.values(metric).values()))

    @property
    def latency_ms(self) -> float:
        """Median of what the runs measured; NaN without any."""
        times = [run.latency_ms for run in self.runs if math.isfinite(run.latency_ms)]
        return statistics.median(times) if times else math.nan


@dataclass(frozen=True, slots=True)
class ComparedGroup:
    """Lines that are compared with each other: one table.

    Args:
        title: such as the pair of teacher and student.
        lines: those without a base first.
        teacher: run of the network that taught, where there is one.
    """

    title: str
    lines: tuple[Line, ...]
    teacher: StudyRun | None = None

    def line(self, title: str) -> Line | None:
        """Find a line by its title."""
        return next((line for line in self.lines if line.title == title), None)

    def differences(self, line: Line, metric: str) -> dict[int, float]:
        """Give by seed how much a line is above its base; empty without a base.

        Only seeds that both have are compared.
        """
        values, base = line.values(metric), self._base_values(line, metric)
        return {seed: values[seed] - base[seed] for seed in values if seed in base}

    def gain(self, line: Line, metric: str) -> Estimate:
        """Estimate by how much a line is above its base, seed by seed; NaN without a base."""
        return paired(line.values(metric), self._base_values(line, metric))

    def _base_values(self, line: Line, metric: str) -> dict[int, float]:
        base = None if line.base is None else self.line(line.base)
        return {} if base is None else base.values(metric)

    @property
    def runs(self) -> list[StudyRun]:
        """All runs of the lines, each once."""
        found = {id(run): run for line in self.lines for run in line.runs}
        return list(found.values())


def groups_of(summary: Summary) -> list[ComparedGroup]:
    """Sort the rows of a study into tables: one per group of questions, or one for all rows.

    A row that is compared with several others has as many lines.
    """
    groups = summary.plan.groups
    if groups:
        return [_group(summary, title, questions) for title, questions in groups.items()]
    lines = [line for row in summary.plan.rows for line in _lines_of(summary, row)]
    teacher = _teacher(summary, summary.plan.rows[0].name)
    return [ComparedGroup(summary.plan.title, tuple(lines), teacher)]


def class_names(runs: Sequence[StudyRun]) -> list[str]:
    """Name the classes of the runs' metrics, in their own order."""
    keys = (key.split("/") for run in runs for key in run.metrics)
    return list(dict.fromkeys(key[0] for key in keys if len(key) == 2 and key[0] not in RINGS))


def metric_names(runs: Sequence[StudyRun]) -> list[str]:
    """Name the metrics of all distances: the means, then those of the classes."""
    keys = dict.fromkeys(key for run in runs for key in run.metrics)
    whole = [key for key in keys if not any(ring in key.split("/") for ring in RINGS)]
    return sorted(whole, key=lambda key: "/" in key)


def _group(summary: Summary, title: str, questions: Sequence[Comparison]) -> ComparedGroup:
    titles = {one.base: summary.plan.row(one.base).title for one in questions}
    bases = [Line(name, tuple(summary.of(row))) for row, name in titles.items()]
    lines = [Line(one.title, tuple(summary.of(one.row)), titles[one.base]) for one in questions]
    return ComparedGroup(title, (*bases, *lines), _teacher(summary, questions[0].row))


def _lines_of(summary: Summary, row: StudyRow) -> list[Line]:
    bases = [one.base for one in summary.plan.comparisons if one.row == row.name]
    runs = tuple(summary.of(row.name))
    if not bases:
        return [Line(row.title, runs)]
    return [Line(row.title, runs, summary.plan.row(base).title) for base in bases]


def _teacher(summary: Summary, row: str) -> StudyRun | None:
    name = summary.plan.row(row).teacher
    found = [] if name is None else summary.of(name)
    return found[0] if found else None
