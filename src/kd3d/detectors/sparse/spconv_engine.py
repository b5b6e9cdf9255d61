"""Sparse convolution by spconv, around the faults that its CPU build has.

On the CPU spconv 2.3.8 adds up wrongly with more than one thread, refuses a bias in evaluation, and
asks for a CUDA stream in its backward. So its forward runs here on one thread, the bias is added
here, and the backward is made of its forward (towards the inputs) and of torch (for the weight).
On any device it takes the weight of a single tap for a transposed one, so that torch multiplies
those. Nothing of spconv is changed.
"""

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kd3d.detectors.sparse import torch_engine
from kd3d.detectors.sparse.rulebook import CHECKED, Geometry, Triple, check_cells
from kd3d.detectors.sparse.spconv_build import one_thread, require
from kd3d.detectors.sparse.tensor import SparseTensor
from kd3d.errors import InputError

__all__ = ["convolve"]

DTYPES = {"cpu": (torch.float32, torch.float64), "cuda": (torch.float16, torch.float32)}


def convolve(
    x: SparseTensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> SparseTensor:
    """Convolve a sparse tensor, on CUDA in float16 or float32, on the CPU in float32 or float64.

    Under autocast it runs in float16 if that is autocast's dtype and the device is CUDA, else in
    float32; under bfloat16 autocast it warns that it does. Differentiable once.

    Args:
        x: the input, ``[N, in]`` features.
        weight: ``[out, kz, ky, kx, in]``.
        bias: ``[out]`` or none.
        geometry: of the convolution; it has the kernel size that the weight has.

    Raises:
        ConfigError: if spconv is not installed, or not for this kind of device.
        InputError: if the features are in another dtype, or the cells do not fit.
    """
    device = x.features.device.type
    require(device)
    dtype = _dtype(x.features, weight)
    x, weight = x.with_features(x.features.to(dtype).contiguous()), weight.to(dtype).contiguous()
    with torch.autocast(device, enabled=False):
        check_cells(x)
        # spconv refuses to run on no cells, and multiplies a single tap's weight untransposed.
        if len(x) == 0 or prod(geometry.kernel_size) == 1:
            result = torch_engine.convolve(x, weight, None, geometry)
        elif device == "cpu":
            result = _convolve_natively(x, weight, geometry)
        else:
            result = _convolve_by_layer(x, weight, geometry)
        if bias is not None:
            result = result.with_features(result.features + bias.to(dtype))
        return result


def _dtype(features: Tensor, weight: Tensor) -> torch.dtype:
    """Choose what to compute in."""
    device = features.device.type
    allowed = DTYPES[device]
    if torch.is_autocast_enabled(device) and features.dtype != torch.float64:
        wanted = torch.get_autocast_dtype(device)
        if wanted == torch.bfloat16:
            warnings.warn(
                "spconv has no bfloat16: its sparse convolutions run in float32 under autocast. "
                'Use float16 autocast or engine="torch" to change that.',
                stacklevel=2,
            )
        return wanted if wanted in allowed else torch.float32
    if features.dtype not in allowed or weight.dtype != features.dtype:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise InputError(
            f"are {features.dtype}, the weight is {weight.dtype}; spconv on {device} runs in "
            f"{names}, never in bfloat16.",
            where="features",
            hint='Cast both, or use engine="torch".',
        )
    return features.dtype


@dataclass(frozen=True, eq=False)
class _Pairs:
    """What spconv's CPU build makes in place of a `Rulebook`.

    Args:
        rows: ``[2, K, N]`` int32 input and output rows of the pairs of each tap, then -1.
        counts: ``[K]`` int32 pairs per tap; zero from the centre on if submanifold, where the pairs
            mirror those before it.
        coords: ``[M, 4]`` int64 output cells.
        shape: output cells along z, y, x.
        submanifold: whether the output cells are the input cells.
        rulebooks: of the output cells, if those are new ones.
    """

    rows: Tensor
    counts: Tensor
    coords: Tensor
    shape: Triple
    submanifold: bool
    rulebooks: dict[Hashable, Any]


def _find_pairs(x: SparseTensor, geometry: Geometry) -> _Pairs:
    """Give spconv's pairs, made at the first call on these cells."""
    key = ("spconv", geometry)
    if key in x.rulebooks:
        pairs: _Pairs = x.rulebooks[key]
        return pairs
    ops = import_module("spconv.pytorch.ops")
    shape = geometry.output_shape(x.shape)
    cells, rows, counts = ops.get_indice_pairs(
        x.coords.int().contiguous(),  # spconv reads the memory, whatever the strides
        x.num_frames,
        list(x.shape),
        ops.ConvAlgo.Native,
        list(geometry.kernel_size),
        list(geometry.stride),
        list(geometry.padding),
        [1, 1, 1],
        [0, 0, 0],
        geometry.submanifold,
    )
    found = _Pairs(
        rows=rows,
        counts=counts,
        coords=x.coords if geometry.submanifold else cells.long(),
        shape=shape,
        submanifold=geometry.submanifold,
        rulebooks={CHECKED: True},
    )
    x.rulebooks[key] = found
    return found


def _convolve_natively(x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
    """Convolve on the CPU."""
    with one_thread():
        pairs = _find_pairs(x, geometry)
    features = _NativeConvolution.apply(x.features, weight, pairs)  # type: ignore[no-untyped-call]
    if geometry.submanifold:
        return x.with_features(features)
    return SparseTensor(features, pairs.coords, pairs.shape, x.num_frames, pairs.rulebooks)


class _NativeConvolution(torch.autograd.Function):
    """spconv's CPU forward, and a backward that does not ask for a stream."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: _Pairs) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(features, weight)
        ctx.pairs = pairs
        return _add_up(features, weight, pairs, len(pairs.coords), inverse=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        features, weight = ctx.saved_tensors
        of_features, of_weight, _ = ctx.needs_input_grad
        grad_features = grad_weight = None
        if of_features:
            swapped = weight.permute(4, 1, 2, 3, 0).contiguous()
            rows = len(features)
            grad_features = _add_up(grad.contiguous(), swapped, ctx.pairs, rows, inverse=True)
        if of_weight:
            grad_weight = _weight_gradient(features, grad, weight, ctx.pairs)
        return grad_features, grad_weight, None


def _add_up(features: Tensor, weight: Tensor, pairs: _Pairs, rows: int, *, inverse: bool) -> Tensor:
    """Add up the products of all pairs, at their outputs or, if inverse, at their inputs."""
    ops = import_module("spconv.pytorch.ops")
    with one_thread():
        total: Tensor = ops.indice_conv(
            features,
            weight,
            pairs.rows,
            pairs.counts,
            rows,
            inverse,
            pairs.submanifold,
            ops.ConvAlgo.Native,
        )
    return total


def _weight_gradient(features: Tensor, grad: Tensor, weight: Tensor, pairs: _Pairs) -> Tensor:
    """Multiply the inputs and the output gradients of each tap."""
    counts = pairs.counts.tolist()
    gradient = weight.new_zeros(len(counts), weight.shape[0], weight.shape[-1])
    center = len(counts) // 2
    for tap, (inputs, outputs) in enumerate(zip(*pairs.rows, strict=True)):
        if pairs.submanifold and tap == center:  # each cell with itself, not listed
            gradient[tap] = grad.T @ features
            continue
        count = counts[-1 - tap] if pairs.submanifold and tap > center else counts[tap]
        chosen = features.index_select(0, inputs[:count])
        gradient[tap] = grad.index_select(0, outputs[:count]).T @ chosen
    return gradient.transpose(0, 1).reshape(weight.shape)


def _convolve_by_layer(x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
    """Convolve by a layer of spconv that borrows the weight."""
    spconv = import_module("spconv.pytorch")
    kind = spconv.SubMConv3d if geometry.submanifold else spconv.SparseConv3d
    shared = "pairs" if geometry.submanifold else None  # spconv reuses no others
    with torch.device("meta"):  # neither memory nor random numbers
        layer = kind(
            weight.shape[-1],
            weight.shape[0],
            list(geometry.kernel_size),
            list(geometry.stride),
            list(geometry.padding),
            bias=False,
            indice_key=shared,
        )
    layer.train()  # so that the pairs serve a backward too
    shape = geometry.output_shape(x.shape)
    tensor = spconv.SparseConvTensor(
        x.features, x.coords.int().contiguous(), list(x.shape), x.num_frames
    )
    key = ("spconv", geometry)
    if key in x.rulebooks:
        tensor.indice_dict[shared] = x.rulebooks[key]
    result = torch.func.functional_call(layer, {"weight": weight}, (tensor,))
    if not geometry.submanifold:
        cells = result.indices.long()
        return SparseTensor(result.features, cells, shape, x.num_frames, {CHECKED: True})
    x.rulebooks[key] = result.indice_dict[shared]
    return x.with_features(result.features)
