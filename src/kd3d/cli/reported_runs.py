"""Results of several studies and runs, sorted into the tables of ``kd3d-report``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kd3d.cli.reported_folders import ReportedStage, find_folders, read_stages
from kd3d.errors import ConfigError
from kd3d.study import StudyRun, read_study, run_file
from kd3d.study.compared import ComparedGroup, Line, groups_of
from kd3d.study.kept_plan import is_study
from kd3d.study.settings import differing, digest_of, read_settings, value_at

__all__ = ["Evaluated", "Reported", "read_reported"]

_RANDOM = "random"
_PLAIN = "none"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A run, and what its numbers were measured with.

    Args:
        run: the run.
        where: its file or folder.
        settings: of the run; None where they are not kept.
    """

    run: StudyRun
    where: Path
    settings: Mapping[str, Any] | None


@dataclass(slots=True)
class Reported:
    """What there is to report.

    Args:
        groups: tables, studies first.
        evaluated: every run of them.
        missing: runs that were planned, or that others of a table have, and that are not there.
        failed: runs that were begun and did not end well.
        sources: folders that were read.
    """

    groups: list[ComparedGroup] = field(default_factory=list)
    evaluated: list[Evaluated] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)


def read_reported(given: Iterable[Path]) -> Reported:
    """Read studies and runs.

    Args:
        given: what `kd3d.cli.reported_folders.find_folders` takes.

    Raises:
        ConfigError: if two runs are the same one, or a file is of a row that its study lacks.
        OutputError: if there is nothing to read, or a file cannot be read.
    """
    reported = Reported()
    found = {folder.resolve(): folder for path in given for folder in find_folders(path)}
    reported.sources = list(found.values())
    stages: list[ReportedStage] = []
    for folder in reported.sources:
        if is_study(folder):
            _add_study(reported, folder)
            continue
        finished = read_stages(folder)
        stages += finished
        if not (folder / "metrics.json").is_file():
            told = ", ".join(one.result.name for one in finished) or "no network"
            reported.failed.append(f"{folder}: stopped before its end; {told} is finished")
    if any(is_study(folder) for folder in reported.sources):
        stages = [replace(one, root=_fingerprint(one.root)) for one in stages]
    _add_runs(reported, stages)
    return reported


def _fingerprint(root: str) -> str:
    """Name simulated data as studies do, by its content; other data stays a folder."""
    if not Path(root, "simulation.json").is_file():
        return root
    from kd3d.simulate import dataset_fingerprint

    return dataset_fingerprint(root)


def _add_study(reported: Reported, folder: Path) -> None:
    summary = read_study(folder)
    plan = summary.plan
    for group in groups_of(summary):
        title = _own_title(group.title, str(folder), reported.groups)
        reported.groups.append(replace(group, title=title))
    counted = [run for name in plan.titles for run in summary.of(name)]
    for run in counted:
        settings = read_settings(folder, run.settings)
        reported.evaluated.append(Evaluated(run, run_file(folder, run.row, run.seed), settings))
    reported.failed += [
        f"{plan.name}, {one.name}: {_last_line(one.lines)}" for one in summary.failures
    ]
    failed = {one.name for one in summary.failures}
    missing: dict[str, list[int]] = {}
    for row, seed in summary.missing():
        if f"{row} seed {seed}" not in failed:
            missing.setdefault(row, []).append(seed)
    reported.missing += [
        f"{plan.name}, {_seeds(_named(row, plan.titles[row]), of)}" for row, of in missing.items()
    ]


def _named(row: str, title: str) -> str:
    """Name a row as its files do and, where that is something else, as the table does."""
    return row if title == row else f"{row} ({title})"


def _add_runs(reported: Reported, stages: Sequence[ReportedStage]) -> None:
    """Sort the networks of ordinary runs: a table per student, a line per way of training it."""
    runs = {id(one): _study_run(one) for one in stages}
    for one in stages:
        reported.evaluated.append(Evaluated(runs[id(one)], one.folder, one.settings))
    students = [one for one in stages if one.result.role != "teacher"]
    by_network: dict[tuple[str, int], list[ReportedStage]] = {}
    for one in students:
        by_network.setdefault((one.result.detector, one.result.parameters), []).append(one)
    for (detector, parameters), members in by_network.items():
        teachers = sorted({one.teacher for one in members if one.teacher})
        title = f"{' or '.join(teachers)} to {detector}" if teachers else detector
        title = _own_title(title, f"{parameters:,} parameters", reported.groups)
        folders = {one.folder for one in members}
        taught = [one for one in stages if one.result.role == "teacher" and one.folder in folders]
        lines = _lines(members, runs)
        teacher = runs[id(taught[0])] if taught else None
        reported.groups.append(ComparedGroup(title, tuple(lines), teacher))
        seeds = sorted({one.seed for one in members})
        for line in lines:
            lacking = sorted(set(seeds) - {run.seed for run in line.runs})
            if lacking:
                reported.missing.append(f"{title}, {_seeds(line.title, lacking)}")


def _own_title(title: str, more: str, others: Sequence[ComparedGroup]) -> str:
    """Tell a table from an earlier one of the same title."""
    return f"{title} ({more})" if title in {group.title for group in others} else title


def _lines(members: Sequence[ReportedStage], runs: Mapping[int, StudyRun]) -> list[Line]:
    by_title: dict[str, list[ReportedStage]] = {}
    titles = _titles(members)
    for one in sorted(members, key=lambda one: (one.method != _PLAIN, one.seed)):
        by_title.setdefault(titles[id(one)], []).append(one)
    for title, alike in by_title.items():
        _check_seeds(title, alike)
    return [
        Line(title, tuple(runs[id(one)] for one in alike), _base(title, alike[0], by_title))
        for title, alike in by_title.items()
    ]


def _titles(members: Sequence[ReportedStage]) -> dict[int, str]:
    """Call each network after its method, and after what else differs between networks."""
    several = len({_start(one) for one in members}) > 1
    taught = len({one.teacher for one in members if one.teacher}) > 1
    titles = {}
    for one in members:
        parts = [
            one.method,
            _start(one) if several else "",
            f"from {one.teacher}" if taught else "",
        ]
        titles[id(one)] = ", ".join(filter(None, parts))
    for title in set(titles.values()):
        alike = [one for one in members if titles[id(one)] == title]
        for one, more in zip(alike, _changes(alike), strict=True):
            titles[id(one)] += more
    return titles


def _changes(alike: Sequence[ReportedStage]) -> list[str]:
    """Tell networks of one method apart by the options in which they differ."""
    first = alike[0].settings
    keys = dict.fromkeys(key for one in alike for key in differing(first, one.settings))
    found = []
    for one in alike:
        values = {key: value_at(one.settings, key) for key in keys}
        found.append("".join(f", {_short(key)}={value}" for key, value in values.items()))
    return found


def _short(key: str) -> str:
    return ".".join(key.split(".")[-2:])


def _base(
    title: str, one: ReportedStage, lines: Mapping[str, Sequence[ReportedStage]]
) -> str | None:
    """Choose the plain line with the same start, else the one with random weights."""
    plain = {of[0].result.initialisation: name for name, of in lines.items() if _plain(of[0])}
    own = None if _plain(one) else plain.get(one.result.initialisation)
    base = own or plain.get(_RANDOM)
    return None if base == title else base


def _plain(one: ReportedStage) -> bool:
    return one.method == _PLAIN


def _start(one: ReportedStage) -> str:
    return one.result.initialisation.removesuffix(" of the teacher")


def _check_seeds(title: str, alike: Sequence[ReportedStage]) -> None:
    seen: dict[int, ReportedStage] = {}
    for one in alike:
        if one.seed in seen:
            raise ConfigError(
                f"is the same run as {seen[one.seed].folder}: {title}, seed {one.seed}.",
                where=str(one.folder),
                hint="Name one of the two.",
            )
        seen[one.seed] = one


def _study_run(one: ReportedStage) -> StudyRun:
    result = one.result
    return StudyRun(
        row=result.name,
        seed=one.seed,
        steps=result.steps,
        metrics=result.metrics,
        split=result.split,
        curve=(),
        seconds=result.seconds,
        cpu_seconds=result.cpu_seconds,
        machine="",
        version="",
        dataset=one.root,
        settings=digest_of(one.settings),
        teacher=None,
        weights=None,
        detector=result.detector,
        parameters=result.parameters,
        macs=result.macs,
        latency_ms=result.latency_ms,
    )


def _seeds(name: str, seeds: Sequence[int]) -> str:
    return f"{name} seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "nothing was printed"
