import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_oracle import (
    SHAPE,
    ascending,
    geometries,
    listed_pairs,
    make_convolution,
    reached_cells,
    sparse,
)

from kd3d.detectors.sparse import Geometry, SparseConv3d, SparseTensor, SubmanifoldConv3d
from kd3d.errors import InputError


def pairs_of(rulebook):
    pairs = {
        (tap, *pair)
        for tap, inputs, outputs in rulebook.listed
        for pair in zip(inputs.tolist(), outputs.tolist(), strict=True)
    }
    if rulebook.identity is not None:
        pairs |= {(rulebook.identity, row, row) for row in range(len(rulebook.coords))}
    return pairs


@settings(max_examples=60)
@given(geometry=geometries, seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.02, 0.3, 1.0]))
def test_lists_every_pair_that_exists(geometry, seed, share):
    x = sparse(seed, share=share)
    conv = make_convolution(geometry)
    rulebook = conv.rulebook(x)
    expected = listed_pairs(conv, x, rulebook.coords)
    assert pairs_of(rulebook) == expected
    assert rulebook.num_pairs == len(expected)
    assert len(rulebook.pairs_per_tap) == conv.weight.flatten(1, 3).shape[1]
    for tap, count in enumerate(rulebook.pairs_per_tap):
        assert count == sum(pair[0] == tap for pair in expected)


@settings(max_examples=60)
@given(geometry=geometries, seed=st.integers(0, 99))
def test_output_cells(geometry, seed):
    x = sparse(seed)
    conv = make_convolution(geometry)
    rulebook = conv.rulebook(x)
    if conv.submanifold:
        assert rulebook.coords is x.coords
        assert rulebook.shape == x.shape
    else:
        assert torch.equal(rulebook.coords, reached_cells(conv, x))
        order = ascending(rulebook.coords, rulebook.shape)
        assert torch.equal(order, torch.arange(len(order)))


def test_shape_of_the_voxel_networks():
    shape = (41, 1504, 1504)
    for padding, expected in (
        ((1, 1, 1), (21, 752, 752)),
        ((1, 1, 1), (11, 376, 376)),
        ((0, 1, 1), (5, 188, 188)),
    ):
        shape = Geometry((3, 3, 3), (2, 2, 2), padding, submanifold=False).output_shape(shape)
        assert shape == expected
    last = Geometry((3, 1, 1), (2, 1, 1), (0, 0, 0), submanifold=False)
    assert last.output_shape(shape) == (2, 188, 188)


@pytest.mark.parametrize(
    "cells",
    [
        [(0, 0, 0, 6), (0, 0, 1, 0)],
        [(0, 0, 5, 6), (0, 1, 0, 0)],
        [(0, 4, 5, 6), (1, 0, 0, 0)],
        [(0, 4, 3, 3), (1, 0, 3, 3)],
        [(0, 2, 5, 3), (0, 3, 0, 3)],
    ],
)
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 1, 3), (1, 5, 5)])
def test_neighbours_in_memory_are_no_neighbours_in_space(cells, kernel):
    """The end of a row, layer or frame comes right before the start of the next."""
    x = SparseTensor(torch.ones(2, 1), torch.tensor(cells), SHAPE, 2)
    assert SubmanifoldConv3d(1, 1, kernel).rulebook(x).num_pairs == 2


def test_convolutions_of_one_geometry_share_their_rulebook():
    x = sparse()
    entry, block, other = (
        SubmanifoldConv3d(4, 3),
        SubmanifoldConv3d(3, 3),
        SubmanifoldConv3d(3, 3, 1),
    )
    for module in (entry, block, other):
        module.double()
    rulebook = entry.rulebook(x)
    inner = entry(x)
    assert block.rulebook(inner.with_features(inner.features.relu())) is rulebook
    assert other.rulebook(inner) is not rulebook

    down, twin = (SparseConv3d(4, 3, 3, 2, 1).double() for _ in range(2))
    first, second = down(x), twin(x)
    assert first.coords is second.coords
    assert block.rulebook(first) is block.rulebook(second)
    assert block.rulebook(first) is not rulebook


def test_refuses_a_kernel_that_does_not_fit():
    conv = SparseConv3d(4, 3, (3, 1, 1), (2, 1, 1), 0).double()
    thin = SparseTensor(
        torch.ones(1, 4).double(), torch.zeros(1, 4, dtype=torch.int64), (2, 6, 7), 1
    )
    with pytest.raises(InputError, match=r"3 taps along z .* 2 cells .* at least 3 cells along z"):
        conv(thin)


@pytest.mark.parametrize("conv", [SubmanifoldConv3d(1, 1), SparseConv3d(1, 1, 3, 2, 1)])
@pytest.mark.parametrize(
    "bad", [(2, 0, 0, 0), (0, 5, 0, 0), (0, 0, 6, 0), (0, 0, 0, 7), (0, 0, -1, 3)]
)
def test_refuses_cells_outside_the_grid(conv, bad):
    x = SparseTensor(torch.ones(2, 1), torch.tensor([(0, 0, 0, 0), bad]), SHAPE, 2)
    with pytest.raises(InputError, match=r"1 cells lie outside .*\[2, 5, 6, 7\].*" + str(bad[0])):
        conv(x)


@pytest.mark.parametrize("conv", [SubmanifoldConv3d(1, 1), SparseConv3d(1, 1, 3, 2, 1)])
def test_refuses_a_cell_that_is_there_twice(conv):
    cells = torch.tensor([(1, 2, 3, 4), (0, 2, 3, 4), (1, 2, 3, 4)])
    with pytest.raises(InputError, match="1 cells are there more than once"):
        conv(SparseTensor(torch.ones(3, 1), cells, SHAPE, 2))
