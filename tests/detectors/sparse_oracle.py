"""What the tests of sparse convolution compare with: dense convolution, and plain loops."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from kd3d.detectors.sparse import SparseConv3d, SparseTensor, SubmanifoldConv3d

ENGINES = ("torch", "spconv")
SHAPE = (5, 6, 7)

counts = st.integers(1, 3)
geometries = st.one_of(
    st.tuples(st.just(True), st.sampled_from([(3, 3, 3), (3, 1, 1), (1, 1, 1), (1, 3, 5)])),
    st.tuples(
        st.just(False),
        st.sampled_from([(3, 3, 3), (3, 1, 1), (1, 1, 1), (2, 3, 1)]),
        st.tuples(counts, counts, counts),
        st.sampled_from([(0, 0, 0), (1, 1, 1), (0, 1, 1), (2, 0, 1)]),
    ),
)


def need(engine):
    if engine == "spconv":
        pytest.importorskip("spconv.pytorch")


def sparse(
    seed=0, channels=4, share=0.2, frames=3, shape=SHAPE, dtype=torch.float64, requires_grad=False
):
    """Make a tensor with some occupied cells in random order; its second frame is empty."""
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.rand(frames, *shape, generator=generator) < share
    occupied[1:2] = False
    cells = occupied.nonzero()
    cells = cells[torch.randperm(len(cells), generator=generator)]
    features = torch.randn(len(cells), channels, generator=generator, dtype=dtype)
    return SparseTensor(features.requires_grad_(requires_grad), cells, shape, frames)


def make_convolution(geometry, inputs=4, outputs=3, bias=True, engine="torch", seed=0):
    submanifold, *arguments = geometry
    kind = SubmanifoldConv3d if submanifold else SparseConv3d
    torch.manual_seed(seed)
    return kind(inputs, outputs, *arguments, bias=bias, engine=engine).double()


def dense_convolution(conv, x, cells):
    """Convolve the dense volume and read the result ``[M, out]`` at `cells`."""
    weight = conv.weight.permute(0, 4, 1, 2, 3)
    volume = F.conv3d(x.dense(), weight, conv.bias, conv.stride, conv.padding)
    frame, z, y, x = cells.unbind(1)
    return volume[frame, :, z, y, x]


def reached_cells(conv, x):
    """Give the output cells ``[M, 4]`` of a strided convolution, ascending."""
    occupied = x.with_features(torch.ones(len(x), 1)).dense()
    ones = torch.ones(1, 1, *conv.kernel_size)
    return (F.conv3d(occupied, ones, None, conv.stride, conv.padding)[:, 0] > 0.5).nonzero()


def listed_pairs(conv, x, output_cells):
    """Give all (tap, input row, output row) by looking up every tap of every output."""
    row_of = {tuple(cell): row for row, cell in enumerate(x.coords.tolist())}
    pairs = set()
    for row, (frame, *cell) in enumerate(output_cells.tolist()):
        for tap, offset in enumerate(product(*map(range, conv.kernel_size))):
            source = (
                c * s + k - p
                for c, s, k, p in zip(cell, conv.stride, offset, conv.padding, strict=True)
            )
            if (found := row_of.get((frame, *source))) is not None:
                pairs.add((tap, found, row))
    return pairs


def ascending(cells, shape):
    """Give the order in which cells ``[M, 4]`` ascend."""
    frame, z, y, x = cells.unbind(1)
    return torch.argsort(((frame * shape[0] + z) * shape[1] + y) * shape[2] + x)
