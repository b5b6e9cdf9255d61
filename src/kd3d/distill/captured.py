"""The tensors in what a module returned, and whether they still are what it returned."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from kd3d.errors import TapError

__all__ = ["Stamp", "describe_output", "describe_tensor", "tensors_in", "untouched"]

_SHOWN = 6
"""So many tensors of one output are described."""


def tensors_in(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401
    """Yield the tensors in what a module returned, with their dotted names.

    Mappings, sequences and dataclasses are looked into; of sparse tensors (kd3d's and spconv's) it
    is the ``features``. Anything else has none.

    Args:
        output: what a module returned.
        name: what to call it; a tensor itself has this name.
    """
    if isinstance(output, Tensor):
        yield name, output
        return
    if isinstance(output, Mapping):
        parts = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, list | tuple):
        parts = [(str(place), value) for place, value in enumerate(output)]
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [(field.name, getattr(output, field.name, None)) for field in fields(output)]
    else:
        features = getattr(output, "features", None)
        parts = [("features", features)] if isinstance(features, Tensor) else []
    for part, value in parts:
        yield from tensors_in(value, f"{name}.{part}" if name else part)


class Stamp:
    """Which values the tensors of an output have, as far as in-place operations tell.

    Every in-place operation on a tensor, or on another view of its memory, raises the version that
    autograd counts, without gradients too. Comparing versions costs no look at values.

    Args:
        output: what a module returned.
    """

    def __init__(self, output: Any) -> None:  # noqa: ANN401 - whatever a module gave
        found: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in tensors_in(output):
            found.setdefault(id(tensor), (name, tensor))  # maps are often captured twice
        self._versions = [
            (name, tensor, tensor._version)
            for name, tensor in found.values()
            if not tensor.is_inference()  # those have no version
        ]

    def changed(self) -> tuple[str, Tensor] | None:
        """Give name and tensor of the first one that was overwritten since, or None."""
        for name, tensor, version in self._versions:
            if tensor._version != version:
                return name, tensor
        return None


@contextmanager
def untouched(by: str, outputs: Mapping[str, Any], hint: str) -> Iterator[None]:
    """Watch over captured tensors while somebody else's code reads them.

    Args:
        by: whose code runs inside, for the message.
        outputs: what may not change, by name.
        hint: what to do about it.

    Raises:
        TapError: if a tensor was overwritten.
    """
    stamp = Stamp(outputs)
    yield
    changed = stamp.changed()
    if changed is not None:
        name, tensor = changed
        raise TapError(
            f"{name} {describe_tensor(tensor)} was overwritten in place, while others read it too.",
            where=by,
            hint=hint,
        )


def describe_tensor(tensor: Tensor) -> str:
    """Give shape and dtype: ``[2, 3, 16, 16] float32``."""
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def describe_output(output: Any) -> str:  # noqa: ANN401 - whatever a module gave
    """Give shapes and dtypes of all tensors in what a module returned."""
    found = list(tensors_in(output))
    parts = [
        f"{name} {describe_tensor(tensor)}" if name else describe_tensor(tensor)
        for name, tensor in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        parts.append(f"and {len(found) - _SHOWN} more")
    return ", ".join(parts) or f"a {type(output).__name__} without tensors"
