"""Sparse convolutions by pairs of cells: both engines, and plain modules of spconv."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kd3d.detectors.sparse import SparseConv3d, SparseTensor, SubmanifoldConv3d
from kd3d.errors import InputError
from kd3d.profiling import Tally, profile

COUNT = {"repeats": 0, "memory": False}
SHAPE = (5, 7, 6)


def occupied(seed, frames=2, share=0.2):
    """Cells ``[N, 4]`` (frame, z, y, x) and the volume ``[frames, 1, *SHAPE]`` that they fill."""
    generator = torch.Generator().manual_seed(seed)
    volume = (torch.rand(frames, *SHAPE, generator=generator) < share).double()
    volume[0, 2, 3, 3] = 1
    cells = volume.nonzero()
    order = torch.randperm(len(cells), generator=generator)
    return cells[order], volume[:, None]


def meetings(volume, kernel, stride=1, padding=0, dilation=1):
    """Occupied cells under the kernel at each output cell, by a dense convolution of ones."""
    ones = torch.ones(1, 1, *kernel, dtype=volume.dtype)
    return F.conv3d(volume, ones, stride=stride, padding=padding, dilation=dilation)


def pairs_at_cells(volume, size):
    return int((meetings(volume, (size,) * 3, padding=size // 2) * volume).sum())


@pytest.mark.parametrize("engine", ["torch", "spconv"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_submanifold_convolution_counts_the_cells_that_meet(engine, size):
    if engine == "spconv":
        pytest.importorskip("spconv.pytorch")
    cells, volume = occupied(0)
    layer = SubmanifoldConv3d(4, 3, size, bias=True, engine=engine)
    found = profile(layer, SparseTensor(torch.randn(len(cells), 4), cells, SHAPE, 2), **COUNT)
    macs = pairs_at_cells(volume, size) * 4 * 3
    assert found.root.cost.true == Tally(macs, len(cells) * 3)
    assert found.root.cost.paper == Tally(macs + len(cells), len(cells) * 3)
    assert found.gaps == {}


@pytest.mark.parametrize("engine", ["torch", "spconv"])
@settings(max_examples=15)
@given(
    kernel=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.tuples(*[st.integers(1, 2)] * 3),
    padding=st.tuples(*[st.integers(0, 1)] * 3),
    seed=st.integers(0, 5),
)
def test_a_strided_convolution_counts_the_cells_that_meet(engine, kernel, stride, padding, seed):
    if engine == "spconv":
        pytest.importorskip("spconv.pytorch")
    cells, volume = occupied(seed)
    layer = SparseConv3d(2, 5, kernel, stride, padding, engine=engine)
    found = profile(layer, SparseTensor(torch.randn(len(cells), 2), cells, SHAPE, 2), **COUNT)
    met = meetings(volume, kernel, stride, padding)
    outputs = int((met > 0).sum())
    assert found.root.cost.true == found.root.cost.paper == Tally(int(met.sum()) * 10, outputs * 5)


@pytest.fixture(scope="module")
def spconv():
    return pytest.importorskip("spconv.pytorch")


def foreign_tensor(spconv, cells, channels):
    return spconv.SparseConvTensor(torch.randn(len(cells), channels), cells.int(), SHAPE, 2)


def test_spconv_s_modules_count_the_same_pairs(spconv):
    cells, volume = occupied(1)
    model = spconv.SparseSequential(
        spconv.SubMConv3d(4, 8, 3, bias=False, indice_key="a"),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        spconv.SparseConv3d(8, 6, 3, stride=2, padding=1, bias=False, indice_key="b"),
        spconv.SparseInverseConv3d(6, 5, 3, bias=False, indice_key="b"),
    )
    found = profile(model, foreign_tensor(spconv, cells, 4), repeats=0)
    assert found.memory.activations > 0
    met = meetings(volume, (3, 3, 3), 2, 1)
    strided = int(met.sum())
    assert found["0"].cost.true == Tally(pairs_at_cells(volume, 3) * 32, len(cells) * 8)
    assert found["1"].cost.paper == Tally(2 * len(cells) * 8, 0)
    assert found["3"].cost.true == Tally(strided * 48, int((met > 0).sum()) * 6)
    assert found["4"].cost.true == Tally(strided * 30, len(cells) * 5)
    assert found.gaps == {}
    assert found.parameters == sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 0, 2), (2, 2, 0, 1), ((3, 1, 1), (2, 1, 1), 0, 1), (3, 2, (0, 1, 1), 1)],
)
def test_spconv_s_geometries(spconv, kernel, stride, padding, dilation):
    cells, volume = occupied(2)
    layer = spconv.SparseConv3d(1, 1, kernel, stride, padding, dilation, bias=False)
    found = profile(layer, foreign_tensor(spconv, cells, 1), **COUNT)
    sizes = (kernel,) * 3 if isinstance(kernel, int) else kernel
    assert found.macs == int(meetings(volume, sizes, stride, padding, dilation).sum())


def test_a_dilated_submanifold_convolution_of_spconv(spconv):
    cells, volume = occupied(3, share=0.4)
    layer = spconv.SubMConv3d(1, 1, 3, dilation=2, bias=False)
    found = profile(layer, foreign_tensor(spconv, cells, 1), **COUNT)
    met = meetings(volume, (3, 3, 3), padding=2, dilation=2)
    assert found.macs == int((met * volume).sum())


def test_a_submanifold_convolution_of_spconv_in_the_plane(spconv):
    cells, _ = occupied(6)
    cells = torch.unique(cells[:, [0, 2, 3]], dim=0)
    plane = torch.zeros(2, 1, *SHAPE[1:], dtype=torch.double)
    plane[cells[:, 0], 0, cells[:, 1], cells[:, 2]] = 1
    tensor = spconv.SparseConvTensor(torch.randn(len(cells), 1), cells.int(), SHAPE[1:], 2)
    found = profile(spconv.SubMConv2d(1, 1, 3, bias=False), tensor, **COUNT)
    met = F.conv2d(plane, torch.ones(1, 1, 3, 3, dtype=plane.dtype), padding=1)
    assert found.macs == int((met * plane).sum())


def test_a_transposed_convolution_of_spconv(spconv):
    cells, volume = occupied(4)
    layer = spconv.SparseConvTranspose3d(2, 3, 3, 2, padding=1, bias=False)
    found = profile(layer, foreign_tensor(spconv, cells, 2), **COUNT)
    ones = torch.ones(1, 1, 3, 3, 3, dtype=volume.dtype)
    reached = F.conv_transpose3d(volume, ones, stride=2, padding=1)
    assert found.macs == int(reached.sum()) * 6


def test_an_inverse_convolution_alone_is_refused(spconv):
    cells, _ = occupied(5)
    inner = spconv.SparseConv3d(1, 1, 3, 2, bias=False, indice_key="k")(
        foreign_tensor(spconv, cells, 1)
    )
    inverse = spconv.SparseInverseConv3d(1, 1, 3, bias=False, indice_key="k")
    with pytest.raises(InputError, match="indice_key 'k': an inverse convolution runs"):
        profile(inverse, inner, **COUNT)
    assert not inverse._forward_hooks
