"""The names of one network's tensors, ours and OpenPCDet's."""

from collections.abc import Iterable
from itertools import pairwise

from torch import nn

from kd3d.detectors import Detector
from kd3d.errors import CheckpointError

__all__ = ["NOT_WEIGHTS", "biases_before_norms", "openpcdet_names", "without_wrapper"]

NOT_WEIGHTS = ("global_step",)
"""Keys of OpenPCDet's state dict that belong to the training, not to the network."""

WRAPPER = "module."
OUR_BRANCHES = "dense_head.branches."
THEIR_BRANCHES = "dense_head.heads_list.0."


def openpcdet_names(detector: Detector) -> dict[str, str]:
    """Give OpenPCDet's name of every tensor -> our name, in the order of both state dicts.

    Raises:
        CheckpointError: if two of our tensors would share a name there.
    """
    own = list(detector.state_dict())
    names = {_openpcdet_name(key): key for key in own}
    if len(names) < len(own):
        raise CheckpointError(
            "the head has a branch called 'hm', which is OpenPCDet's name of the heatmap.",
            where="extra_branches",
            hint="Call the branch something else.",
        )
    return names


def _openpcdet_name(key: str) -> str:
    if not key.startswith(OUR_BRANCHES):
        return key
    branch, rest = key.removeprefix(OUR_BRANCHES).split(".", 1)
    return f"{THEIR_BRANCHES}{'hm' if branch == 'heatmap' else branch}.{rest}"


def without_wrapper(keys: Iterable[str]) -> dict[str, str]:
    """Give every key without the ``module.`` of a (distributed) data-parallel wrapper -> the key.

    Keys stay as they are unless all of them have it.
    """
    keys = list(keys)
    wrapped = all(key.startswith(WRAPPER) for key in keys)
    return {key.removeprefix(WRAPPER) if wrapped else key: key for key in keys}


def biases_before_norms(detector: Detector) -> dict[str, str]:
    """Find the head's biases that a batch norm takes out again: bias -> the weight it goes with.

    Recent OpenPCDet leaves them away (``USE_BIAS_BEFORE_NORM``), which is the same function as a
    bias of zero.
    """
    return {
        f"{path}.{name}.bias": f"{path}.{name}.weight"
        for path, module in detector.named_modules()
        if isinstance(module, nn.Sequential)
        for (name, layer), (_, following) in pairwise(module.named_children())
        if isinstance(layer, nn.Conv2d)
        and layer.bias is not None
        and isinstance(following, nn.BatchNorm2d)
    }
