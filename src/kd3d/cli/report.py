"""The report of a command: what was run, where, and what came out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kd3d.cli.results import Role, RunResult, check_results, read_results, write_results
from kd3d.cli.tables import (
    class_table,
    main_table,
    markdown_table,
    print_results,
    training_table,
)
from kd3d.files import write_text

__all__ = [
    "Picture",
    "ReportContext",
    "Role",
    "RunResult",
    "print_results",
    "read_results",
    "render_report",
    "write_report",
]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the report; `path` is relative to the report's folder."""

    path: str
    caption: str


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What surrounds the numbers.

    Args:
        title: first line of the report.
        command: the command line, as typed.
        date: day (and time) of the run.
        machine: processor, cores, memory, accelerator, in words.
        versions: releases by package name.
        data: what was trained and evaluated on.
        notes: remarks that a reader of the numbers must know.
        pictures: pictures in the report's folder.
    """

    title: str
    command: str
    date: str
    machine: str
    versions: Mapping[str, str]
    data: str
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()


def render_report(results: Sequence[RunResult], context: ReportContext) -> str:
    """Write the report as Markdown.

    Raises:
        InputError: if there is no result, or two have one name.
    """
    check_results(results)
    versions = ", ".join(f"{name} {version}" for name, version in context.versions.items())
    parts = [
        f"# {context.title}",
        f"```\n{context.command}\n```",
        _bullets(
            f"**Date:** {context.date}",
            f"**Machine:** {context.machine}",
            f"**Versions:** {versions}",
            f"**Data:** {context.data}",
        ),
        "## Results",
        "AP and APH in percent (Waymo's definition); mAP and mAPH are means over the classes.",
        markdown_table(*main_table(results)),
        markdown_table(*training_table(results)),
        "## Per class",
        markdown_table(*class_table(results)),
    ]
    if context.notes:
        parts += ["## Notes", _bullets(*context.notes)]
    if context.pictures:
        parts.append("## Pictures")
        parts += [f"![{picture.caption}]({picture.path})" for picture in context.pictures]
    return "\n\n".join(parts) + "\n"


def write_report(
    folder: str | os.PathLike[str], results: Sequence[RunResult], context: ReportContext
) -> Path:
    """Write `report.md` and `metrics.json` into a folder, each through a temporary name.

    `metrics.json` holds every field of every run and the differences; a metric that is not a
    number (a class without objects) is null. It is written last: where it is, the report is.

    Returns:
        the path of `report.md`.

    Raises:
        InputError: if there is no result, or two have one name.
        OutputError: if the folder cannot be written.
    """
    path = write_text(Path(folder) / "report.md", render_report(results, context))
    write_results(Path(folder) / "metrics.json", results)
    return path


def _bullets(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)
