"""Every tensor of an OpenPCDet state dict against every tensor of a detector."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from kd3d.detectors import Detector
from kd3d.errors import CheckpointError
from kd3d.interop.layouts import TO_OURS, Layout, check_layout, decide_layout, shape_from_ours
from kd3d.interop.names import (
    NOT_WEIGHTS,
    biases_before_norms,
    openpcdet_names,
    without_wrapper,
)
from kd3d.interop.report import ImportReport

__all__ = ["compare_openpcdet"]

SPARSE_AXES = 5
"""Axes of a sparse convolution's weight; nothing else in our detectors has as many."""


def compare_openpcdet(
    state_dict: Mapping[str, Tensor],
    detector: Detector,
    *,
    layout: Literal["auto"] | Layout = "auto",
) -> ImportReport:
    """Say what `import_openpcdet` would do, and change nothing.

    Args:
        state_dict: OpenPCDet's tensors by key.
        detector: the detector that would take them.
        layout: of the sparse weights; "auto" finds it from their shapes, once for all of them.

    Raises:
        CheckpointError: if a value is no tensor, or the layout cannot be told.
        ConfigError: if there is no such layout.
    """
    check_layout(layout)
    _check_tensors(state_dict)
    ours_of = openpcdet_names(detector)
    own = {key: tuple(tensor.shape) for key, tensor in detector.state_dict().items()}
    given = without_wrapper(state_dict)
    pairs = {
        key: (tuple(state_dict[key].shape), own[ours_of[name]])
        for name, key in given.items()
        if name in ours_of
    }
    sparse = {key: pair for key, pair in pairs.items() if len(pair[1]) == SPARSE_AXES}
    found = decide_layout(sparse) if layout == "auto" else layout
    used: Layout = found or "spconv2"
    fitting = {key: shape_from_ours(pair[1], used) for key, pair in sparse.items()}
    expected = {key: fitting.get(key, pair[1]) for key, pair in pairs.items()}
    taken = {
        key: ours_of[name]
        for name, key in given.items()
        if key in pairs and pairs[key][0] == expected[key]
    }
    unfilled = [key for name, key in ours_of.items() if name not in given]
    weight_of = biases_before_norms(detector)
    # One option leaves all of them away; a single one that is not there was lost.
    left_away = weight_of.keys() <= set(unfilled) and set(weight_of.values()) <= set(taken.values())
    zeroed = tuple(key for key in unfilled if left_away and key in weight_of)
    return ImportReport(
        taken=taken,
        missing=tuple(key for key in unfilled if key not in zeroed),
        unexpected=tuple(
            key for name, key in given.items() if name not in ours_of and name not in NOT_WEIGHTS
        ),
        mismatched={
            key: (pair[0], expected[key]) for key, pair in pairs.items() if key not in taken
        },
        ignored=tuple(key for name, key in given.items() if name in NOT_WEIGHTS),
        transposed={key: TO_OURS[used] for key in taken if key in sparse and used == "spconv1"},
        zeroed=zeroed,
        layout=found if sparse else None,
    )


def _check_tensors(state_dict: Mapping[str, Tensor]) -> None:
    for key, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"is a {type(value).__name__}, not a tensor.",
                where=str(key),
                hint="Give the weights alone, such as checkpoint['model_state'].",
            )
