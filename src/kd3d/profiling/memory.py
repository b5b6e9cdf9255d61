"""How much memory a pass needs."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["PeakMemory", "measure_peak"]


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Bytes of memory.

    Args:
        weights: parameters and buffers.
        activations: the most that a pass held at once beyond what was there before it: neither
            weights nor batch.
        method: "cuda allocator" (everything that torch allocates on the device), or "live tensors"
            (elsewhere: the storages of the tensors that operations return; scratch memory inside a
            kernel is not seen).
    """

    weights: int
    activations: int
    method: str

    @property
    def total(self) -> int:
        """Weights and activations."""
        return self.weights + self.activations


def measure_peak(model: nn.Module, run: Callable[[], object], device: torch.device) -> PeakMemory:
    """Run a model once and give the most memory that it needed.

    The answer on the CPU is that of the tensors' sizes, the same on every machine and in every
    process; the process's resident memory would hold the interpreter and what other work left.

    Args:
        model: for its weights.
        run: runs the model.
        device: where it runs.
    """
    held = {}
    for tensor in (*model.parameters(), *model.buffers()):
        storage = tensor.untyped_storage()
        held[storage._cdata] = storage.nbytes()
    weights = sum(held.values())
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        activations = torch.cuda.max_memory_allocated(device) - before
        return PeakMemory(weights, activations, "cuda allocator")
    with _LiveTensors() as live:
        run()
    return PeakMemory(weights, live.peak, "live tensors")


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the sum of the sizes of storages that came into being under it and still exist."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if storage._cdata not in given:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive:
            return
        self._alive[key] = storage.nbytes()
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self._now -= self._alive.pop(key)


def _storages(tree: Any) -> list[torch.UntypedStorage]:  # noqa: ANN401
    return [
        leaf.untyped_storage()
        for leaf in tree_leaves(tree)
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided
    ]
