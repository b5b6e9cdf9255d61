"""The spconv engine: one thread, its dtypes, and what happens without it."""

import subprocess
import sys
import warnings

import pytest
import torch
from sparse_oracle import dense_convolution, make_convolution, sparse

from kd3d.detectors.sparse import (
    SparseConv3d,
    SparseTensor,
    SubmanifoldConv3d,
    spconv_build,
    spconv_engine,
)
from kd3d.errors import ConfigError, InputError

SUBMANIFOLD = (True, (3, 3, 3))
STRIDED = (False, (3, 3, 3), (2, 2, 2), (1, 1, 1))
LARGE = {"channels": 16, "share": 0.3, "frames": 1, "shape": (12, 36, 36)}


@pytest.fixture
def spconv():
    return pytest.importorskip("spconv.pytorch")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_spconv(monkeypatch):
    """Let imports of spconv fail as if it were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "spconv"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "spconv", None)
    spconv_build.missing.cache_clear()
    yield
    spconv_build.missing.cache_clear()


@pytest.mark.usefixtures("spconv", "two_threads")
@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED])
def test_is_right_whatever_the_threads(geometry):
    """With two threads spconv's own result is wrong in about half of the calls at this size."""
    conv = make_convolution(geometry, 16, 16, engine="spconv")
    x = sparse(**LARGE, requires_grad=True)
    for repeat in range(4):
        y = conv(x)
        gradient, *_ = torch.autograd.grad(y.features.square().sum(), [x.features, conv.weight])
        if repeat == 0:
            first = (y.features, gradient)
            expected = dense_convolution(conv, x, y.coords)
            torch.testing.assert_close(y.features, expected)
            by_dense = torch.autograd.grad(expected.square().sum(), x.features)[0]
            torch.testing.assert_close(gradient, by_dense)
        assert torch.equal(y.features, first[0])
        assert torch.equal(gradient, first[1])
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("spconv", "two_threads")
def test_threads_come_back_after_an_error():
    def fail():
        with spconv_build.one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert torch.get_num_threads() == 2


def test_nothing_of_spconv_is_changed(spconv):
    from spconv.pytorch import ops

    before = dict(vars(ops))
    conv = make_convolution(SUBMANIFOLD, engine="spconv")
    conv(sparse(requires_grad=True)).features.sum().backward()
    assert dict(vars(ops)) == before


@pytest.mark.parametrize("kind", ["SubMConv3d", "SparseConv3d"])
def test_weights_fit_spconv(spconv, kind):
    theirs = getattr(spconv, kind)(4, 3, 3, padding=1, bias=True)
    ours = SubmanifoldConv3d if kind == "SubMConv3d" else SparseConv3d
    arguments = (4, 3, 3) if kind == "SubMConv3d" else (4, 3, 3, 1, 1)
    for engine in ("torch", "spconv"):
        conv = ours(*arguments, bias=True, engine=engine)
        conv.load_state_dict(theirs.state_dict())
        theirs.load_state_dict(conv.state_dict())
    x = sparse(dtype=torch.float32)
    tensor = spconv.SparseConvTensor(x.features, x.coords.int().contiguous(), x.shape, 3)
    with spconv_build.one_thread():
        result = theirs(tensor)
    shape = tuple(result.spatial_shape)
    expected = SparseTensor(result.features, result.indices.long(), shape, 3).dense()
    torch.testing.assert_close(conv(x).dense(), expected)


@pytest.mark.usefixtures("spconv")
def test_pairs_are_found_once_per_geometry(monkeypatch):
    from spconv.pytorch import ops

    calls = []
    find = ops.get_indice_pairs
    monkeypatch.setattr(ops, "get_indice_pairs", lambda *a: calls.append(1) or find(*a))
    entry = make_convolution(SUBMANIFOLD, engine="spconv")
    block = make_convolution(SUBMANIFOLD, 3, 3, engine="spconv")
    x = sparse()
    y = block(entry(x))
    assert len(calls) == 1
    down = make_convolution(STRIDED, 3, 3, engine="spconv")
    z = block(block(down(y)))
    assert len(calls) == 3
    assert down(y).coords is z.coords
    assert len(calls) == 3


@pytest.mark.usefixtures("spconv")
def test_bfloat16_is_refused_or_said():
    conv = SubmanifoldConv3d(4, 3, bias=True, engine="spconv")
    x = sparse(dtype=torch.float32)
    expected = conv(x).features
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.warns(UserWarning, match="spconv has no bfloat16.*float32"),
    ):
        features = conv(x.with_features(x.features)).features
    assert features.dtype == torch.float32
    assert torch.equal(features, expected)
    half = x.with_features(x.features.bfloat16())
    with pytest.raises(
        InputError, match=r"bfloat16.* runs in float32 or float64, never in bfloat16"
    ):
        conv.bfloat16()(half)


@pytest.mark.usefixtures("spconv")
def test_float16_autocast_on_the_cpu_is_float32_without_a_word():
    conv, x = SubmanifoldConv3d(4, 3, engine="spconv"), sparse(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.float16), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert conv(x).features.dtype == torch.float32


@pytest.mark.usefixtures("spconv")
@pytest.mark.parametrize("geometry", [SUBMANIFOLD, STRIDED, (True, (1, 3, 5))])
def test_convolution_by_a_layer_of_spconv(geometry):
    """What runs on CUDA; its forward runs on the CPU too."""
    conv = make_convolution(geometry, bias=False)
    x = sparse()
    state = torch.get_rng_state()
    with spconv_build.one_thread():
        results = [
            spconv_engine._convolve_by_layer(x, conv.weight, conv.geometry) for _ in range(2)
        ]
    assert torch.equal(torch.get_rng_state(), state)
    expected = conv(sparse())
    for result in results:
        assert result.shape == expected.shape
        torch.testing.assert_close(result.dense(), expected.dense())
        assert result.coords.dtype == torch.int64
    y = spconv_engine.convolve(sparse(), conv.weight, None, conv.geometry)
    torch.testing.assert_close(results[0].features, y.features)


@pytest.mark.usefixtures("no_spconv")
def test_asking_for_spconv_without_it():
    with pytest.raises(ConfigError, match=r"not installed.*kd3d\[spconv-cpu\].*spconv-cu120"):
        SubmanifoldConv3d(4, 3, engine="spconv")
    assert SubmanifoldConv3d(4, 3).double()(sparse()).features.shape[1] == 3


def test_other_devices_and_builds(spconv):
    assert spconv_build.missing("cpu") is None
    assert "mps" in spconv_build.missing("mps")
    from spconv.cppconstants import CPU_ONLY_BUILD

    assert (spconv_build.missing("cuda") is not None) == CPU_ONLY_BUILD


def test_auto_means_torch_on_the_cpu():
    """Also where spconv is installed, which is not even imported."""
    code = """if True:
        import sys, torch
        from kd3d.detectors.sparse import SparseTensor, SubmanifoldConv3d
        x = SparseTensor(torch.ones(1, 4), torch.zeros(1, 4, dtype=torch.int64), (1, 1, 1), 1)
        SubmanifoldConv3d(4, 3)(x).features.sum().backward()
        assert not [name for name in sys.modules if name.partition(".")[0] in ("spconv", "cumm")]
    """
    subprocess.run([sys.executable, "-c", code], check=True)
