"""Which of our detectors a checkpoint is of."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd3d.detectors import create_detector, list_detectors
from kd3d.errors import Kd3dError
from kd3d.interop.compare import compare_openpcdet
from kd3d.interop.layouts import Layout
from kd3d.interop.names import without_wrapper
from kd3d.interop.report import ImportReport

__all__ = ["describe_nearest"]

HEATMAP_BIAS = re.compile(r"dense_head\.heads_list\.0\.hm\.\d+\.bias")
PILLAR_INPUT = "vfe.pfn_layers.0.linear.weight"
VOXEL_INPUT = "backbone_3d.conv_input.0.weight"
KERNEL = (3, 3, 3)
OFFSETS = 6
"""Inputs of a pillar network beside the point's own features: offsets to mean and centre."""


def describe_nearest(state_dict: Mapping[str, Tensor], layout: Layout | None) -> str:
    """Say in one sentence which detectors of `list_detectors` the tensors fit, or nearly fit.

    Each is tried at its own widths, with the classes and point features that the tensors have.

    Args:
        state_dict: OpenPCDet's tensors by key.
        layout: of the sparse weights, None if it is not known.
    """
    arguments = _read_arguments(state_dict, layout)
    reports: dict[str, ImportReport] = {}
    for name in list_detectors():
        try:
            with torch.device("meta"):  # shapes alone
                detector = create_detector(name, **arguments)
            reports[name] = compare_openpcdet(state_dict, detector, layout=layout or "auto")
        except Kd3dError:
            continue
    fitting = [name for name, report in reports.items() if report.complete]
    if fitting:
        return f"The weights fit {' or '.join(fitting)}{_in_words(arguments)}."
    nearest = min(reports, key=lambda name: reports[name].num_problems, default=None)
    if nearest is None or not reports[nearest].taken:
        return "They fit none of kd3d's detectors."
    taken = len(reports[nearest].taken)
    total = taken + len(reports[nearest].missing) + len(reports[nearest].mismatched)
    return (
        f"The nearest of kd3d's detectors is {nearest}{_in_words(arguments)}: "
        f"{taken} of its {total} tensors fit."
    )


def _read_arguments(state_dict: Mapping[str, Tensor], layout: Layout | None) -> dict[str, Any]:
    """Read from the shapes how many classes and point features the network has."""
    shapes = {
        name: tuple(state_dict[key].shape) for name, key in without_wrapper(state_dict).items()
    }
    found: dict[str, Any] = {}
    for name, shape in shapes.items():
        if HEATMAP_BIAS.fullmatch(name) and len(shape) == 1:
            found["classes"] = [f"class {k}" for k in range(shape[0])]  # the last one is the map's
    pillar, voxel = shapes.get(PILLAR_INPUT, ()), shapes.get(VOXEL_INPUT, ())
    if len(pillar) == 2:
        found["point_features"] = pillar[1] - OFFSETS
    elif len(voxel) == 5:
        first = voxel[:3] == KERNEL and layout != "spconv2"  # no network of ours starts with 3
        found["point_features"] = voxel[3 if first else 4]
    return found


def _in_words(arguments: Mapping[str, Any]) -> str:
    parts = []
    if "classes" in arguments:
        count = len(arguments["classes"])
        parts.append(f"{count} {'class' if count == 1 else 'classes'}")
    if "point_features" in arguments:
        parts.append(f"point_features={arguments['point_features']}")
    return f" with {' and '.join(parts)}" if parts else ""
