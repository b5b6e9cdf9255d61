"""Sparse convolution in plain torch: gather, multiply and add, tap by tap."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kd3d.detectors.sparse.rulebook import Geometry, Rulebook, find_rulebook
from kd3d.detectors.sparse.tensor import SparseTensor
from kd3d.errors import InputError

__all__ = ["convolve"]

# On a CPU a tap is worked on in pieces of which each thread's part stays in its cache. Measured on
# one thread at 12 to 96 channels: half or twice as much makes up to 6 % of difference, whole taps
# take 10 % longer.
VALUES_PER_THREAD = 400_000


def convolve(
    x: SparseTensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> SparseTensor:
    """Convolve a sparse tensor, on any device and in any floating dtype.

    Under autocast features, weight and bias are cast as for a dense convolution (float64 is not).
    In float16 and bfloat16 the taps are added up in float32. Differentiable once.

    Args:
        x: the input, ``[N, in]`` features.
        weight: ``[out, kz, ky, kx, in]``.
        bias: ``[out]`` or none.
        geometry: of the convolution; it has the kernel size that the weight has.

    Raises:
        InputError: if features and weight are of different dtypes, or the cells do not fit.
    """
    features = x.features
    device = features.device.type
    if torch.is_autocast_enabled(device) and features.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        features, weight = features.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    if features.dtype != weight.dtype:
        raise InputError(
            f"are {features.dtype}, the weight is {weight.dtype}.",
            where="features",
            hint="Cast one of them, or run under torch.autocast.",
        )
    rulebook = find_rulebook(x, geometry)
    result: Tensor = _Convolution.apply(features, weight, bias, rulebook)  # type: ignore[no-untyped-call]
    if geometry.submanifold:
        return x.with_features(result)
    return SparseTensor(result, rulebook.coords, rulebook.shape, x.num_frames, rulebook.rulebooks)


class _Convolution(torch.autograd.Function):
    """Keeps the features as they are; its backward gathers them again."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rulebook: Rulebook,
    ) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.rulebook = rulebook
        with torch.autocast(features.device.type, enabled=False):
            taps = weight.flatten(1, 3).permute(1, 2, 0).contiguous()
            total = _zeros(features, len(rulebook.coords), weight.shape[0])
            if rulebook.identity is not None:
                total += features @ taps[rulebook.identity]
            for tap, inputs, outputs in _pieces(rulebook, weight):
                product = features.index_select(0, inputs) @ taps[tap]
                total.index_add_(0, outputs, product.to(total.dtype))
            if bias is not None:
                total += bias
            return total.to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        features, weight = ctx.saved_tensors
        rulebook: Rulebook = ctx.rulebook
        of_features, of_weight, of_bias, _ = ctx.needs_input_grad
        with torch.autocast(grad.device.type, enabled=False):
            taps = weight.flatten(1, 3).transpose(0, 1).contiguous()
            grad_taps = _zeros(taps, *taps.shape)
            total = _zeros(features, *features.shape)
            if rulebook.identity is not None:
                if of_features:
                    total += grad @ taps[rulebook.identity]
                if of_weight:
                    grad_taps[rulebook.identity] = grad.T @ features
            for tap, inputs, outputs in _pieces(rulebook, weight):
                gathered = grad.index_select(0, outputs)
                if of_weight:
                    grad_taps[tap] += gathered.T @ features.index_select(0, inputs)
                if of_features:
                    product = gathered @ taps[tap]
                    total.index_add_(0, inputs, product.to(total.dtype))
            return (
                total.to(features.dtype) if of_features else None,
                grad_taps.transpose(0, 1).reshape(weight.shape).to(weight.dtype),
                grad.sum(dim=0) if of_bias else None,
                None,
            )


def _pieces(rulebook: Rulebook, weight: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Give (tap, input rows, output rows), in pieces on a CPU."""
    values = VALUES_PER_THREAD * torch.get_num_threads()
    rows = max(values // max(weight.shape[0], weight.shape[-1]), 1)
    for tap, inputs, outputs in rulebook.listed:
        if inputs.device.type != "cpu":
            yield tap, inputs, outputs
            continue
        for pair in zip(torch.split(inputs, rows), torch.split(outputs, rows), strict=True):
            yield tap, *pair


def _zeros(like: Tensor, *shape: int) -> Tensor:
    """Give zeros to add up in: float32 for the small dtypes."""
    small = like.dtype in (torch.float16, torch.bfloat16)
    return like.new_zeros(shape, dtype=torch.float32 if small else like.dtype)
