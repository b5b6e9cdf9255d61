"""The teacher: where it comes from, and how it runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from kd3d.distill.views import Outputs, View, ViewedNetwork
from kd3d.errors import CheckpointError, ConfigError
from kd3d.structures import CenterTargets, Detections, HeadMaps

__all__ = ["Teacher", "TeacherMode", "check_mode", "detector_of", "load_teacher", "running_as"]

TeacherMode = Literal["eval", "batch_stats", "train"]


def detector_of(module: nn.Module) -> nn.Module:
    """Give a LightningModule's ``detector``, or the module itself if it is one or has none."""
    inner = getattr(module, "detector", None)
    is_detector = hasattr(module, "decode") and hasattr(module, "assign_targets")
    return inner if isinstance(inner, nn.Module) and not is_detector else module


def load_teacher(source: nn.Module | str | Path) -> nn.Module:
    """Get the teacher's network.

    Args:
        source: a detector; a LightningModule with a detector as its ``detector``; or the path of a
            kd3d checkpoint (a Lightning checkpoint, or a file of `kd3d.detectors.save_detector`).

    Raises:
        CheckpointError: if the file is missing, unreadable, unsafe or of another network.
    """
    if isinstance(source, nn.Module):
        return detector_of(source)
    path = Path(source)
    if not path.is_file():
        raise CheckpointError(
            "there is no such teacher checkpoint.",
            where=str(path),
            hint="Train a teacher first, or give the path of its checkpoint.",
        )
    from kd3d.detectors import Detector

    with isolate_rng():  # building a network draws initial weights
        return Detector.from_checkpoint(path)


@contextmanager
def running_as(network: nn.Module, mode: TeacherMode) -> Iterator[None]:
    """Put a network into a teacher mode, and back into evaluation mode afterwards.

    ``batch_stats`` normalises with the statistics of the batch and leaves every running buffer
    alone; nothing but norms differs from ``eval``. ``train`` is the plain training mode: dropout is
    active and running statistics drift.
    """
    network.train(mode == "train")
    norms = [
        (module, module.running_mean, module.running_var)
        for module in network.modules()
        if mode == "batch_stats" and isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    for norm, _, _ in norms:  # a norm without running statistics takes the batch's
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, mean, variance in norms:
            norm.running_mean, norm.running_var = mean, variance
        network.eval()


class Teacher:
    """A frozen network that runs without gradients.

    It offers what `CenterDetector` does, so scores of teachers can be written against it.

    Args:
        network: the detector; its parameters are frozen.
        mode: how its norms and dropout behave while it teaches.
        view: how to read it, if it does not return `HeadMaps`.
        taps: further module paths that objectives want to see.

    Raises:
        ConfigError: if the mode is unknown or the classes are not known.
        TapError: if a tapped path does not exist.
    """

    def __init__(
        self,
        network: nn.Module,
        mode: TeacherMode = "eval",
        view: View | None = None,
        taps: Sequence[str] = (),
    ) -> None:
        check_mode(mode)
        self.network = network.requires_grad_(False).eval()
        self.mode: TeacherMode = mode
        self.viewed = ViewedNetwork(network, view, "teacher", taps)
        self.classes = self.viewed.classes
        self.viewed.taps.attach()

    def __call__(self, batch: Any) -> HeadMaps:  # noqa: ANN401 - any batch
        """Predict head maps in evaluation mode."""
        return self._run(batch, "eval").maps

    def teach(self, batch: Any) -> Outputs:  # noqa: ANN401 - any batch
        """Run on a training batch, in the mode chosen for teaching."""
        return self._run(batch, self.mode)

    # no_grad, not inference_mode: autograd refuses to save inference tensors
    @torch.no_grad()
    def _run(self, batch: Any, mode: TeacherMode) -> Outputs:  # noqa: ANN401
        self.viewed.taps.listen()
        with running_as(self.network, mode):
            self.network(batch)
        return self.viewed.read()

    @torch.no_grad()
    def assign_targets(self, boxes: Tensor, labels: Tensor) -> CenterTargets:
        """Draw targets on the teacher's grid."""
        targets: CenterTargets = self.network.assign_targets(boxes, labels)  # type: ignore[operator]
        return targets

    @torch.no_grad()
    def decode(self, maps: HeadMaps, *, nms: bool = True) -> list[Detections]:
        """Turn the teacher's maps into boxes."""
        boxes: list[Detections] = self.network.decode(maps, nms=nms)  # type: ignore[operator]
        return boxes


def check_mode(mode: str) -> None:
    """Raise `ConfigError` unless `mode` is a `TeacherMode`."""
    if mode not in get_args(TeacherMode):
        raise ConfigError(
            f"{mode!r} is not one of {list(get_args(TeacherMode))}.", where="teacher_mode"
        )
