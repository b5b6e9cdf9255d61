"""The cost of a network by its parts."""

from collections.abc import Iterable
from functools import reduce
from operator import add

from kd3d.profiling.cost import FREE, Cost
from kd3d.profiling.module_cost import ModuleCost

__all__ = ["cost_parts"]

OTHER = "other"


def cost_parts(root: ModuleCost, *, most: int = 6) -> dict[str, Cost]:
    """Split a network's cost into its children, their transposed convolutions apart.

    The two conventions differ mostly in transposed convolutions; a part "NAME, transposed" shows by
    how much.

    Args:
        root: cost of the network.
        most: parts to name; the cheapest beyond them are put together as "other".

    Returns:
        name to cost, in the network's order; parts that cost nothing are left out. The sum is the
        cost of the network.
    """
    parts: dict[str, Cost] = {}
    for child in root.children or (root,):
        transposed = _sum(module.cost for module in child.walk() if module.transposed)
        rest = _sum(
            module.cost for module in child.walk() if module.calls and not module.transposed
        )
        parts[child.path or root.kind] = rest
        parts[f"{child.path or root.kind}, transposed"] = transposed
    parts = {name: cost for name, cost in parts.items() if cost != FREE}
    ranked = sorted(parts, key=lambda name: parts[name].paper.macs, reverse=True)
    if len(ranked) <= most:
        return parts
    named = set(ranked[: most - 1])
    small = _sum(cost for name, cost in parts.items() if name not in named)
    return {name: cost for name, cost in parts.items() if name in named} | {OTHER: small}


def _sum(costs: Iterable[Cost]) -> Cost:
    return reduce(add, costs, FREE)
