"""Studies: rows of runs over paired seeds, their results, statistics, tables and pictures."""

from kd3d.study.agreement import Wanted, check_runs
from kd3d.study.plan import Comparison, StudyPlan, StudyRow, StudyTeacher, read_plan
from kd3d.study.results import (
    StudyRun,
    StudySession,
    read_runs,
    read_sessions,
    run_file,
    write_run,
    write_sessions,
)
from kd3d.study.runner import Failure, Job, last_lines, run_jobs, usable_cores
from kd3d.study.statistics import Estimate, estimate, paired

__all__ = [
    "Comparison",
    "Estimate",
    "Failure",
    "Job",
    "StudyPlan",
    "StudyRow",
    "StudyRun",
    "StudySession",
    "StudyTeacher",
    "Wanted",
    "check_runs",
    "estimate",
    "last_lines",
    "paired",
    "read_plan",
    "read_runs",
    "read_sessions",
    "run_file",
    "run_jobs",
    "usable_cores",
    "write_run",
    "write_sessions",
]
