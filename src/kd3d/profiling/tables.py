"""A profile on the console."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from kd3d.profiling.cost import Cost
from kd3d.profiling.module_cost import ModuleCost
from kd3d.profiling.result import Profile

__all__ = ["describe", "scale_of", "summarise"]

#: Levels of modules shown below the network.
DEPTH = 3
_MIB = 2**20
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def describe(profile: Profile, *, depth: int = DEPTH) -> Iterator[RenderableType]:
    """Give a profile's tables and notes, one below the other.

    Args:
        profile: what to show.
        depth: levels of modules below the network; their costs hold those of the levels below.
    """
    yield _modules(profile, depth)
    cost = profile.root.cost
    yield (
        f"FLOPs (2 x MACs): {_short(cost.true.flops)} true, {_short(cost.paper.flops)} paper; "
        f"{profile.convention} is this profile's convention"
    )
    if profile.latency:
        yield _latency(profile)
    if profile.memory is not None:
        memory = profile.memory
        yield (
            f"peak memory: {memory.total / _MIB:,.1f} MiB (weights {memory.weights / _MIB:,.1f}, "
            f"activations {memory.activations / _MIB:,.1f}; {memory.method})"
        )
    if profile.gaps:
        named = ", ".join(
            escape(f"{path or profile.name} ({gap})") for path, gap in profile.gaps.items()
        )
        yield f"[yellow]not counted:[/] {named}"


def summarise(profiles: Sequence[Profile]) -> Table:
    """Give a table with one row per network."""
    table = Table(title="Cost of one pass", title_justify="left", box=None, pad_edge=False)
    table.add_column("network")
    macs, macs_unit = scale_of(max(one.root.cost.paper.macs for one in profiles))
    acts, acts_unit = scale_of(max(one.root.cost.paper.activations for one in profiles))
    for heading in (*_headings(macs_unit, acts_unit), "ms", "MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in profiles:
        table.add_row(
            escape(one.name),
            f"{one.parameters:,}",
            *_counts(one.root.cost, macs, acts),
            "" if one.latency_ms is None else f"{one.latency_ms:,.1f}",
            "" if one.memory is None else f"{one.memory.total / _MIB:,.0f}",
        )
    return table


def scale_of(largest: float) -> tuple[float, str]:
    """Give the divisor and the prefix in which numbers up to `largest` read well."""
    return next(((size, prefix) for size, prefix in _PREFIXES if largest >= size), (1.0, ""))


def _modules(profile: Profile, depth: int) -> Table:
    cost = profile.root.cost
    macs, macs_unit = scale_of(max(cost.true.macs, cost.paper.macs))
    acts, acts_unit = scale_of(max(cost.true.activations, cost.paper.activations))
    frames = "" if profile.batch_size is None else f", batch of {profile.batch_size}"
    table = Table(
        title=f"{escape(profile.name)} on {profile.device}{frames}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("module", no_wrap=True)
    table.add_column("kind", style="dim", no_wrap=True)
    for heading in _headings(macs_unit, acts_unit):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, module in _lines(profile.root, "total", "", "", depth):
        table.add_row(
            label, module.kind, f"{module.parameters:,}", *_counts(module.cost, macs, acts)
        )
    return table


def _lines(
    module: ModuleCost, name: str, guide: str, indent: str, depth: int
) -> Iterator[tuple[str, ModuleCost]]:
    """Give the rows of a tree: the label with its guides, and the module."""
    yield guide + name, module
    children = module.children if depth else ()
    for number, child in enumerate(children, start=1):
        last = number == len(children)
        yield from _lines(
            child,
            child.name,
            indent + ("└─ " if last else "├─ "),
            indent + ("   " if last else "│  "),
            depth - 1,
        )


def _short(count: int) -> str:
    size, prefix = scale_of(count)
    return f"{count / size:,.3f} {prefix}".rstrip()


def _headings(macs: str, activations: str) -> tuple[str, ...]:
    return "parameters", f"{macs}MACs true", "paper", f"{activations}Acts true", "paper"


def _counts(cost: Cost, macs: float, activations: float) -> list[str]:
    return [
        f"{cost.true.macs / macs:,.3f}",
        f"{cost.paper.macs / macs:,.3f}",
        f"{cost.true.activations / activations:,.3f}",
        f"{cost.paper.activations / activations:,.3f}",
    ]


def _latency(profile: Profile) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("latency, ms")
    for stage in profile.latency:
        table.add_column(stage, justify="right", no_wrap=True)
    for quantity in ("median", "p5", "p95"):
        times = (getattr(one, quantity) for one in profile.latency.values())
        table.add_row(quantity, *(f"{time:,.2f}" for time in times))
    return table
