"""The report of a study: a written page with a part that the command fills in."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from kd3d.errors import OutputError
from kd3d.files import write_text
from kd3d.study.compared import groups_of
from kd3d.study.method_tables import method_sections
from kd3d.study.results import StudyRun, StudySession
from kd3d.study.runner import Failure
from kd3d.study.summary import Summary
from kd3d.study.tables import (
    comparison_table,
    convergence,
    detail_table,
    row_table,
    verdict,
)

__all__ = ["BEGIN", "END", "PageContext", "render_page", "write_page"]

BEGIN = "<!-- generated: begin (the study's command writes what follows) -->"
END = "<!-- generated: end -->"


@dataclass(frozen=True, slots=True)
class PageContext:
    """What surrounds the numbers.

    Args:
        command: what to type.
        sessions: calls of the command so far.
        failures: runs that failed in this call.
        pictures: path and caption of each.
    """

    command: str
    sessions: Sequence[StudySession]
    failures: Sequence[Failure]
    pictures: Sequence[tuple[Path, str]]


def render_page(summary: Summary, context: PageContext, folder: Path) -> str:
    """Write the generated part.

    Args:
        summary: of the study.
        context: what surrounds it.
        folder: of the page, which pictures are named relative to.
    """
    plan = summary.plan
    if plan.groups:
        return _render_groups(summary, context, folder)
    parts = ["## Results", *(_wrap(verdict(summary, one)) for one in plan.comparisons)]
    parts += [_wrap(_measured(summary)), row_table(summary)]
    if plan.comparisons:
        parts += ["Paired differences, points:", comparison_table(summary)]
    parts += [_wrap(line) for line in convergence(summary)]
    parts += [f"![{caption}]({_link(path, folder)})" for path, caption in context.pictures]
    if plan.comparisons:
        parts += [f"### {plan.comparisons[0].title}: by class and distance"]
        parts += [detail_table(summary, plan.comparisons[0])]
    parts += ["### How it was run", _how(summary, context)]
    return "\n\n".join(parts)


def _render_groups(summary: Summary, context: PageContext, folder: Path) -> str:
    """Write tables of methods and pairs; a picture belongs to the group that is its caption."""
    links = {title: _link(path, folder) for path, title in context.pictures}
    parts = ["## Results", _wrap(_measured(summary))]
    parts += method_sections(groups_of(summary), summary.plan.metric, links)
    parts += [_wrap(line) for line in convergence(summary)]
    parts += ["### How it was run", _how(summary, context)]
    return "\n\n".join(parts)


def write_page(path: Path, title: str, text: str) -> Path:
    """Put the generated part between the markers of a page; make the page if there is none.

    Raises:
        OutputError: if the page lacks the markers, or cannot be read or written.
    """
    if not path.exists():
        return write_text(path, f"# {title}\n\n{BEGIN}\n\n{text}\n\n{END}\n")
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot be read ({error}).", where=str(path)) from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise OutputError(
            "the page has no place for the results.",
            where=str(path),
            hint=f"Put these two lines where they belong: {BEGIN} and {END}",
        )
    return write_text(path, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _measured(summary: Summary) -> str:
    splits = sorted({run.split for run in summary.runs})
    where = " and ".join(f"{split} split" for split in splits)
    return (
        f"APH in percent, measured on the {where} with the weights after the last step: mean and "
        "standard deviation over the seeds. Times are means per run."
    )


def _how(summary: Summary, context: PageContext) -> str:
    runs = [run for name in summary.plan.titles for run in summary.of(name)]
    lines = [f"**Command:** `{context.command}`"]
    lines += [f"**Machine:** {name}" for name in dict.fromkeys(run.machine for run in runs)]
    lines += [f"**Versions:** {_join(run.version for run in runs)}"]
    lines += [f"**Data:** {_join(run.dataset for run in runs)}"]
    lines += [_time(runs, context.sessions)]
    missing = summary.missing()
    if missing:
        lines.append(f"**Missing:** {len(missing)} of the planned runs: {_by_row(missing)}")
    if context.failures:
        lines.append(f"**Failed in the last call:** {_join(one.name for one in context.failures)}")
    surplus = [(run.row, run.seed) for run in summary.surplus()]
    if surplus:
        lines.append(f"**Not counted** (seeds outside the plan): {_by_row(surplus)}")
    return "\n".join(f"- {line}" for line in lines)


def _by_row(runs: Iterable[tuple[str, int]]) -> str:
    """Name runs, row by row."""
    seeds: dict[str, list[str]] = {}
    for row, seed in runs:
        seeds.setdefault(row, []).append(str(seed))
    return "; ".join(
        f"{row} seed{'s' if len(of_row) > 1 else ''} {', '.join(of_row)}"
        for row, of_row in seeds.items()
    )


def _time(runs: Sequence[StudyRun], sessions: Sequence[StudySession]) -> str:
    cpu = sum(run.cpu_seconds for run in runs) / 3600
    wall = sum(session.seconds for session in sessions) / 60
    calls = f"{len(sessions)} call{'s' if len(sessions) != 1 else ''}"
    side = ", ".join(map(str, sorted({session.processes for session in sessions})))
    return (
        f"**Time:** {wall:.0f} minutes of wall time in {calls}, {side or 'no'} runs side by side; "
        f"{cpu:.2f} hours of processor time for training and its validations ({len(runs)} runs)"
    )


def _join(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _link(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _wrap(text: str) -> str:
    return fill(text, width=100, break_long_words=False, break_on_hyphens=False)
