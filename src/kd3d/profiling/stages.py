"""One pass of a network, its stages marked."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from kd3d.detectors import BEVDetector, Detector
from kd3d.detectors.decode import suppress
from kd3d.profiling.latency import TOTAL, Mark
from kd3d.structures import PointBatch

__all__ = ["STAGES", "Call", "make_pass"]

#: How a network is run on a batch.
Call = Callable[[Any, Any], object]

#: The stages of kd3d's detectors. "encode" makes the input of the first backbone; "backbone" is
#: that of the voxels and that of the map; "decode" is maps to boxes, before suppression.
STAGES = ("voxelise", "encode", "backbone", "head", "decode", "nms")


def make_pass(model: nn.Module, batch: Any, call: Call | None = None) -> Callable[[Mark], None]:  # noqa: ANN401
    """Give a function that makes one pass and marks its stages.

    A detector of kd3d goes from raw points to boxes, one with a center or an anchor head in
    `STAGES`. Every other model, and every one with a `call` of its own, makes that call in one
    stage.
    """
    if call is None and isinstance(model, BEVDetector):
        return lambda mark: _detect(model, batch, mark)

    def run(mark: Mark) -> None:
        if call is not None:
            call(model, batch)
        elif isinstance(model, Detector):
            model.decode(model(batch))
        else:
            model(batch)
        mark(TOTAL)

    return run


def _detect(detector: BEVDetector, batch: PointBatch, mark: Mark) -> None:
    handles = _mark_parts(detector, mark)
    try:
        maps = detector(batch)
    finally:
        for handle in handles:
            handle.remove()
    mark("head")
    found = detector.decode(maps, nms=False)
    mark("decode")
    for frame in found:
        suppress(frame, detector.nms, detector.nms_threshold)
    mark("nms")


def _mark_parts(detector: BEVDetector, mark: Mark) -> list[RemovableHandle]:
    """Mark the end of a stage where the first part of the next one begins."""
    parts = dict(detector.named_children())
    first_backbone = "backbone_3d" if "backbone_3d" in parts else "backbone_2d"
    ends = {"voxelise": "vfe", "encode": first_backbone, "backbone": "dense_head"}
    return [
        parts[part].register_forward_pre_hook(lambda *_, stage=stage: mark(stage))
        for stage, part in ends.items()
        if part in parts
    ]
