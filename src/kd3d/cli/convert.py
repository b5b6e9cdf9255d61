"""``kd3d-convert``: turn checkpoints of OpenPCDet into kd3d's, and back."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import hydra
from omegaconf import DictConfig

from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten
from kd3d.errors import CheckpointError, ConfigError, OutputError
from kd3d.files import write_text

if TYPE_CHECKING:
    from rich.console import Console

    from kd3d.interop import ImportReport, Layout

__all__ = ["main"]

register_job_name()

FORMATS = ("openpcdet", "kd3d")
SHOWN_PROBLEMS = 6
REFUSED = ("missing", "unexpected", "shape mismatch")


@clear_errors
def main() -> None:
    """Run ``kd3d-convert``."""
    convert()


@dataclass(frozen=True, slots=True)
class Request:
    """What to convert into what.

    Args:
        source: format of `given`, "openpcdet" or "kd3d"; `out` has the other one.
        given: the checkpoint to read.
        out: the checkpoint to write.
        layout: of OpenPCDet's sparse weights.
        strict: whether every tensor must find its place.
    """

    source: str
    given: Path
    out: Path
    layout: 'Literal["auto"] | Layout'
    strict: bool


@hydra.main(version_base="1.3", config_path="pkg://kd3d.conf", config_name="convert")
@clear_errors
def convert(config: DictConfig) -> None:
    """Write ``in`` to ``out`` in the other format, and a report of every tensor beside it."""
    quieten()
    request = _read_request(config)
    if request.source == "openpcdet":
        _from_openpcdet(request, config.detector)
    else:
        _to_openpcdet(request, config.detector)
    print(f"written: {request.out}")


def _read_request(config: DictConfig) -> Request:
    """Refuse, before any work, what cannot be converted."""
    from kd3d.interop.layouts import check_layout

    source = _known_format(config.source, "source")
    other = FORMATS[1 - FORMATS.index(source)]
    if _known_format(config.target or other, "target") == source:
        raise ConfigError(f"is {source}, as is the source.", where="target", hint=f"Say {other}.")
    check_layout(config.layout)
    given, out = _path(config["in"], "in"), _path(config.out, "out")
    if out.exists() and not config.overwrite:
        raise OutputError(
            "is there already.", where=str(out), hint="Name another file, or say overwrite=true."
        )
    if out.resolve() == given.resolve():
        raise OutputError("is the checkpoint to read.", where=str(out), hint="Name another file.")
    return Request(source, given, out, config.layout, config.strict)


def _known_format(name: str | None, where: str) -> str:
    if name in FORMATS:
        return str(name)
    what = "is not given." if name is None else f"no format {name!r}."
    close = get_close_matches(str(name), FORMATS, n=1, cutoff=0.4) or FORMATS
    raise ConfigError(what, where=where, hint=f"Say {where}={f' or {where}='.join(close)}.")


def _path(name: str | None, where: str) -> Path:
    if name is None:
        raise ConfigError("no file is named.", where=where, hint=f"Say {where}=FILE.")
    return Path(name)


def _from_openpcdet(request: Request, node: DictConfig | None) -> None:
    from hydra.utils import instantiate

    from kd3d.detectors import save_detector
    from kd3d.interop import compare_openpcdet, import_openpcdet, read_openpcdet
    from kd3d.interop.nearest import describe_nearest

    weights = read_openpcdet(request.given)
    if node is None:
        raise ConfigError(
            "is not given.",
            where="detector",
            hint=f"Say detector=NAME. {describe_nearest(weights, None)}",
        )
    detector = instantiate(node, _convert_="all")
    report = compare_openpcdet(weights, detector, layout=request.layout)
    _publish(report, request, detector.name)
    try:
        import_openpcdet(weights, detector, strict=request.strict, layout=request.layout)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=str(request.given), hint=error.hint) from error
    save_detector(detector, request.out)


def _to_openpcdet(request: Request, node: DictConfig | None) -> None:
    from kd3d.detectors import Detector
    from kd3d.interop import compare_openpcdet, export_openpcdet, save_openpcdet

    if node is not None:
        raise ConfigError(
            "a checkpoint of kd3d describes its own.", where="detector", hint="Leave it away."
        )
    detector = Detector.from_checkpoint(request.given)
    layout: Layout = "spconv2" if request.layout == "auto" else request.layout
    exported = export_openpcdet(detector, layout=layout)
    report = compare_openpcdet(exported, detector, layout=layout)
    _publish(report, request, detector.name)
    save_openpcdet(detector, request.out, layout=layout)


def _publish(report: "ImportReport", request: Request, detector: str) -> None:
    """Print how many tensors found their place; write what became of each beside ``out``."""
    title = f"{request.given}: {request.source}, {detector}"
    path = write_text(f"{request.out}.report.txt", f"{title}\n\n{report.text()}")
    print(title)
    print_counts(report)
    if not request.strict:  # else they are in the message that refuses them
        print("".join(f"{line}\n" for line in report.problems(SHOWN_PROBLEMS)), end="")
    print(f"every tensor: {path}")


def print_counts(report: "ImportReport", console: "Console | None" = None) -> None:
    """Print a table of what became of the tensors."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("tensors")
    table.add_column("count", justify="right")
    for kind, count in report.counts().items():
        if kind == "transposed" and count:
            kind = f"  transposed from {report.layout}"
        table.add_row(kind, str(count), style="bold red" if count and kind in REFUSED else "")
    (console or Console()).print(table)


if __name__ == "__main__":
    main()
