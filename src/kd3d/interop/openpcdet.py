"""Weights of OpenPCDet and its forks, in and out."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from kd3d.detectors import Detector
from kd3d.errors import CheckpointError
from kd3d.interop.compare import SPARSE_AXES, compare_openpcdet
from kd3d.interop.layouts import Layout, check_layout, from_ours, to_ours
from kd3d.interop.names import openpcdet_names
from kd3d.interop.nearest import describe_nearest
from kd3d.interop.report import ImportReport

__all__ = ["export_openpcdet", "import_openpcdet"]

SHOWN_PROBLEMS = 6


def import_openpcdet(
    state_dict: Mapping[str, Tensor],
    detector: Detector,
    *,
    strict: bool = True,
    layout: Literal["auto"] | Layout = "auto",
) -> ImportReport:
    """Copy the weights of an OpenPCDet detector into the same detector of ours.

    Names differ in the head alone; the weights of sparse convolutions also in the order of their
    axes if spconv 1.x wrote them. Biases before a norm that recent OpenPCDet leaves away become
    zero, which is the same function.

    Args:
        state_dict: OpenPCDet's tensors by key (``checkpoint["model_state"]``), with or without the
            ``module.`` of a data-parallel wrapper.
        detector: the detector that takes them, in place.
        strict: refuse, and change nothing, unless every tensor of either side finds its place.
        layout: of the sparse weights: "spconv1" (kz, ky, kx, in, out), "spconv2"
            (out, kz, ky, kx, in), or "auto", which finds it from their shapes, once for all.

    Raises:
        CheckpointError: if no tensor fits; if `strict` and some tensor does not; if the layout
            cannot be told. The message holds the report and the detectors that would fit.
        ConfigError: if there is no such layout.
    """
    report = compare_openpcdet(state_dict, detector, layout=layout)
    if not report.taken or (strict and not report.complete):
        raise _refusal(state_dict, detector, report)
    own = detector.state_dict()
    with torch.no_grad():
        for key, name in report.taken.items():
            transposed = key in report.transposed
            given = state_dict[key]
            own[name].copy_(to_ours(given, "spconv1") if transposed else given)
        for name in report.zeroed:
            own[name].zero_()
    return report


def export_openpcdet(detector: Detector, *, layout: Layout = "spconv2") -> dict[str, Tensor]:
    """Give the detector's weights under OpenPCDet's names, in OpenPCDet's order.

    Args:
        detector: the detector; its tensors are copied.
        layout: of the sparse weights, "spconv2" for spconv 2.x or "spconv1".

    Returns:
        what OpenPCDet's ``model.load_state_dict`` takes, its step counter ``global_step`` at zero
        included; on the detector's device.

    Raises:
        CheckpointError: if two tensors would share a name.
        ConfigError: if there is no such layout.
    """
    check_layout(layout, automatic=False)
    own = detector.state_dict()
    exported = {"global_step": torch.zeros(1, dtype=torch.int64)}
    for theirs, ours in openpcdet_names(detector).items():
        tensor = own[ours].detach()
        tensor = from_ours(tensor, layout) if tensor.ndim == SPARSE_AXES else tensor
        exported[theirs] = tensor.clone(memory_format=torch.contiguous_format)
    return exported


def _refusal(
    state_dict: Mapping[str, Tensor], detector: Detector, report: ImportReport
) -> CheckpointError:
    problems = "\n".join(report.problems(SHOWN_PROBLEMS))
    return CheckpointError(
        f"the weights are not those of {detector.name} as it was created: "
        f"{len(report.taken)} of its {len(detector.state_dict())} tensors fit.\n{problems}\n",
        where="state_dict",
        hint=f"{describe_nearest(state_dict, report.layout)} Create the detector with the "
        "checkpoint's classes, point features, widths and depths; strict=False takes what fits.",
    )
