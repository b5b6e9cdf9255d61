"""``kd3d-data info``: how large a dataset is, and what is in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from kd3d.cli.data_index import SEGMENT_HELP, iterate_splits
from kd3d.cli.data_task import DataTask

if TYPE_CHECKING:
    from kd3d.data.summary import DatasetSummary

__all__ = ["INFO", "InfoOptions"]


@dataclass
class InfoOptions:
    """What ``kd3d-data info`` takes, each as ``name=value``."""

    root: str = field(default=MISSING, metadata={"help": "folder or URL of the dataset"})
    train: Any = field(
        default="training/*.tfrecord", metadata={"help": SEGMENT_HELP.format("training")}
    )
    val: Any = field(
        default="validation/*.tfrecord", metadata={"help": SEGMENT_HELP.format("validation")}
    )
    out: str | None = field(
        default=None, metadata={"help": "folder for info.json and info.png; none by default"}
    )
    sample: int = field(
        default=20, metadata={"help": "frames of each split to decode for counting points"}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "where it is kept; $KD3D_CACHE or ~/.cache/kd3d by default"}
    )


def _info(options: InfoOptions) -> None:
    from kd3d.data.summary import summarize_dataset

    summaries = {
        name: summarize_dataset(
            options.root, pattern, sample=options.sample, cache_dir=options.cache_dir
        )
        for name, pattern in iterate_splits(options.train, options.val)
    }
    _print(options.root, summaries)
    if options.out is not None:
        _write(Path(options.out), options.root, summaries)


def _print(root: str, summaries: Mapping[str, "DatasetSummary"]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from kd3d.data.facts import BOX_KINDS, BOX_LEVELS

    table = Table(title=root, title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    for name in summaries:
        table.add_column(name, justify="right")
    facts = list(summaries.values())
    table.add_row("segments", *(f"{one.segments:,}" for one in facts))
    table.add_row("frames", *(f"{one.frames:,}" for one in facts))
    table.add_row("size", *(decimal(one.bytes) for one in facts))
    table.add_row("points per frame", *map(_describe_points, facts))
    for kind_number, kind in enumerate(BOX_KINDS):
        for level_number, level in enumerate(BOX_LEVELS):
            counts = [int(one.boxes[:, kind_number, level_number].sum()) for one in facts]
            if any(counts):
                table.add_row(f"{kind} {level}", *(f"{count:,}" for count in counts))
    table.add_row("damaged records", *(f"{len(one.faults):,}" for one in facts))
    console = Console()
    console.print(table)
    sampled = ", ".join(f"{len(one.points)} of {name}" for name, one in summaries.items())
    console.print(f"Points were counted in evenly spread frames: {sampled}.", highlight=False)
    for fault in (fault for one in facts for fault in one.faults):
        console.print(f"  {fault.error}", highlight=False, markup=False, soft_wrap=True)


def _describe_points(summary: "DatasetSummary") -> str:
    return f"{summary.points.mean():,.0f}" if len(summary.points) else "-"


def _write(out: Path, root: str, summaries: Mapping[str, "DatasetSummary"]) -> None:
    from kd3d.data.facts import BOX_KINDS
    from kd3d.files import write_text
    from kd3d.visualize import save_histograms

    numbers = {"root": root, "splits": {name: one.as_json() for name, one in summaries.items()}}
    write_text(out / "info.json", json.dumps(numbers, indent=2) + "\n")
    panels: dict[str, dict[str, Any]] = {
        f"boxes with points, {name}": {
            kind: one.boxes[:, number, :2].sum(axis=1)
            for number, kind in enumerate(BOX_KINDS)
            if one.boxes[:, number, :2].any()
        }
        for name, one in summaries.items()
    }
    panels["points, of a sample"] = {name: one.points for name, one in summaries.items()}
    save_histograms(out / "info.png", panels, title=root)
    print(f"Wrote {out / 'info.json'} and {out / 'info.png'}.")


INFO = DataTask(
    "info",
    "Count segments, frames, boxes, points and bytes of a dataset",
    InfoOptions,
    _info,
)
