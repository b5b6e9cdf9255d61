"""One layout for a whole checkpoint, from tensors that tell it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd3d.errors import CheckpointError
from kd3d.interop.layouts import decide_layout, from_ours, shape_from_ours, to_ours

LAYOUTS = ("spconv1", "spconv2")
layouts = st.sampled_from(LAYOUTS)
channels = st.integers(1, 40)
kernels = st.sampled_from([(3, 3, 3), (3, 1, 1), (1, 3, 3)])


def convolution(kernel, inputs, outputs):
    return (outputs, *kernel, inputs)


@given(layouts, kernels, channels, channels)
def test_both_directions_undo_each_other(layout, kernel, inputs, outputs):
    weight = torch.rand(convolution(kernel, inputs, outputs))
    other = from_ours(weight, layout)
    assert tuple(other.shape) == shape_from_ours(tuple(weight.shape), layout)
    assert torch.equal(to_ours(other, layout), weight)


def test_the_old_layout_has_the_kernel_first_and_the_outputs_last():
    weight = from_ours(torch.rand(16, 3, 2, 1, 5), "spconv1")
    assert weight.shape == (3, 2, 1, 5, 16)


@given(layouts, st.lists(st.tuples(kernels, channels, channels), min_size=1, max_size=6), channels)
def test_the_layout_is_found_whatever_the_widths(layout, convolutions, width):
    """The checkpoint's channels need not be the detector's."""
    given_shapes = {
        f"conv{k}": (
            shape_from_ours(convolution(kernel, inputs, outputs), layout),
            convolution(kernel, width, width),
        )
        for k, (kernel, inputs, outputs) in enumerate(convolutions)
    }
    given_shapes["input"] = (
        shape_from_ours(convolution((3, 3, 3), 5, 16), layout),
        convolution((3, 3, 3), 5, width),
    )
    assert decide_layout(given_shapes) == layout


@given(layouts, channels, channels)
def test_as_many_channels_as_the_kernel_is_long(layout, inputs, outputs):
    """(3, 3, 3, 3, 16) could be read both ways, but only one way fits."""
    for shape in (convolution((3, 3, 3), 3, outputs), convolution((3, 3, 3), inputs, 3)):
        if shape != (3, 3, 3, 3, 3):
            assert decide_layout({"conv": (shape_from_ours(shape, layout), shape)}) == layout


def test_nothing_tells():
    assert decide_layout({}) is None
    assert decide_layout({"conv": ((16, 5, 5, 5, 5), (16, 3, 3, 3, 5))}) is None
    assert decide_layout({"conv": ((16,), (16, 3, 3, 3, 5))}) is None


def test_tensors_of_either_layout_need_a_word():
    shape = (3, 3, 3, 3, 3)
    with pytest.raises(
        CheckpointError, match=r"fit both .* conv \(3, 3, 3, 3, 3\).* layout=spconv1"
    ):
        decide_layout({"conv": (shape, shape)})


def test_one_telling_tensor_decides_for_all():
    square = (3, 3, 3, 3, 3)
    shapes = {"square": (square, square), "telling": ((3, 3, 3, 5, 16), (16, 3, 3, 3, 5))}
    assert decide_layout(shapes) == "spconv1"


def test_a_mixture_is_refused():
    shapes = {
        "one": ((16, 3, 3, 3, 5), (16, 3, 3, 3, 5)),
        "other": ((3, 3, 3, 5, 16), (16, 3, 3, 3, 5)),
    }
    with pytest.raises(CheckpointError, match=r"not of one layout: one \(16.*other \(3"):
        decide_layout(shapes)
