"""Sparse 3D convolutions as modules."""

import math
from difflib import get_close_matches
from typing import Literal, get_args

import torch
from torch import nn

from kd3d.detectors.sparse import spconv_build, spconv_engine, torch_engine
from kd3d.detectors.sparse.rulebook import Geometry, Rulebook, Triple, find_rulebook
from kd3d.detectors.sparse.tensor import SparseTensor
from kd3d.errors import ConfigError, InputError

__all__ = ["Engine", "SparseConv3d", "SparseConvolution", "SubmanifoldConv3d"]

Engine = Literal["auto", "torch", "spconv"]
"""What computes: plain torch, spconv, or (auto) spconv on CUDA if it is installed, else torch.

spconv is right and fast on CUDA; on the CPU it is right on one thread only, so that auto means
torch there, and spconv, if asked for, runs on one thread.
"""


class SparseConvolution(nn.Module):
    """What both kinds of sparse 3D convolution share.

    The weight is ``[out, kz, ky, kx, in]`` whatever the engine, as in spconv 2 and in OpenPCDet's
    checkpoints. Like a dense convolution it correlates, and it is initialised like one.

    Args:
        in_channels: features per input cell.
        out_channels: features per output cell.
        geometry: kernel, stride and padding along z, y, x.
        bias: whether output cells get a bias. Cells outside the output have none.
        engine: see `Engine`.

    Raises:
        ConfigError: if an argument cannot work, or the engine that is asked for is not installed.
    """

    def __init__(
        self, in_channels: int, out_channels: int, geometry: Geometry, bias: bool, engine: Engine
    ) -> None:
        super().__init__()
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels < 1:
                raise ConfigError(f"must be at least 1, not {channels}.", where=name)
        _check_engine(engine)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.geometry = geometry
        self.engine: Engine = engine
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @property
    def kernel_size(self) -> Triple:
        """Taps along z, y, x."""
        return self.geometry.kernel_size

    @property
    def stride(self) -> Triple:
        """Input cells per output cell along z, y, x."""
        return self.geometry.stride

    @property
    def padding(self) -> Triple:
        """Empty cells around the input along z, y, x."""
        return self.geometry.padding

    @property
    def submanifold(self) -> bool:
        """Whether the output cells are the input cells."""
        return self.geometry.submanifold

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly within 1 / sqrt(fan-in), as `torch.nn.Conv3d` does."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def rulebook(self, x: SparseTensor) -> Rulebook:
        """Give the pairs of this convolution on `x`, which are the same whatever engine runs.

        `x` keeps them for all convolutions of this geometry.

        Raises:
            InputError: if a cell lies outside the grid or is there twice, or the kernel does not
                fit into the padded grid.
        """
        return find_rulebook(x, self.geometry)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve ``[N, in_channels]`` at N cells into ``[M, out_channels]`` at M cells.

        Under autocast the torch engine computes in autocast's dtype; spconv in float16 on CUDA if
        that is autocast's, else in float32.

        Raises:
            InputError: if the features are of other channels or of a dtype that the engine or the
                weight does not fit, a cell lies outside the grid or is there twice, or the kernel
                does not fit into the padded grid.
        """
        if x.features.shape[1] != self.in_channels:
            raise InputError(
                f"needs {self.in_channels} channels, not {x.features.shape[1]}.", where="features"
            )
        convolve = torch_engine.convolve
        if self._runs_spconv(x):
            convolve = spconv_engine.convolve
        return convolve(x, self.weight, self.bias, self.geometry)

    def _runs_spconv(self, x: SparseTensor) -> bool:
        device = x.features.device.type
        if self.engine == "auto":
            return device == "cuda" and spconv_build.missing(device) is None
        return self.engine == "spconv"

    def extra_repr(self) -> str:
        """Say what `print` shows between the brackets."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}, "
            f"engine={self.engine!r}"
        )


class SubmanifoldConv3d(SparseConvolution):
    """Sparse convolution whose output cells are its input cells.

    Args:
        in_channels: features per input cell.
        out_channels: features per output cell.
        kernel_size: taps along z, y, x, odd; one number for all three.
        bias: whether cells get a bias.
        engine: see `Engine`.

    Raises:
        ConfigError: if an argument cannot work, or the engine that is asked for is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple = 3,
        *,
        bias: bool = False,
        engine: Engine = "auto",
    ) -> None:
        kernel = _triple(kernel_size, 1, "kernel_size")
        if not all(taps % 2 for taps in kernel):
            raise ConfigError(
                f"{kernel} has no centre tap.",
                where="kernel_size",
                hint=f"The nearest odd one is {tuple(taps // 2 * 2 + 1 for taps in kernel)}.",
            )
        z, y, x = (taps // 2 for taps in kernel)
        geometry = Geometry(kernel, (1, 1, 1), (z, y, x), submanifold=True)
        super().__init__(in_channels, out_channels, geometry, bias, engine)


class SparseConv3d(SparseConvolution):
    """Sparse convolution with an output cell wherever its kernel meets an input cell.

    Output cells come in ascending order (frame, z, y, x) from the torch engine, in spconv's own
    order from spconv.

    Args:
        in_channels: features per input cell.
        out_channels: features per output cell.
        kernel_size: taps along z, y, x; one number for all three.
        stride: input cells per output cell along z, y, x; one number for all three.
        padding: empty cells around the input along z, y, x; one number for all three.
        bias: whether cells get a bias.
        engine: see `Engine`.

    Raises:
        ConfigError: if an argument cannot work, or the engine that is asked for is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple,
        stride: int | Triple = 1,
        padding: int | Triple = 0,
        *,
        bias: bool = False,
        engine: Engine = "auto",
    ) -> None:
        geometry = Geometry(
            _triple(kernel_size, 1, "kernel_size"),
            _triple(stride, 1, "stride"),
            _triple(padding, 0, "padding"),
            submanifold=False,
        )
        super().__init__(in_channels, out_channels, geometry, bias, engine)


def _triple(value: int | Triple, least: int, where: str) -> Triple:
    values = (value,) * 3 if isinstance(value, int) else tuple(value)
    if len(values) != 3 or min(values) < least:
        raise ConfigError(
            f"needs one number of at least {least}, or three (z, y, x), not {value}.", where=where
        )
    z, y, x = (int(number) for number in values)
    return z, y, x


def _check_engine(engine: str) -> None:
    engines = get_args(Engine)
    if engine not in engines:
        close = get_close_matches(engine, engines, n=1) or engines
        raise ConfigError(f"no engine {engine!r}.", where="engine", hint=f"Try {', '.join(close)}.")
    if engine == "spconv":
        spconv_build.require()
