"""What a sparse convolution of spconv costs, from the cells it is given."""

from itertools import product
from typing import Any

import torch
from torch import Tensor

from kd3d.errors import InputError
from kd3d.profiling.cost import Cost, Tally

__all__ = ["SpconvRule", "count_pairs"]


class SpconvRule:
    """Count the convolutions of spconv by (input, output, tap) triples.

    Reads the public attributes of modules and tensors (cells, grid, kernel, stride, padding,
    dilation), so the count does not depend on device and algorithm. An inverse convolution has the
    triples of the convolution that it inverts, met before under the same ``indice_key``: one
    instance counts one pass.
    """

    def __init__(self) -> None:
        self._met: dict[tuple[str, int], int] = {}

    def __call__(self, module: Any, inputs: tuple[Any, ...], output: Any) -> Cost:  # noqa: ANN401
        """Give the cost of one call.

        Raises:
            InputError: if an inverse convolution comes before the one it inverts.
        """
        pairs = self._pairs(module, inputs[0], output)
        macs = pairs * module.in_channels * module.out_channels // module.groups
        voxels = len(output.features)
        tally = Tally(macs, voxels * module.out_channels)
        biases = 0 if module.bias is None else voxels
        return Cost(tally, Tally(macs + biases, tally.activations))

    def _pairs(self, module: Any, tensor: Any, output: Any) -> int:  # noqa: ANN401
        if module.inverse:
            return self._inverted(module.indice_key, output)
        pairs = count_pairs(
            tensor.indices,
            tensor.spatial_shape,
            output.spatial_shape,
            kernel_size=module.kernel_size,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            submanifold=module.subm,
            transposed=module.transposed,
        )
        if module.indice_key is not None:
            self._met[module.indice_key, len(tensor.indices)] = pairs
        return pairs

    def _inverted(self, key: str, output: Any) -> int:  # noqa: ANN401
        if (key, len(output.indices)) not in self._met:
            raise InputError(
                "an inverse convolution runs, but not before it the convolution it inverts.",
                where=f"indice_key {key!r}",
                hint="Profile a model that holds both.",
            )
        return self._met[key, len(output.indices)]


def count_pairs(
    cells: Tensor,
    shape: list[int],
    output_shape: list[int],
    *,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    submanifold: bool,
    transposed: bool = False,
) -> int:
    """Count the (input, output, tap) triples of a sparse convolution, without listing them.

    Args:
        cells: ``[N, 1 + D]`` integers, frame and D coordinates of the occupied cells, each once.
        shape: D sizes of the grid.
        output_shape: D sizes of the grid of the output.
        kernel_size: D numbers of taps; likewise stride, padding and dilation.
        stride: cells per output cell (transposed: output cells per cell).
        padding: empty cells around the grid.
        dilation: cells from tap to tap.
        submanifold: whether outputs are at the occupied cells alone; stride and padding are unused.
        transposed: whether cells spread to the output cells that a convolution would join to them.
    """
    cells = cells.long()
    taps = product(*(range(size) for size in kernel_size))
    limits = cells.new_tensor(shape if submanifold else output_shape)
    reach = cells.new_tensor(dilation)
    if submanifold:
        centre = cells.new_tensor([size // 2 for size in kernel_size])
        occupied = torch.sort(_keys(cells[:, :1], cells[:, 1:], limits)).values
    step, pad = cells.new_tensor(stride), cells.new_tensor(padding)
    pairs = cells.new_zeros(())
    for tap in taps:
        offset = cells.new_tensor(tap) * reach
        if submanifold:
            place = cells[:, 1:] + offset - centre * reach
            exists = ((place >= 0) & (place < limits)).all(dim=1)
            exists &= torch.isin(_keys(cells[:, :1], place, limits), occupied)
        elif transposed:
            place = cells[:, 1:] * step + offset - pad
            exists = ((place >= 0) & (place < limits)).all(dim=1)
        else:
            place = cells[:, 1:] + pad - offset
            target = place.div(step, rounding_mode="floor")
            exists = ((place % step == 0) & (target >= 0) & (target < limits)).all(dim=1)
        pairs = pairs + exists.sum()
    return int(pairs)


def _keys(frame: Tensor, cells: Tensor, shape: Tensor) -> Tensor:
    """Give one number ``[N]`` for each cell."""
    key = frame[:, 0]
    for axis, size in enumerate(shape.tolist()):
        key = key * size + cells[:, axis]
    return key
