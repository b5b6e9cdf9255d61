"""A study's folder as one value."""

import os
from pathlib import Path

from kd3d.study.kept_plan import read_failures, read_kept_plan
from kd3d.study.results import read_runs
from kd3d.study.summary import Summary

__all__ = ["read_study"]


def read_study(folder: str | os.PathLike[str]) -> Summary:
    """Read the results of a study: its plan, the finished runs and those that failed.

    Nothing but the small files in the folder is needed: no data, no weights, no configuration.

    Args:
        folder: such as ``docs/results/gain_study``.

    Raises:
        OutputError: if there is no plan, or a file holds something else.
    """
    folder = Path(folder)
    plan, runs = read_kept_plan(folder), read_runs(folder)
    there = {f"{run.row} seed {run.seed}" for run in runs}
    failures = [one for one in read_failures(folder) if one.name not in there]
    return Summary(plan, runs, failures)
