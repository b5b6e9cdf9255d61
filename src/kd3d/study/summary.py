"""The numbers of a study, row by row: what tables and pictures show."""

from collections.abc import Sequence
from dataclasses import dataclass

from kd3d.metrics.functional import RINGS
from kd3d.study.plan import Comparison, StudyPlan
from kd3d.study.results import StudyRun
from kd3d.study.runner import Failure
from kd3d.study.statistics import Estimate, estimate, paired

__all__ = ["Summary", "last_gain", "metric_parts"]

_LATE = 0.8
"""Share of the steps after which a converged network should gain little."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A plan and the finished runs that belong to it.

    Args:
        plan: the study.
        runs: finished ones; those of other seeds than the plan's are not counted.
        failures: runs that failed and were not repeated since.
    """

    plan: StudyPlan
    runs: Sequence[StudyRun]
    failures: Sequence[Failure] = ()

    def of(self, name: str) -> list[StudyRun]:
        """Give the runs of a row, or the one of a teacher, in the order of the seeds."""
        teachers = {one.name: (one.seed,) for one in self.plan.teachers}
        seeds = teachers[name] if name in teachers else self.plan.row(name).seeds
        found = {run.seed: run for run in self.runs if run.row == name}
        return [found[seed] for seed in seeds if seed in found]

    def values(self, row: str, metric: str) -> dict[int, float]:
        """Give a metric by seed; runs that lack it are left out."""
        return {run.seed: run.metrics[metric] for run in self.of(row) if metric in run.metrics}

    def mean(self, row: str, metric: str) -> Estimate:
        """Estimate a row's mean of a metric."""
        return estimate(list(self.values(row, metric).values()))

    def difference(self, question: Comparison, metric: str) -> Estimate:
        """Estimate by how much the row of a question is above its base, seed by seed."""
        return paired(self.values(question.row, metric), self.values(question.base, metric))

    def answered(self) -> list[Comparison]:
        """List the questions of which at least one pair of runs is finished."""
        return [
            one for one in self.plan.comparisons if self.difference(one, self.plan.metric).count
        ]

    def missing(self) -> list[tuple[str, int]]:
        """List the runs, teachers first, that the plan asks for and that are not there."""
        teachers = [(one.name, one.seed) for one in self.plan.teachers]
        planned = teachers + [(row.name, seed) for row in self.plan.rows for seed in row.seeds]
        there = {(run.row, run.seed) for run in self.runs}
        return [run for run in planned if run not in there]

    def surplus(self) -> list[StudyRun]:
        """List finished runs of seeds that the plan does not name."""
        counted = {id(run) for name in self.plan.titles for run in self.of(name)}
        return [run for run in self.runs if id(run) not in counted]

    def curve(self, row: str) -> dict[int, list[float]]:
        """Give the values of a row's learning curves by step; only steps that all its runs have."""
        runs = self.of(row)
        points = [dict(run.curve) for run in runs]
        steps = [step for step, _ in runs[0].curve] if runs else []
        return {
            step: [one[step] for one in points] for step in steps if all(step in p for p in points)
        }

    def classes(self) -> list[str]:
        """Name the classes of the metrics, in their own order."""
        keys = (key.split("/") for run in self.runs for key in run.metrics)
        return list(dict.fromkeys(key[0] for key in keys if len(key) == 2 and key[0] not in RINGS))

    def rings(self) -> list[str]:
        """Name the rings of distance in which any run found anything."""
        means = [f"{ring}/{self.plan.metric}" for ring in RINGS]
        return [
            ring
            for ring, mean in zip(RINGS, means, strict=True)
            if any(run.metrics.get(mean, 0.0) > 0.0 for run in self.runs)
        ]


def metric_parts(metric: str) -> tuple[str, str]:
    """Split the name of a mean, such as ``L2_mAPH``, into level and kind: ``("L2", "APH")``."""
    level, _, kind = metric.partition("_m")
    return level, kind


def last_gain(run: StudyRun) -> float | None:
    """Tell what the last 20 % of a run's steps added to the study's metric.

    Returns:
        a fraction; None where the curve has no point at 80 % or at 100 % of the steps.
    """
    values = dict(run.curve)
    late = _LATE * run.steps
    if run.steps not in values or not late.is_integer() or int(late) not in values:
        return None
    return values[run.steps] - values[int(late)]
