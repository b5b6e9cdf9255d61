"""What one call of a layer costs, by kind of layer.

The paper's convention is that of the counter behind its tables. Convolution *and* transposed
convolution: output elements x (input channels per group x kernel area, + 1 with a bias). Norm: two
per input element. Linear: input features x output elements. Sparse convolution: (input, output,
tap) triples x input channels x output channels, + 1 per output voxel with a bias. Everything else:
nothing.

In both conventions a border is counted like the inside: products with zero padding, and those that
a transposed convolution crops, are made by dense kernels too. A sparse convolution's are not.
"""

import sys
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from kd3d.detectors.pillar_encoder import PillarLayer
from kd3d.detectors.sparse import SparseConvolution, SparseTensor
from kd3d.profiling.cost import Cost, Tally
from kd3d.profiling.foreign import SpconvRule

__all__ = ["Rule", "find_rule", "rule_table"]

#: (module, inputs, output) of one call to its cost; keyword inputs follow the positional ones.
Rule = Callable[[Any, tuple[Any, ...], Any], Cost]


def rule_table(extra: Mapping[type[nn.Module], Rule] | None = None) -> dict[type, Rule]:
    """Give the rules of one profile: kd3d's, spconv's if it is imported, and `extra` before them.

    spconv is not imported for it: a model with its modules has done so.
    """
    table: dict[type, Rule] = dict(_RULES)
    spconv = sys.modules.get("spconv.pytorch.conv")
    if spconv is not None:
        table[spconv.SparseConvolution] = SpconvRule()
    table.update(extra or {})
    return table


def find_rule(module: nn.Module, table: Mapping[type, Rule]) -> Rule | None:
    """Give the rule of the module's class, or of the nearest of its parents that has one."""
    return next((table[kind] for kind in type(module).__mro__ if kind in table), None)


def _convolution(
    module: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: tuple[Any, ...], output: Tensor
) -> Cost:
    per_element = module.in_channels // module.groups * prod(module.kernel_size)
    return _dense(output.numel() * per_element, per_element, module.bias is not None, output)


def _transposed(
    module: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d,
    inputs: tuple[Any, ...],
    output: Tensor,
) -> Cost:
    """Each input element meets each output channel of its group under each tap of the kernel."""
    area = prod(module.kernel_size)
    macs = inputs[0].numel() * (module.out_channels // module.groups) * area
    per_element = module.in_channels // module.groups * area
    return _dense(macs, per_element, module.bias is not None, output)


def _dense(macs: int, per_element: int, bias: bool, output: Tensor) -> Cost:
    elements = output.numel()
    return Cost(Tally(macs, elements), Tally(elements * (per_element + bias), elements))


def _linear(module: nn.Linear, inputs: tuple[Any, ...], output: Tensor) -> Cost:
    tally = Tally(module.in_features * output.numel(), output.numel())
    return Cost(tally, tally)


def _norm(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Cost:
    return Cost(Tally(), Tally(2 * inputs[0].numel(), 0))


def _pillar_layer(module: PillarLayer, inputs: tuple[Any, ...], output: Any) -> Cost:  # noqa: ANN401
    """Count the rows that run (true), and those of pillars padded to their most points (paper)."""
    rows, virtual, padding = inputs
    features, channels = module.linear.in_features, module.linear.out_features
    run = (len(rows) + len(virtual)) * channels
    padded = (len(rows) + int(padding.sum())) * channels
    return Cost(Tally(run * features, run), Tally(padded * (features + 2), padded))


def _sparse(module: SparseConvolution, inputs: tuple[SparseTensor], output: SparseTensor) -> Cost:
    """Count by rulebook pairs, which are the same whatever engine runs."""
    macs = module.rulebook(inputs[0]).num_pairs * module.in_channels * module.out_channels
    activations = len(output) * module.out_channels
    biases = 0 if module.bias is None else len(output)
    return Cost(Tally(macs, activations), Tally(macs + biases, activations))


_RULES: dict[type, Rule] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.ConvTranspose1d: _transposed,
    nn.ConvTranspose2d: _transposed,
    nn.ConvTranspose3d: _transposed,
    nn.Linear: _linear,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm3d: _norm,
    nn.SyncBatchNorm: _norm,
    PillarLayer: _pillar_layer,
    SparseConvolution: _sparse,
}
