"""Both engines against dense convolution, and what a convolution refuses."""

import copy
import gc
import math
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_oracle import (
    ENGINES,
    SHAPE,
    ascending,
    dense_convolution,
    geometries,
    make_convolution,
    need,
    sparse,
)

from kd3d.detectors.sparse import SparseConv3d, SparseTensor, SubmanifoldConv3d, torch_engine
from kd3d.errors import ConfigError, InputError

SUBMANIFOLD = (True, (3, 3, 3))
STRIDED = (False, (3, 3, 3), (2, 2, 2), (0, 1, 1))


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=40)
@given(
    geometry=geometries,
    seed=st.integers(0, 99),
    share=st.sampled_from([0.02, 0.2, 1.0]),
    bias=st.booleans(),
)
def test_equals_dense_convolution(engine, geometry, seed, share, bias):
    need(engine)
    x = sparse(seed, share=share, requires_grad=True)
    conv = make_convolution(geometry, bias=bias, engine=engine, seed=seed)
    y = conv(x)
    expected = dense_convolution(conv, x, y.coords)
    torch.testing.assert_close(y.features, expected)
    assert y.shape == conv.geometry.output_shape(SHAPE)

    pull = torch.randn(expected.shape, dtype=expected.dtype)
    variables = [x.features, *conv.parameters()]
    ours = torch.autograd.grad((y.features * pull).sum(), variables)
    theirs = torch.autograd.grad((expected * pull).sum(), variables)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)


@settings(max_examples=25)
@given(geometry=geometries, seed=st.integers(0, 99))
def test_engines_agree(geometry, seed):
    need("spconv")
    x = sparse(seed, requires_grad=True)
    results = []
    for engine in ENGINES:
        conv = make_convolution(geometry, engine=engine)
        y = conv(sparse(seed).with_features(x.features))
        order = ascending(y.coords, y.shape)
        gradients = torch.autograd.grad(y.features.square().sum(), [x.features, conv.weight])
        results.append((y.coords[order], y.features[order], *gradients))
    for own, other in zip(*results, strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED])
def test_gradients_by_differences(engine, geometry):
    need(engine)
    conv = make_convolution(geometry, inputs=2, outputs=2, engine=engine)
    x = sparse(channels=2, share=0.3, shape=(3, 3, 3), frames=1, requires_grad=True)

    def run(features, weight, bias):
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(conv, parameters, x.with_features(features)).features

    assert torch.autograd.gradcheck(run, (x.features, conv.weight, conv.bias))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED, (True, (1, 1, 1))])
@pytest.mark.parametrize("frames", [0, 2])
def test_no_cells(engine, geometry, frames):
    need(engine)
    conv = make_convolution(geometry, engine=engine)
    none = torch.zeros(0, 4)
    y = conv(SparseTensor(none.double().requires_grad_(), none.long(), SHAPE, frames))
    assert y.features.shape == (0, 3)
    assert y.dense().shape == (frames, 3, *y.shape)
    y.features.sum().backward()
    assert all(not parameter.grad.any() for parameter in conv.parameters())


@pytest.mark.parametrize("engine", ENGINES)
def test_one_cell(engine):
    need(engine)
    cell = torch.tensor([(1, 4, 0, 6)])
    x = SparseTensor(torch.ones(1, 4).double(), cell, SHAPE, 2)
    conv = make_convolution(SUBMANIFOLD, engine=engine)
    y = conv(x)
    expected = conv.weight[:, 1, 1, 1].sum(1) + conv.bias
    torch.testing.assert_close(y.features, expected[None])


@pytest.mark.parametrize("engine", ENGINES)
def test_cells_that_reach_no_output(engine):
    need(engine)
    x = SparseTensor(torch.ones(1, 4).double(), torch.tensor([(0, 1, 1, 1)]), SHAPE, 1)
    y = make_convolution((False, (1, 1, 1), (2, 2, 2), (0, 0, 0)), engine=engine)(x)
    assert y.features.shape == (0, 3)
    assert y.dense().shape == (1, 3, 3, 3, 4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED])
def test_same_in_training_and_evaluation(engine, geometry):
    need(engine)
    conv, x = make_convolution(geometry, engine=engine), sparse()
    trained = conv.train()(x)
    with torch.no_grad():
        evaluated = conv.eval()(x)
    assert torch.equal(trained.features, evaluated.features)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("frozen", ["features", "weight"])
def test_gradient_of_what_asks_for_it(engine, frozen):
    need(engine)
    conv = make_convolution(STRIDED, engine=engine)
    conv.weight.requires_grad_(frozen != "weight")
    x = sparse(requires_grad=frozen != "features")
    conv(x).features.square().sum().backward()
    assert (x.features.grad is None) == (frozen == "features")
    assert (conv.weight.grad is None) == (frozen == "weight")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED])
def test_pairs_go_with_their_tensor(engine, geometry):
    need(engine)
    conv, x = make_convolution(geometry, engine=engine), sparse()
    y = conv(x)
    pairs = [weakref.ref(one) for one in x.rulebooks.values() if one is not True]
    gc.disable()  # they must not wait for it
    try:
        del x, y
        assert pairs
        assert not any(one() for one in pairs)
    finally:
        gc.enable()


def test_no_second_derivative():
    conv, x = make_convolution(SUBMANIFOLD), sparse(requires_grad=True)
    loss = conv(x).features.square().sum()
    (gradient,) = torch.autograd.grad(loss, x.features, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED])
def test_pieces_change_nothing(monkeypatch, geometry):
    conv, x = make_convolution(geometry), sparse(share=0.5, requires_grad=True)
    results = []
    for values in (torch_engine.VALUES_PER_THREAD, 20):
        monkeypatch.setattr(torch_engine, "VALUES_PER_THREAD", values)
        y = conv(x).features
        results.append((y, *torch.autograd.grad(y.square().sum(), [x.features, conv.weight])))
    for whole, pieces in zip(*results, strict=True):
        torch.testing.assert_close(whole, pieces)


@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_of_the_torch_engine(geometry, dtype):
    """One rounding of inputs, products and result each; none from adding up 27 taps."""
    conv = make_convolution(geometry, inputs=8, outputs=8).float()
    x = sparse(channels=8, share=0.9, dtype=torch.float32, requires_grad=True)
    exact = conv(x).features
    exact_gradients = torch.autograd.grad(exact.square().mean(), [x.features, conv.weight])
    with torch.autocast("cpu", dtype=dtype):
        rounded = conv(x).features
    assert rounded.dtype == dtype
    scale = exact.abs().max()
    error = (rounded.float() - exact).abs().max()
    assert 0 < error < 2 * torch.finfo(dtype).eps * scale
    gradients = torch.autograd.grad(rounded.float().square().mean(), [x.features, conv.weight])
    for own, other in zip(gradients, exact_gradients, strict=True):
        assert own.dtype == torch.float32
        assert (own - other).abs().max() < 8 * torch.finfo(dtype).eps * other.abs().max()


def test_autocast_leaves_float64_alone():
    conv, x = make_convolution(SUBMANIFOLD), sparse()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(conv(x).features, conv(x).features)
        assert conv(x).features.dtype == torch.float64


def test_parameters_start_like_those_of_a_dense_convolution():
    torch.manual_seed(0)
    conv = SparseConv3d(16, 64, (3, 1, 1), bias=True)
    dense = torch.nn.Conv3d(16, 64, (3, 1, 1))
    bound = 1 / math.sqrt(16 * 3)
    for own, other in ((conv.weight, dense.weight), (conv.bias, dense.bias)):
        assert own.abs().max() <= bound
        assert own.abs().max() > 0.9 * bound
        assert own.std().item() == pytest.approx(other.std().item(), rel=0.2)
    before = copy.deepcopy(conv.state_dict())
    conv.reset_parameters()
    assert all(not torch.equal(before[key], value) for key, value in conv.state_dict().items())


def test_layout_and_description():
    conv = SparseConv3d(5, 7, (3, 1, 2), (2, 1, 1), (0, 1, 1), bias=True)
    assert {key: tuple(value.shape) for key, value in conv.state_dict().items()} == {
        "weight": (7, 3, 1, 2, 5),
        "bias": (7,),
    }
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 1, 2), (2, 1, 1), (0, 1, 1))
    assert not conv.submanifold
    assert "5, 7, kernel_size=(3, 1, 2), stride=(2, 1, 1), padding=(0, 1, 1)" in repr(conv)
    assert SubmanifoldConv3d(5, 7, (1, 3, 5)).padding == (0, 1, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SubmanifoldConv3d(1, 1, 2), r"\(2, 2, 2\) has no centre tap.*\(3, 3, 3\)"),
        (lambda: SubmanifoldConv3d(0, 1), "in_channels: must be at least 1, not 0"),
        (lambda: SubmanifoldConv3d(1, 0), "out_channels: must be at least 1, not 0"),
        (lambda: SparseConv3d(1, 1, 0), "kernel_size: .* at least 1.* not 0"),
        (lambda: SparseConv3d(1, 1, 3, (1, 0, 1)), "stride: .* at least 1"),
        (lambda: SparseConv3d(1, 1, 3, 1, -1), "padding: .* at least 0"),
        (lambda: SparseConv3d(1, 1, (3, 3)), "kernel_size: .* three"),
        (lambda: SubmanifoldConv3d(1, 1, engine="spcov"), "no engine 'spcov'. Try spconv"),
    ],
)
def test_refuses_arguments(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_refuses_other_channels_and_dtypes():
    conv = SubmanifoldConv3d(4, 3)
    with pytest.raises(InputError, match="needs 4 channels, not 5"):
        conv(sparse(channels=5, dtype=torch.float32))
    with pytest.raises(InputError, match=r"float64, the weight is torch.float32"):
        conv(sparse())
