"""Moving dataclasses of tensors between devices."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["Movable"]

T = TypeVar("T", bound="Movable")


class Movable:
    """A dataclass whose tensor fields (and `Movable` fields) move together."""

    __slots__ = ()

    def _map(self: T, change: Callable[[Tensor], Tensor]) -> T:
        changed: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Movable):
                changed[field.name] = value._map(change)
            elif isinstance(value, dict):
                changed[field.name] = {
                    key: change(item) if isinstance(item, Tensor) else item
                    for key, item in value.items()
                }
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self: T, device: torch.device | str, non_blocking: bool = False) -> T:
        """Copy every tensor to `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: T) -> T:
        """Copy every tensor to page-locked memory, for asynchronous transfers."""
        return self._map(lambda tensor: tensor.pin_memory())

    def record_stream(self, stream: torch.Stream) -> None:
        """Keep the memory of every tensor until what `stream` has to do by now is done."""

        def record(tensor: Tensor) -> Tensor:
            tensor.record_stream(stream)
            return tensor

        self._map(record)

    def detach(self: T) -> T:
        """Cut every tensor from the autograd graph."""
        return self._map(lambda tensor: tensor.detach())
