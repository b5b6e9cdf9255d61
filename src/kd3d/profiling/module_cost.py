"""What each module of a network costs, as a tree."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kd3d.profiling.cost import Cost

__all__ = ["ModuleCost"]


@dataclass(frozen=True, slots=True)
class ModuleCost:
    """A module and what lies in it.

    Args:
        path: dotted path in the network, "" for the network itself.
        kind: name of the class.
        parameters: elements of all its parameters; one that several modules share belongs to the
            first of them.
        cost: of all calls that were counted.
        calls: counted calls, for modules with a rule; 0 for the others.
        transposed: whether it is a transposed convolution.
        gap: why its cost misses something, "" if nothing is missing. Modules inside speak for
            themselves.
        children: the modules inside, but none of a module that has a rule of its own.
    """

    path: str
    kind: str
    parameters: int
    cost: Cost
    calls: int = 0
    transposed: bool = False
    gap: str = ""
    children: tuple["ModuleCost", ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def walk(self) -> Iterator["ModuleCost"]:
        """Give the module, then all inside it in order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def to_dict(self) -> dict[str, Any]:
        """Give the module without its children in plain types."""
        return {
            "path": self.path,
            "kind": self.kind,
            "parameters": self.parameters,
            "calls": self.calls,
            "true": {"macs": self.cost.true.macs, "activations": self.cost.true.activations},
            "paper": {"macs": self.cost.paper.macs, "activations": self.cost.paper.activations},
            **({"gap": self.gap} if self.gap else {}),
        }
