"""What a profile holds."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kd3d.errors import InputError
from kd3d.files import write_text
from kd3d.profiling.cost import Convention, Tally
from kd3d.profiling.latency import TOTAL, Latency
from kd3d.profiling.memory import PeakMemory
from kd3d.profiling.module_cost import ModuleCost

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["Profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a network costs on a batch: the result of `kd3d.profile`.

    ``print(profile)`` and rich's consoles show it as a table.

    Args:
        name: of the network.
        root: the cost of the network and of each module in it.
        convention: which way of counting `macs`, `flops` and `activations` speak of.
        batch_size: frames or samples of the batch, None if it does not tell.
        device: where it ran.
        latency: per stage and in total ("total"), milliseconds for the whole batch; empty if it
            was not measured.
        memory: None if it was not measured.
    """

    name: str
    root: ModuleCost
    convention: Convention
    batch_size: int | None
    device: str
    latency: Mapping[str, Latency]
    memory: PeakMemory | None

    @property
    def tally(self) -> Tally:
        """The counts of the chosen convention."""
        return self.root.cost.of(self.convention)

    @property
    def parameters(self) -> int:
        """Elements of all parameters, those shared by several modules once."""
        return self.root.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the batch, in the chosen convention.

        The published tables call this number, in the paper's convention, "Flops".
        """
        return self.tally.macs

    @property
    def flops(self) -> int:
        """Floating point operations: two per multiply-accumulate."""
        return self.tally.flops

    @property
    def activations(self) -> int:
        """Output elements of convolutions and linear layers, in the chosen convention."""
        return self.tally.activations

    @property
    def latency_ms(self) -> float | None:
        """Median milliseconds of a pass over the whole batch, None if it was not measured."""
        return self.latency[TOTAL].median if self.latency else None

    @property
    def gaps(self) -> dict[str, str]:
        """Modules whose parameters take part in nothing that was counted: path to reason.

        Their cost is missing in the sums, as is whatever a module computes without parameters.
        """
        return {module.path: module.gap for module in self.root.walk() if module.gap}

    def __getitem__(self, path: str) -> ModuleCost:
        """Give the cost of a module by its dotted path.

        Raises:
            InputError: if there is none, or it lies inside a module that is counted as a whole.
        """
        for module in self.root.walk():
            if module.path == path:
                return module
        known = ", ".join(child.path for child in self.root.children)
        raise InputError(
            f"no module {path!r} was counted.", where=self.name, hint=f"There are {known}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Give everything in plain types, as it is written to JSON."""
        totals = {"true": self.root.cost.true, "paper": self.root.cost.paper}
        return {
            "name": self.name,
            "device": self.device,
            "torch": str(torch.__version__),
            "batch_size": self.batch_size,
            "convention": self.convention,
            "parameters": self.parameters,
            **{key: {**asdict(tally), "flops": tally.flops} for key, tally in totals.items()},
            "latency_ms": {stage: asdict(latency) for stage, latency in self.latency.items()},
            "memory_bytes": asdict(self.memory) if self.memory else None,
            "gaps": self.gaps,
            "modules": [module.to_dict() for module in self.root.walk()],
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `to_dict` as a JSON file.

        Raises:
            OutputError: if the file cannot be written.
        """
        return write_text(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from kd3d.profiling.tables import describe

        yield from describe(self)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120, color_system=None)
        with console.capture() as text:
            console.print(self)
        return text.get().rstrip()
