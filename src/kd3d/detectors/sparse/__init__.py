"""Sparse 3D convolution: tensors, modules, and two engines that compute the same."""

from kd3d.detectors.sparse.convolution import (
    Engine,
    SparseConv3d,
    SparseConvolution,
    SubmanifoldConv3d,
)
from kd3d.detectors.sparse.rulebook import Geometry, Rulebook
from kd3d.detectors.sparse.tensor import SparseTensor

__all__ = [
    "Engine",
    "Geometry",
    "Rulebook",
    "SparseConv3d",
    "SparseConvolution",
    "SparseTensor",
    "SubmanifoldConv3d",
]
