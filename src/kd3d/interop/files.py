"""Files of OpenPCDet, read without running anything that is in them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kd3d
from kd3d.detectors import Detector
from kd3d.detectors.checkpoint import SPEC, read_checkpoint
from kd3d.errors import CheckpointError
from kd3d.files import whole_file
from kd3d.interop.layouts import Layout
from kd3d.interop.openpcdet import export_openpcdet

__all__ = ["read_openpcdet", "save_openpcdet"]

WEIGHTS = ("model_state", "state_dict")


def read_openpcdet(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of an OpenPCDet checkpoint, onto the CPU.

    Taken are ``model_state`` (OpenPCDet and its forks), ``state_dict``, or the whole file if it
    holds nothing but tensors. The optimiser's numpy numbers, which OpenPCDet saves too, are
    skipped: numpy's own constructors never run.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds pickled code or no weights.
    """
    with _numpy_numbers_skipped():
        content = read_checkpoint(path)
    if SPEC in content:
        raise CheckpointError(
            "is a checkpoint of kd3d already.",
            where=str(path),
            hint="Load it with Detector.from_checkpoint, or convert it back with source=kd3d.",
        )
    found = next((content[key] for key in WEIGHTS if key in content), content)
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(value, Tensor) for value in found.values())
    ):
        raise CheckpointError(
            f"holds no weights, but {', '.join(map(str, list(content)[:8])) or 'nothing'}.",
            where=str(path),
            hint="Weights are a dictionary of tensors, under 'model_state' or 'state_dict' or "
            "the file itself.",
        )
    return found


def save_openpcdet(detector: Detector, path: str | Path, *, layout: Layout = "spconv2") -> None:
    """Write a checkpoint that OpenPCDet loads, as ``--ckpt`` or ``--pretrained_model``.

    It holds the weights (`export_openpcdet`), no optimiser, and epoch 0.

    Raises:
        OutputError: if the file cannot be written.
        CheckpointError: if two tensors would share a name there.
        ConfigError: if there is no such layout.
    """
    weights = export_openpcdet(detector, layout=layout)
    content: Mapping[str, Any] = {
        "epoch": 0,
        "it": 0,
        "model_state": {key: tensor.cpu() for key, tensor in weights.items()},
        "optimizer_state": None,
        "version": f"kd3d+{kd3d.__version__}",
    }
    with whole_file(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(content), file)


class _Skipped:
    """Stands for a numpy object: takes any arguments and keeps nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _stand_in(module: str, name: str) -> type[_Skipped]:
    """Make a class that the unpickler finds under numpy's name."""
    return type(name, (_Skipped,), {"__module__": module, "__qualname__": name})


_STAND_INS = [
    _stand_in("numpy", "dtype"),
    _stand_in("numpy.core.multiarray", "scalar"),  # written with numpy 1
    _stand_in("numpy._core.multiarray", "scalar"),  # and with numpy 2
]


@contextmanager
def _numpy_numbers_skipped() -> Iterator[None]:
    """Let numpy numbers be read as `_Skipped`.

    OpenPCDet's schedule makes the learning rate a numpy number, so that nearly every real
    checkpoint has some, and ``torch.load(weights_only=True)`` refuses them.
    """
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(list(_STAND_INS))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
