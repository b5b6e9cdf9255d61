"""Studies: rows of runs over paired seeds, their results, statistics, tables and pictures.

``read_study(folder)`` reads one; `groups_of`, the tables and the drawings take what it gives.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from kd3d.study.compared import ComparedGroup, Line, groups_of
    from kd3d.study.method_pictures import draw_gains
    from kd3d.study.method_tables import cost_table, group_table, overviews, seed_table
    from kd3d.study.pictures import draw_curves, draw_parts
    from kd3d.study.reading import read_study
    from kd3d.study.summary import Summary
    from kd3d.study.tables import comparison_table, detail_table, row_table, verdict

_LATER = {
    "ComparedGroup": "compared",
    "Line": "compared",
    "Summary": "summary",
    "comparison_table": "tables",
    "cost_table": "method_tables",
    "detail_table": "tables",
    "draw_curves": "pictures",
    "draw_gains": "method_pictures",
    "draw_parts": "pictures",
    "group_table": "method_tables",
    "groups_of": "compared",
    "overviews": "method_tables",
    "read_study": "reading",
    "row_table": "tables",
    "seed_table": "method_tables",
    "verdict": "tables",
}
"""Names for reading a study: they need torch, which running one from outside does not."""

__all__ = [
    "ComparedGroup",
    "Comparison",
    "Estimate",
    "Failure",
    "Job",
    "Line",
    "StudyPlan",
    "StudyRow",
    "StudyRun",
    "StudySession",
    "StudyTeacher",
    "Summary",
    "Wanted",
    "check_runs",
    "comparison_table",
    "cost_table",
    "detail_table",
    "draw_curves",
    "draw_gains",
    "draw_parts",
    "estimate",
    "group_table",
    "groups_of",
    "last_lines",
    "overviews",
    "paired",
    "read_plan",
    "read_runs",
    "read_sessions",
    "read_study",
    "row_table",
    "run_file",
    "run_jobs",
    "seed_table",
    "usable_cores",
    "verdict",
    "write_run",
    "write_sessions",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any public name
    """Import a name of `_LATER` when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'kd3d.study' has no attribute {name!r}")
    return getattr(import_module(f"kd3d.study.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
