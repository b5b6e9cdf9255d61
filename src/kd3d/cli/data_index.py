"""``kd3d-data index``: find the place of every record, once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from kd3d.cli.data_task import DataTask
from kd3d.errors import DatasetError

if TYPE_CHECKING:
    from kd3d.data import FrameIndex

__all__ = ["INDEX", "SEGMENT_HELP", "IndexOptions", "iterate_splits"]

SEGMENT_HELP = "pattern, manifest (.txt, .json) or list of {} segments; null for none"


@dataclass
class IndexOptions:
    """What ``kd3d-data index`` takes, each as ``name=value``."""

    root: str = field(default=MISSING, metadata={"help": "folder or URL of the dataset"})
    train: Any = field(
        default="training/*.tfrecord", metadata={"help": SEGMENT_HELP.format("training")}
    )
    val: Any = field(
        default="validation/*.tfrecord", metadata={"help": SEGMENT_HELP.format("validation")}
    )
    on_error: str = field(
        default="raise", metadata={"help": "damaged files: raise, or skip the rest of them"}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "where it is kept; $KD3D_CACHE or ~/.cache/kd3d by default"}
    )


def iterate_splits(train: Any, val: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a string or a list
    """Yield name and pattern of the splits that are asked for.

    Raises:
        DatasetError: if there is none.
    """
    if train is None and val is None:
        raise DatasetError("neither train nor val is given.", hint="Give at least one pattern.")
    yield from ((name, it) for name, it in (("train", train), ("val", val)) if it is not None)


def _index(options: IndexOptions) -> None:
    from kd3d.data import build_index
    from kd3d.data.faults import known_policy

    policy = known_policy(options.on_error)
    for name, pattern in iterate_splits(options.train, options.val):
        found = build_index(options.root, pattern, cache_dir=options.cache_dir, on_error=policy)
        print(f"{name}: {_describe(found)}")
        for fault in found.faults:
            print(f"  left out: {fault.error}")


def _describe(index: "FrameIndex") -> str:
    from rich.filesize import decimal

    size = decimal(sum(stamp.size for stamp in index.stamps))
    return f"{len(index.files):,} files, {len(index):,} frames, {size}"


INDEX = DataTask(
    "index",
    "Find every record of a dataset and remember it, so that training starts at once",
    IndexOptions,
    _index,
)
