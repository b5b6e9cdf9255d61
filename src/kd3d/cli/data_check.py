"""``kd3d-data check``: does a dataset hold what kd3d takes it for?"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from kd3d.cli.data_task import DataTask

if TYPE_CHECKING:
    from rich.console import Console

    from kd3d.data import FrameSource
    from kd3d.data.check import CheckReport

__all__ = ["CHECK", "CheckOptions"]

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass
class CheckOptions:
    """What ``kd3d-data check`` takes, each as ``name=value``."""

    root: str = field(
        default=MISSING, metadata={"help": "folder of scans; or folder or URL of Waymo records"}
    )
    classes: list[str] | None = field(
        default=None, metadata={"help": "of a folder without dataset.json"}
    )
    train: Any = field(
        default=None, metadata={"help": "folder, list or pattern; train, training/*.tfrecord"}
    )
    val: Any = field(
        default=None, metadata={"help": "folder, list or pattern; val, validation/*.tfrecord"}
    )
    frames: int = field(default=20, metadata={"help": "frames of each split to read"})
    out: str | None = field(
        default=None, metadata={"help": "folder for check.json and pictures; none by default"}
    )
    pictures: int = field(default=3, metadata={"help": "frames of each split to draw"})
    cache_dir: str | None = field(
        default=None, metadata={"help": "of the index; $KD3D_CACHE or ~/.cache/kd3d by default"}
    )


def _check(options: CheckOptions) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from kd3d.data.check import check_frames

    console, reports = Console(), {}
    with Progress(transient=True, console=console) as bar:
        for split, source in _sources(options):
            task = bar.add_task(split, total=None)
            reports[split] = check_frames(
                source,
                options.frames,
                progress=lambda done, total, task=task: bar.update(  # type: ignore[misc]
                    task, completed=done, total=total
                ),
            )
    for split, report in reports.items():
        _print(console, split, report)
    if options.out is not None:
        _write(Path(options.out), reports, options.pictures)
        console.print(f"Wrote check.json and pictures to {options.out}.", soft_wrap=True)
    if any(report.has_errors for report in reports.values()):
        raise SystemExit(1)


def _sources(options: CheckOptions) -> Iterator[tuple[str, "FrameSource"]]:
    """Open the splits that are asked for, as scans of a folder or as records."""
    from kd3d.data import FolderFrames, WaymoFrames, build_index

    of_folder = _is_folder_of_scans(options.root)
    usual = ("train", "val") if of_folder else ("training/*.tfrecord", "validation/*.tfrecord")
    asked = (options.train, options.val)
    chosen = usual if asked == (None, None) else asked
    for split, pattern in zip(("train", "val"), chosen, strict=True):
        if pattern is None:
            continue
        if of_folder:
            yield split, FolderFrames.open(options.root, options.classes, str(pattern))
        else:
            index = build_index(options.root, pattern, cache_dir=options.cache_dir)
            yield split, WaymoFrames(index)


def _is_folder_of_scans(root: str) -> bool:
    from kd3d.data.folder_facts import FACTS_NAME
    from kd3d.data.folder_layout import POINTS_SUFFIX, SCAN_SUFFIX

    folder = Path(root).expanduser()
    if not folder.is_dir():
        return False
    if (folder / FACTS_NAME).is_file():
        return True
    kinds = (SCAN_SUFFIX, POINTS_SUFFIX)
    return any(next(folder.rglob(f"*{kind}"), None) is not None for kind in kinds)


def _print(console: "Console", split: str, report: "CheckReport") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    looked = len(report.looked_at)
    title = f"{report.root}, {split}: {report.frames:,} frames, {looked} read"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    for column in ("class", "boxes", "length", "width", "height", "without points"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for facts in report.classes:
        sizes = (f"{size:.2f}" for size in (facts.length, facts.width, facts.height))
        table.add_row(escape(facts.name), str(facts.boxes), *sizes, f"{100 * facts.empty:.0f} %")
    console.print(table)
    for problem in report.problems:
        label = f"[{_COLOURS[problem.level]}]{problem.level}[/]"
        text = f"{problem.name}. {problem.what} {problem.hint}"
        console.print(f"{label}: {escape(text)}", highlight=False, soft_wrap=True)
    if not report.problems:
        console.print("Nothing wrong was found.")
    console.print()


def _write(out: Path, reports: Mapping[str, "CheckReport"], pictures: int) -> None:
    from kd3d.cli.check_pictures import save_check_pictures
    from kd3d.files import write_text

    facts = {
        split: {
            "root": report.root,
            "frames": report.frames,
            "frames_read": len(report.looked_at),
            "problems": [asdict(problem) for problem in report.problems],
            "classes": [asdict(one) for one in report.classes],
        }
        for split, report in reports.items()
    }
    write_text(out / "check.json", json.dumps(facts, indent=2) + "\n")
    for split, report in reports.items():
        save_check_pictures(out, split, report, pictures)


CHECK = DataTask(
    "check",
    "Look at a dataset and say what is wrong: units, axes, headings, boxes, features, labels",
    CheckOptions,
    _check,
)
