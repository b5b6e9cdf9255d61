"""``kd3d-train`` with a study: rows x seeds of runs, kept as they come, and a report."""

import datetime
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from kd3d.cli.environment import describe_machine
from kd3d.cli.folders import require_root
from kd3d.cli.run_lock import alone_in
from kd3d.cli.stopped import told_when_stopped
from kd3d.cli.study_configs import row_config, settings_of, teacher_run_config, with_teacher
from kd3d.cli.study_data import make_data
from kd3d.cli.study_runs import PlannedRun, collect, keep_teacher, run_here, teacher_file
from kd3d.cli.study_teachers import take_over_teachers
from kd3d.errors import ConfigError, OutputError
from kd3d.files import write_text
from kd3d.study import (
    Failure,
    StudyPlan,
    StudyRun,
    StudySession,
    Wanted,
    check_runs,
    read_plan,
    read_runs,
    read_sessions,
    run_jobs,
    usable_cores,
    write_run,
    write_sessions,
)
from kd3d.study.kept_plan import write_failures, write_plan
from kd3d.study.page import PageContext, render_page, write_page
from kd3d.study.pictures import save_pictures
from kd3d.study.settings import file_digest, write_settings
from kd3d.study.summary import Summary
from kd3d.study.tables import runs_csv, verdict

__all__ = ["run_study"]

_OF_THIS_CALL = (
    "data.root",
    "log_dir",
    *(f"study.{name}" for name in ("only", "page", "processes", "report_only", "results")),
)


@dataclass(frozen=True, slots=True)
class _Options:
    """Where and how a study runs; nothing that changes its numbers.

    Args:
        results: folder of the small files that are kept.
        page: the report; ``report.md`` among the results without one.
        processes: runs side by side; 0 runs them inside this process; None is one per core.
        only: names of the rows to run now; None for all.
        report_only: run nothing.
    """

    results: Path
    page: Path | None = None
    processes: int | None = None
    only: Sequence[str] | None = None
    report_only: bool = False


@dataclass(slots=True)
class _Study:
    """A study at work."""

    plan: StudyPlan
    options: _Options
    words: Sequence[str]
    folder: Path
    configs: Mapping[str, DictConfig]
    console: Console
    dataset: str | None = None
    runs: list[StudyRun] = field(default_factory=list)


def run_study(config: DictConfig, folder: Path, words: Sequence[str]) -> float:
    """Run what is missing of a study and write its report.

    Finished runs are read from ``study.results`` and not repeated, interrupted ones go on.

    Args:
        config: a composed ``train`` configuration with the node ``study``.
        folder: of this command; the runs work below it.
        words: its overrides, from which every run's configuration is composed.

    Returns:
        the mean of the study's metric over the seeds of the row that its first question is about.

    Raises:
        ConfigError: if the plan, or a finished run, does not fit.
        DatasetError: if the data is not what finished runs were run on, or is damaged.
        OutputError: if runs failed, or a file cannot be read or written. Finished runs stay.
        SystemExit: if a signal stops it, with 128 + its number.
    """
    study = _prepare(config, folder, words)
    console, plan = study.console, study.plan
    failures: list[Failure] = []
    going_on = "finished runs are kept, and the same command goes on."
    with alone_in(folder), told_when_stopped(going_on, console):
        if not study.options.report_only:
            study.dataset = make_data(config)
            _take_over(study, study.dataset)
        study.runs = read_runs(study.options.results)
        _check(study)
        write_plan(study.options.results, plan)
        if not study.options.report_only:
            failures = _run_missing(study)
            write_failures(study.options.results, failures)
        page = _report(study, failures)
    summary = Summary(plan, study.runs)
    for question in plan.comparisons:
        if question.group is None or summary.difference(question, plan.metric).count:
            console.print(verdict(summary, question), markup=False, highlight=False)
    console.print(f"report: {page}")
    if failures:
        raise OutputError(
            f"{len(failures)} runs failed: {', '.join(one.name for one in failures)}.",
            where=str(folder),
            hint="Their last lines are above and in each folder's log.txt. The finished ones are "
            "kept; the same command tries the others again.",
        )
    return summary.mean(_asked_row(plan), plan.metric).mean


def _prepare(config: DictConfig, folder: Path, words: Sequence[str]) -> _Study:
    require_root(config, "train", "val")
    node = cast(dict[str, Any], OmegaConf.to_container(config.study, resolve=True))
    options = _read_options(node)
    plan = read_plan(node)
    for name in options.only or ():
        plan.row(name)
    configs = {one.name: teacher_run_config(words, plan, one, folder) for one in plan.teachers}
    for row in plan.rows:
        configs[row.name] = row_config(words, plan, row, folder)
    return _Study(plan, options, words, folder, configs, Console())


def _read_options(node: dict[str, Any]) -> _Options:
    """Take the options that are no part of the plan out of a study's node."""
    if not node.get("results"):
        raise ConfigError("no folder is named for the results.", where="study.results")
    page = node.pop("page", None)
    return _Options(
        results=Path(node.pop("results")),
        page=None if page is None else Path(page),
        processes=node.pop("processes", None),
        only=node.pop("only", None),
        report_only=bool(node.pop("report_only", False)),
    )


def _take_over(study: _Study, dataset: str) -> None:
    named = [one.name for one in study.plan.teachers]
    settings = {name: settings_of(study.configs[name]) for name in named}
    take_over_teachers(study.plan, study.options.results, settings, dataset, study.console)


def _check(study: _Study) -> None:
    files = {one.name: teacher_file(study.options.results, one.name) for one in study.plan.teachers}
    digests = {name: file_digest(path) for name, path in files.items() if path.is_file()}
    settings = {name: settings_of(config) for name, config in study.configs.items()}
    wanted = Wanted(study.dataset, settings, digests)
    check_runs(study.plan, study.runs, wanted, study.options.results)


def _run_missing(study: _Study) -> list[Failure]:
    """Run what is missing, and keep every result when it is there."""
    planned = _plan_runs(study)
    by_name = {one.name: one for one in planned}
    if not planned:
        return []
    processes = study.options.processes
    side_by_side = usable_cores() if processes is None else processes
    study.console.print(
        f"{len(planned)} runs to do, {len(study.runs)} are there; {side_by_side or 1} at a time",
        highlight=False,
    )
    sessions = read_sessions(study.options.results)
    started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    began = time.monotonic()
    kept = 0

    def keep(name: str) -> None:
        nonlocal kept
        _keep(study, by_name[name])
        kept += 1
        seconds = round(time.monotonic() - began, 1)
        session = StudySession(started, seconds, describe_machine(), side_by_side or 1, kept)
        write_sessions(study.options.results, [*sessions, session])

    if side_by_side == 0:
        return run_here(planned, lambda one: keep(one.name), study.console)
    return run_jobs(
        [one.job() for one in planned],
        processes=side_by_side,
        on_success=lambda job: keep(job.name),
        console=study.console,
    )


def _plan_runs(study: _Study) -> list[PlannedRun]:
    """List the missing runs: teachers, then seed by seed, so that comparisons are whole early."""
    missing = Summary(study.plan, study.runs).missing()
    only = study.options.only
    chosen = [row for row in study.plan.rows if only is None or row.name in only]
    rows = [
        _planned(study, row.name, seed, row.steps, row.overrides, row.teacher)
        for row in chosen
        for seed in row.seeds
        if (row.name, seed) in missing
    ]
    by_length = study.plan.order == "longest"
    rows.sort(key=lambda one: (one.seed, -one.steps if by_length else 0))  # stable
    needed = {one.after for one in rows}
    teachers = [
        _planned(study, one.name, one.seed, one.steps, one.overrides, None)
        for one in study.plan.teachers
        if (one.name, one.seed) in missing and (only is None or _name(one.name, one.seed) in needed)
    ]
    return [*teachers, *rows]


def _planned(
    study: _Study, name: str, seed: int, steps: int, overrides: Sequence[str], teacher: str | None
) -> PlannedRun:
    config = study.configs[name].copy()
    config.seed = seed
    words = [*study.words, *overrides, f"seed={seed}"]
    folder = study.folder / "runs" / f"{name}-seed{seed}"
    one = PlannedRun(name, seed, config, folder, steps, words)
    if teacher is None or not one.uses_teacher:
        return one
    with_teacher(config, teacher_file(study.options.results, teacher))
    trained = study.plan.teacher(teacher)
    if (trained.name, trained.seed) not in Summary(study.plan, study.runs).missing():
        return one
    return PlannedRun(name, seed, config, folder, steps, words, _name(trained.name, trained.seed))


def _name(row: str, seed: int) -> str:
    return f"{row} seed {seed}"


def _keep(study: _Study, one: PlannedRun) -> None:
    """Write the small files of a finished run."""
    results = study.options.results
    teachers = {row.name: row.teacher for row in study.plan.rows}
    if one.row in teachers:
        named = teachers[one.row]
        teacher = None if named is None else teacher_file(results, named)
    else:
        keep_teacher(one, results)
        teacher = None
    assert study.dataset is not None
    finished = collect(one, study.plan.metric, study.dataset, teacher)
    write_settings(results, settings_of(one.config))
    write_run(results, finished)
    study.runs.append(finished)


def _report(study: _Study, failures: Sequence[Failure]) -> Path:
    """Write tables, pictures and the page."""
    results = study.options.results
    summary = Summary(study.plan, study.runs)
    write_text(results / "runs.csv", runs_csv(summary))
    page = study.options.page or results / "report.md"
    context = PageContext(
        command=_command(study.words),
        sessions=read_sessions(results),
        failures=failures,
        pictures=save_pictures(summary, results),
    )
    return write_page(page, study.plan.title, render_page(summary, context, page.parent))


def _command(words: Sequence[str]) -> str:
    """Write the command line, without what is of this call and this machine alone."""
    kept = [word for word in words if word.partition("=")[0] not in _OF_THIS_CALL]
    return shlex.join(["kd3d-train", *kept])


def _asked_row(plan: StudyPlan) -> str:
    return plan.comparisons[0].row if plan.comparisons else plan.rows[-1].name
