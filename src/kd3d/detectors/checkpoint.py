"""Detectors in files: plain types only, so that loading runs no code of the file."""

import pickle
import re
import struct
from pathlib import Path
from typing import Any

import torch

from kd3d.detectors.detector import Detector
from kd3d.detectors.zoo import build_detector, create_detector, finds_by_name
from kd3d.errors import CheckpointError
from kd3d.files import whole_file

__all__ = ["load_detector", "read_checkpoint", "restore_detector", "save_detector"]

SPEC = "kd3d_detector"
WEIGHTS = "state_dict"
LIGHTNING_PREFIX = "detector."

# What `torch.load` raises on files that end early or are something else.
_DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
)
_UNSAFE = re.compile(r"[Uu]nsupported (?:global: GLOBAL|GLOBAL|class) (?P<name>[\w.]+)")


def save_detector(detector: Detector, path: str | Path) -> None:
    """Write a detector's description and weights to one file.

    The file appears under its name when it is complete.

    Raises:
        OutputError: if the file cannot be written.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        torch.save({SPEC: detector.spec(), WEIGHTS: detector.state_dict()}, file)


def load_detector(path: str | Path, **changes: Any) -> Detector:  # noqa: ANN401 - any argument
    """Rebuild a detector, with its weights, in eval mode on the CPU.

    Args:
        path: a file of `save_detector`, or a Lightning checkpoint whose module holds its detector
            under ``detector.`` and its description under ``kd3d_detector``.
        changes: arguments of `create_detector` that differ from the file's, such as the
            ``point_cloud_range`` that a teacher shares with its student.

    Raises:
        CheckpointError: if the file is missing, damaged, unsafe, or holds no detector.
        ConfigError: if it describes a detector that this version cannot build.
    """
    return restore_detector(None, path, changes)


def restore_detector(
    kind: type[Detector] | None, path: str | Path, changes: dict[str, Any]
) -> Detector:
    """Rebuild a detector as `load_detector` does.

    Args:
        kind: a class of one's own, which builds it whatever name the file holds; for kd3d's
            classes, and for None, that name says what is built.
        path: the file.
        changes: arguments that differ from the file's.
    """
    content = read_checkpoint(path)
    spec, weights = content.get(SPEC), content.get(WEIGHTS)
    if (
        not isinstance(spec, dict)
        or not {"name", "arguments"} <= spec.keys()
        or not isinstance(weights, dict)
    ):
        raise CheckpointError(
            f"holds no detector ({SPEC!r} and {WEIGHTS!r}), but {', '.join(map(str, content))}.",
            where=str(path),
            hint="Weights of OpenPCDet go through kd3d-convert, or kd3d.interop.import_openpcdet.",
        )
    own = {
        key.removeprefix(LIGHTNING_PREFIX): value
        for key, value in weights.items()
        if key.startswith(LIGHTNING_PREFIX)
    }
    name, arguments = spec["name"], {**spec["arguments"], **changes}
    if kind is None or finds_by_name(kind):
        detector = create_detector(name, **arguments)
    else:
        detector = build_detector(kind, name, arguments)
    try:
        detector.load_state_dict(own or weights)
    except RuntimeError as error:
        first, *others = str(error).splitlines()[1:]
        raise CheckpointError(
            f"the weights do not fit {spec['name']} as described: {first.strip()[:200]} "
            f"(and {len(others)} more).",
            where=str(path),
            hint="Change only arguments that leave the weights' shapes alone.",
        ) from error
    return detector.eval()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of tensors and plain values.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("no such file.", where=str(path), hint="Check the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        unsafe = _UNSAFE.search(str(error))
        if unsafe:
            raise CheckpointError(
                f"is not a file of plain tensors; it may hold pickled code ({unsafe['name']}), "
                "which kd3d never runs.",
                where=str(path),
                hint="Save it again with tensors and plain Python values only; a damaged file can "
                "look the same.",
            ) from error
        told = isinstance(error, OSError | RuntimeError) and str(error)
        reason = told.splitlines()[0].split(". ")[0] if told else "it breaks off or makes no sense"
        raise CheckpointError(
            f"cannot be read: {reason.rstrip('.?')}.",
            where=str(path),
            hint="The file may be truncated, or no checkpoint at all.",
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"holds a {type(content).__name__}, not a dictionary.", where=str(path)
        )
    return content
