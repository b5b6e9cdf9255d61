"""Which cell meets which under each tap of a sparse convolution."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from kd3d.detectors.sparse.tensor import SparseTensor
from kd3d.errors import InputError

__all__ = ["Geometry", "Rulebook", "Triple", "check_cells", "find_rulebook"]

CHECKED = "checked"

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What decides the rulebook of a convolution, given the occupied cells.

    Args:
        kernel_size: taps along z, y, x.
        stride: cells per output cell along z, y, x.
        padding: empty cells before and after the grid along z, y, x.
        submanifold: whether the output cells are the input cells.
    """

    kernel_size: Triple
    stride: Triple
    padding: Triple
    submanifold: bool

    def output_shape(self, shape: Triple) -> Triple:
        """Give the cells of the output along z, y, x.

        Raises:
            InputError: if the kernel does not fit into the padded grid.
        """
        if self.submanifold:
            return shape
        sizes = []
        for axis, cells, taps, step, pad in zip(
            "zyx", shape, self.kernel_size, self.stride, self.padding, strict=True
        ):
            if cells + 2 * pad < taps:
                raise InputError(
                    f"a kernel of {taps} taps along {axis} does not fit into {cells} cells with "
                    f"{pad} of padding on each side.",
                    where="sparse convolution",
                    hint=f"The input needs at least {taps - 2 * pad} cells along {axis}.",
                )
            sizes.append((cells + 2 * pad - taps) // step + 1)
        z, y, x = sizes
        return z, y, x


@dataclass(frozen=True, eq=False)
class Rulebook:
    """The input and output rows that each tap of a kernel joins.

    Taps are numbered as in the weight: z slowest, x fastest.

    Args:
        inputs: ``[P]`` int64 input row of each pair, grouped by tap.
        outputs: ``[P]`` int64 output row of each pair; each row at most once per tap.
        pairs_per_tap: pairs of each tap; their sum is P.
        identity: the tap that joins each row with itself; its pairs are counted, but not listed.
        coords: ``[M, 4]`` int64 (frame, z, y, x) output cells.
        shape: output cells along z, y, x.
        rulebooks: the rulebooks of the output cells, if those are new ones; the input's own would
            lead back to this one, and a circle stays in memory until Python looks for circles.
    """

    inputs: Tensor
    outputs: Tensor
    pairs_per_tap: tuple[int, ...]
    identity: int | None
    coords: Tensor
    shape: Triple
    rulebooks: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @property
    def num_pairs(self) -> int:
        """All (input, output, tap) triples in which the input and the output cell exist."""
        return sum(self.pairs_per_tap)

    @cached_property
    def listed(self) -> list[tuple[int, Tensor, Tensor]]:
        """The (tap, input rows, output rows) of all taps that have listed pairs."""
        counts = [
            0 if tap == self.identity else count for tap, count in enumerate(self.pairs_per_tap)
        ]
        ends = accumulate(counts)
        return [
            (tap, self.inputs[end - count : end], self.outputs[end - count : end])
            for tap, (count, end) in enumerate(zip(counts, ends, strict=True))
            if count
        ]


def find_rulebook(tensor: SparseTensor, geometry: Geometry) -> Rulebook:
    """Give the rulebook of a convolution, built at the first call on these cells.

    Raises:
        InputError: if a cell lies outside the grid or appears twice, or the kernel does not fit.
    """
    rulebook: Rulebook | None = tensor.rulebooks.get(geometry)
    if rulebook is None:
        check_cells(tensor)
        build = _submanifold if geometry.submanifold else _strided
        rulebook = tensor.rulebooks[geometry] = build(tensor, geometry)
    return rulebook


def check_cells(tensor: SparseTensor) -> None:
    """Make sure, once, that all cells are inside the grid and none is there twice.

    Raises:
        InputError: if not.
    """
    if CHECKED in tensor.rulebooks:
        return
    coords, sizes = tensor.coords, (tensor.num_frames, *tensor.shape)
    outside = (coords < 0).any(dim=1)
    for column, size in zip(coords.unbind(1), sizes, strict=True):
        outside |= column >= size
    keys = torch.sort(_keys(coords, tensor.shape)).values
    twice = keys[1:] == keys[:-1]
    some_outside, some_twice = torch.stack((outside.any(), twice.any())).tolist()
    if some_outside:
        raise InputError(
            f"{int(outside.sum())} cells lie outside the grid of (frame, z, y, x) {list(sizes)}, "
            f"the first at {coords[outside][0].tolist()}.",
            where="coords",
        )
    if some_twice:
        raise InputError(
            f"{int(twice.sum())} cells are there more than once.",
            where="coords",
            hint="Give each cell one feature vector.",
        )
    tensor.rulebooks[CHECKED] = True


def _submanifold(tensor: SparseTensor, geometry: Geometry) -> Rulebook:
    """Search the later neighbours of each cell; the earlier ones mirror them.

    In a row of cells the keys are consecutive numbers. So one search finds the place of the first
    tap of a row, and each next tap is at the next place, if the one before was found.
    """
    reach_z, reach_y, reach_x = (taps // 2 for taps in geometry.kernel_size)
    rows, columns = tensor.shape[1] + reach_y, tensor.shape[2] + reach_x
    keys = _keys(tensor.coords, (tensor.shape[0] + reach_z, rows, columns))
    keys, order = torch.sort(keys)
    padded = torch.cat((keys, keys.new_full((1,), torch.iinfo(keys.dtype).max)))
    hits, places = [], []
    for z in range(reach_z + 1):
        for y in range(-reach_y if z else 0, reach_y + 1):
            wanted = keys + ((z * rows + y) * columns - reach_x)
            place = torch.searchsorted(keys, wanted)
            for x in range(-reach_x, reach_x + 1):
                hit = padded[place] == wanted
                if (z, y, x) > (0, 0, 0):
                    hits.append(hit)
                    places.append(place)
                place, wanted = place + hit, wanted + 1
    return _mirrored(tensor, order, hits, places)


def _mirrored(
    tensor: SparseTensor, order: Tensor, hits: list[Tensor], places: list[Tensor]
) -> Rulebook:
    """Make the rulebook of all taps from those of the later half."""
    own = later = order[:0]
    counts: list[int] = []
    if hits:
        hit = torch.stack(hits)
        counts = hit.sum(dim=1).tolist()
        tap, row = hit.nonzero().unbind(1)
        own, later = order[row], order[torch.stack(places)[tap, row]]
    return Rulebook(
        inputs=torch.cat((*reversed(torch.split(own, counts)), later)),
        outputs=torch.cat((*reversed(torch.split(later, counts)), own)),
        pairs_per_tap=(*reversed(counts), len(tensor), *counts),
        identity=len(counts),
        coords=tensor.coords,
        shape=tensor.shape,
    )


def _strided(tensor: SparseTensor, geometry: Geometry) -> Rulebook:
    """Let each cell name the output cells that it reaches; their union is the output."""
    shape = geometry.output_shape(tensor.shape)
    reached, cells = zip(
        *(
            _reached(tensor.coords[:, 1 + axis], cells, *options)
            for axis, (cells, *options) in enumerate(
                zip(shape, geometry.kernel_size, geometry.stride, geometry.padding, strict=True)
            )
        ),
        strict=True,
    )
    hit = reached[0][:, None, None] & reached[1][:, None] & reached[2]
    counts = hit.sum(dim=-1).flatten().tolist()
    tap_z, tap_y, tap_x, inputs = hit.nonzero().unbind(1)
    keys = tensor.coords[:, 0][inputs]
    for cell, tap, size in zip(cells, (tap_z, tap_y, tap_x), shape, strict=True):
        keys = keys * size + cell[tap, inputs]
    sites, outputs = torch.unique(keys, return_inverse=True)
    return Rulebook(
        inputs=inputs,
        outputs=outputs,
        pairs_per_tap=tuple(counts),
        identity=None,
        coords=_coords(sites, shape),
        shape=shape,
        rulebooks={CHECKED: True},
    )


def _reached(
    cell: Tensor, size: int, taps: int, stride: int, padding: int
) -> tuple[Tensor, Tensor]:
    """Tell for each tap along an axis whether it joins a cell with an output, and with which.

    Returns:
        ``[taps, N]`` bool and ``[taps, N]`` int64.
    """
    position = cell + padding - torch.arange(taps, device=cell.device)[:, None]
    output = position.div(stride, rounding_mode="floor")
    return (output * stride == position) & (output >= 0) & (output < size), output


def _keys(coords: Tensor, shape: Triple) -> Tensor:
    """Number the cells of a batch, frame by frame, z slowest and x fastest."""
    frame, z, y, x = coords.unbind(1)
    return ((frame * shape[0] + z) * shape[1] + y) * shape[2] + x


def _coords(keys: Tensor, shape: Triple) -> Tensor:
    """Give the ``[N, 4]`` cells of such numbers."""
    columns = []
    for size in reversed(shape):
        rows = keys.div(size, rounding_mode="floor")
        columns.append(keys - rows * size)
        keys = rows
    return torch.stack((keys, *reversed(columns)), dim=1)
