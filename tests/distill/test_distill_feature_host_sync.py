"""The feature methods never wait for a CUDA device, shown without one (see `host_sync`)."""

import pytest
import torch
from feature_methods import METHODS, make_feature_case, term
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from kd3d.geometry import heat

LAYOUTS = [{}, {"teacher_cells": 16}, {"teacher_cells": 12}, {"cells": 12, "half": 12.0}]


class NoLists(TorchDispatchMode):
    """Refuses tensors made of Python lists, which are copied from the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten.lift_fresh.default, "a list was copied to the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_waits(name, layout, monkeypatch):
    """Fake tensors have no values: whatever needs one on the host raises."""
    monkeypatch.setattr(heat, "_bus_radius", lambda grid: 5)  # computed on the host, by itself
    monkeypatch.setattr(heat, "_may_ask", lambda device: False)  # as on CUDA
    case = make_feature_case(**layout)
    with FakeTensorMode() as fake, NoLists():
        case = _fake(case, fake)
        value = term(METHODS[name].make(), case)
        value.backward()
    assert case.student_features.grad.shape == case.student_features.shape


def _fake(value, mode):
    """Copy a case, with tensors that have shapes alone."""
    if isinstance(value, torch.Tensor):
        return mode.from_tensor(value)
    if isinstance(value, tuple):
        return type(value)(*(_fake(part, mode) for part in value))
    if hasattr(value, "heatmap"):
        parts = ("heatmap", "center", "center_z", "dim", "rot")
        return type(value)(*(_fake(getattr(value, part), mode) for part in parts), value.grid)
    return value
