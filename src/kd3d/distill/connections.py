"""What distillation has connected to what, in words."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from torch import Tensor, nn

from kd3d.distill.captured import describe_output, describe_tensor
from kd3d.distill.channels import channels_of_weights
from kd3d.distill.views import Outputs, ViewedNetwork
from kd3d.geometry import BEVGrid

__all__ = ["Connection", "Wiring", "describe_adapter", "describe_reading", "joined", "table_width"]

_WIDTH = 116
_LEAST_WIDTH = 72


@dataclass(frozen=True, slots=True)
class Connection:
    """What one objective compares, in lines of text.

    Args:
        objective: its name, kind and weight.
        student: what it reads of the student: paths, modules, shapes, dtypes, cells.
        teacher: what it reads of the teacher.
        comparison: how the two are brought together, and the objective's adapters.
    """

    objective: tuple[str, ...]
    student: tuple[str, ...]
    teacher: tuple[str, ...]
    comparison: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything that a callback has connected; ``str()`` gives a table.

    Args:
        connections: one per objective.
        facts: what holds for all of them.
    """

    connections: tuple[Connection, ...]
    facts: tuple[str, ...]

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = _WIDTH) -> str:
        """Write it as a table of so many columns of characters."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, show_edge=False, show_lines=True, expand=True)
        for name, ratio in (("objective", 4), ("student", 8), ("teacher", 8), ("how", 7)):
            table.add_column(name, ratio=ratio, overflow="fold")
        for one in self.connections:
            cells = (one.objective, one.student, one.teacher, one.comparison)
            table.add_row(*(Text("\n".join(lines)) for lines in cells))
        out = StringIO()
        console = Console(file=out, width=width, color_system=None, force_jupyter=False)
        console.print("What distillation connects", highlight=False)
        console.print(table)
        for fact in self.facts:
            console.print(Text(fact))
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def table_width() -> int:
    """Choose the width of a printed table for the terminal."""
    return max(_LEAST_WIDTH, min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns))


def describe_reading(
    network: ViewedNetwork,
    taps: Sequence[str],
    map_names: Sequence[str],
    outputs: Outputs | None,
    root: str = "",
) -> tuple[str, ...]:
    """Describe what an objective reads of a network: its own taps, or, without any, maps.

    Args:
        network: student or teacher.
        taps: the objective's paths in it.
        map_names: the maps that it reads.
        outputs: what it gave; None if it is not read now.
        root: path of the network itself.
    """
    lines: list[str] = []
    for path in taps or network.view.taps:
        name, kind = joined(root, path), type(network.taps.module(path)).__name__
        lines.append(f"{name}: {kind}" if name else kind)
        if outputs is not None and (taps or path):  # "" gives the maps, which come below
            output = outputs.taps[path]
            lines += [describe_output(output), *_cells(output, outputs.maps.grid)]
    if taps:
        return tuple(lines)
    if outputs is None:
        return (*lines, "(not read now)")
    for name in map_names:
        values = getattr(outputs.maps, name, None)
        lines.append(f"{name} {describe_tensor(values)}" if values is not None else f"no {name}")
    grid = outputs.maps.grid
    return (*lines, f"cells of {grid.cell_x:g} x {grid.cell_y:g} m")


def _cells(output: object, grid: BEVGrid) -> tuple[str, ...]:
    """Say how large the cells of a tapped map are, if it is a map over the grid's range."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        return ()
    height, width = output.shape[-2:]
    if height * grid.width != width * grid.height:
        return ()
    along_x, along_y = grid.cell_x * grid.width / width, grid.cell_y * grid.height / height
    return (f"cells of {along_x:g} x {along_y:g} m",)


def describe_adapter(name: str, module: nn.Module) -> str:
    """Give name, kind and channels of an adapter."""
    into = next(filter(None, map(_in_channels, module.modules())), "?")
    told = [channels_of_weights(layer) for layer in module.modules()]
    out = channels_of_weights(module) or next(filter(None, reversed(told)), "?")
    return f"adapter '{name}': {type(module).__name__}, {into} to {out} channels"


def _in_channels(layer: nn.Module) -> int | None:
    for attribute in ("in_channels", "in_features"):
        value = getattr(layer, attribute, None)
        if isinstance(value, int):
            return value
    return None


def joined(root: str, path: str) -> str:
    """Join two dotted paths, each of which may be empty."""
    return ".".join(part for part in (root, path) if part)
