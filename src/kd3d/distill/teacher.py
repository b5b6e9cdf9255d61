"""The teacher: where it comes from, and how it runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.export import ExportedProgram

from kd3d.distill.exported import ExportedNetwork
from kd3d.distill.truth_heat import truth_heat
from kd3d.distill.views import Outputs, View, ViewedNetwork
from kd3d.errors import CheckpointError, ConfigError, TeacherError
from kd3d.structures import (
    AnchorMaps,
    AnchorTargets,
    CenterTargets,
    ClassMaps,
    Detections,
    HeadMaps,
)

__all__ = ["Teacher", "TeacherMode", "check_mode", "detector_of", "load_teacher", "running_as"]

TeacherMode = Literal["eval", "batch_stats", "train"]


def detector_of(module: nn.Module) -> nn.Module:
    """Give a LightningModule's ``detector``, or the module itself if it is one or has none."""
    inner = getattr(module, "detector", None)
    is_detector = hasattr(module, "decode") and hasattr(module, "assign_targets")
    # by name, because there are two packages with a class of this name
    is_lightning = any(kind.__name__ == "LightningModule" for kind in type(module).__mro__)
    return inner if is_lightning and isinstance(inner, nn.Module) and not is_detector else module


def load_teacher(source: object) -> nn.Module:
    """Get the teacher's network.

    Args:
        source: a detector or any other module; a LightningModule with a detector as its
            ``detector``; a `torch.export.ExportedProgram`; or the path of a kd3d checkpoint (a
            Lightning checkpoint, or a file of `kd3d.detectors.save_detector`).

    Raises:
        CheckpointError: if the file is missing, unreadable, unsafe or of another network.
        ConfigError: if the source is none of these.
        TeacherError: if an exported program was exported in training mode.
    """
    if isinstance(source, nn.Module):
        return detector_of(source)
    if isinstance(source, str | Path):
        return _load_file(Path(source))
    if isinstance(source, ExportedProgram):
        return ExportedNetwork(source)
    raise ConfigError(
        f"a {type(source).__name__} is no teacher.",
        where="teacher",
        hint="Pass a module, an exported program, or the path of a kd3d checkpoint. For a file of "
        "predictions use LabelKD(predictions=...).",
    )


def _load_file(path: Path) -> nn.Module:
    if not path.is_file():
        raise CheckpointError(
            "there is no such teacher checkpoint.",
            where=str(path),
            hint="Train a teacher first, or give the path of its checkpoint.",
        )
    if path.suffix == ".pt2":
        raise CheckpointError(
            "reading an exported program may run code of the file, so kd3d does not do it.",
            where=str(path),
            hint="If you trust the file, pass teacher=torch.export.load(path).",
        )
    from kd3d.detectors import Detector

    try:
        with isolate_rng():  # building a network draws initial weights
            return Detector.from_checkpoint(path)
    except CheckpointError as error:
        own = "A teacher of your own: load it yourself and pass the module."
        raise CheckpointError(
            error.what, where=error.where, hint=f"{error.hint} {own}" if error.hint else own
        ) from error


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

    Scores of teachers can be written against it: it is called on a batch in evaluation mode, and
    `predict` gives boxes.

    Args:
        network: the detector; its parameters are frozen.
        mode: how its norms and dropout behave while it teaches.
        view: how to run and read it, if it does not return `HeadMaps`.
        taps: further module paths that objectives want to see.

    Raises:
        ConfigError: if the mode is unknown or the classes are not known.
        TapError: if a tapped path does not exist.
        TeacherError: if an exported program is to run in another mode than "eval".
    """

    def __init__(
        self,
        network: nn.Module,
        mode: TeacherMode = "eval",
        view: View | None = None,
        taps: Sequence[str] = (),
    ) -> None:
        check_mode(mode)
        if mode != "eval" and isinstance(network, ExportedNetwork):
            raise TeacherError(
                f"an exported program runs as it was exported, not in {mode!r}.",
                where="teacher_mode",
                hint="Use teacher_mode='eval', or pass the network itself.",
            )
        self.network = network.requires_grad_(False).eval()
        self.mode: TeacherMode = mode
        self.viewed = ViewedNetwork(network, view, "teacher", taps)
        self.classes = self.viewed.classes
        self.viewed.taps.attach()

    def __call__(self, batch: Any) -> HeadMaps | AnchorMaps | ClassMaps:  # noqa: ANN401 - any batch
        """Predict maps in evaluation mode."""
        return self._run(batch, "eval").maps

    def teach(self, batch: Any) -> Outputs:  # noqa: ANN401 - any batch
        """Run on a training batch, in the mode chosen for teaching."""
        return self._run(batch, self.mode)

    def predict(self, batch: Any) -> list[Detections]:  # noqa: ANN401 - any batch
        """Find boxes in evaluation mode, as the network itself suppresses overlaps.

        Raises:
            TeacherError: if it does not decode.
        """
        return self.boxes_of(self._run(batch, "eval"), nms=True)

    # no_grad, not inference_mode: autograd refuses to save inference tensors
    @torch.no_grad()
    def _run(self, batch: Any, mode: TeacherMode) -> Outputs:  # noqa: ANN401
        self.viewed.taps.listen()
        with running_as(self.network, mode):
            try:
                self.viewed.run(batch)
            except (TypeError, NotImplementedError, AttributeError, KeyError, IndexError) as error:
                raise TeacherError(
                    f"cannot be run on a batch ({type(batch).__name__}): "
                    f"{type(error).__name__}: {error}",
                    where=f"the teacher ({type(self.network).__name__})",
                    hint="Say how it is called: teacher_view=View(call=lambda network, batch: ...)."
                    " A LightningModule without forward() is no network; pass the one inside it.",
                ) from error
        return self.viewed.read()

    @property
    def decodes(self) -> bool:
        """Whether the network, or its view, turns outputs into boxes."""
        return self.viewed.view.decode is not None or self._offers("decode")

    @torch.no_grad()
    def assign_targets(self, boxes: Tensor, labels: Tensor) -> CenterTargets | AnchorTargets:
        """Draw targets on the teacher's grid, or assign them to its anchors.

        Raises:
            TeacherError: if the network does not.
        """
        if not self._offers("assign_targets"):
            raise self._lacks("assign_targets", "Draw heat with `heat_of` instead.")
        targets: CenterTargets | AnchorTargets = self.network.assign_targets(boxes, labels)  # type: ignore[operator]
        return targets

    @torch.no_grad()
    def heat_of(self, boxes: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        """Draw the ground truth's heat on the grid of the teacher's outputs.

        As the network's own targets, or, if it draws none, as `truth_heat`.

        Args:
            boxes: ``[B, M, 7 or more]``, metres and radians.
            labels: ``[B, M]`` int64 class ids, -1 in empty slots.
            outputs: what the teacher gave.

        Returns:
            ``[B, C, H, W]`` float32 in [0, 1].
        """
        if self._offers("assign_targets") and not isinstance(outputs.maps, AnchorMaps):
            targets = self.assign_targets(boxes, labels)
            if isinstance(targets, CenterTargets):
                return targets.heatmap
        return truth_heat(boxes, labels, outputs.maps.grid, len(self.classes))

    @torch.no_grad()
    def decode(self, maps: HeadMaps | AnchorMaps, *, nms: bool = True) -> list[Detections]:
        """Turn the teacher's maps into boxes.

        Raises:
            TeacherError: if the network does not decode.
        """
        if not self._offers("decode"):
            raise self._lacks("decode", "Pass teacher_view=View(decode=...).")
        boxes: list[Detections] = self.network.decode(maps, nms=nms)  # type: ignore[operator]
        return boxes

    @torch.no_grad()
    def boxes_of(self, outputs: Outputs, *, nms: bool = False) -> list[Detections]:
        """Turn what the teacher gave into boxes, by its view if that decodes.

        Boxes that do not count may be there with label -1: a network with a method
        ``candidates(maps)`` is asked by that when overlaps need not be suppressed, so that its
        number of boxes is fixed and no step waits for the device.

        Args:
            outputs: what `teach` gave.
            nms: let the network's ``decode`` suppress overlaps; a view decodes as it likes.

        Raises:
            TeacherError: if neither view nor network decodes.
            ConfigError: if the network decodes `HeadMaps`, but its view gives `ClassMaps`.
        """
        if self.viewed.view.decode is not None:
            return list(self.viewed.view.decode(self.network, outputs.taps))
        if not nms and self._offers("candidates"):
            boxes: list[Detections] = self.network.candidates(outputs.decodable)  # type: ignore[operator]
            return boxes
        return self.decode(outputs.decodable, nms=nms)

    def _offers(self, method: str) -> bool:
        return callable(getattr(self.network, method, None))

    def _lacks(self, method: str, hint: str) -> TeacherError:
        return TeacherError(
            f"the teacher ({type(self.network).__name__}) has no method {method}().",
            where="teacher",
            hint=hint,
        )


def check_mode(mode: str) -> None:
    """Raise `ConfigError` unless `mode` is a `TeacherMode`."""
    if mode not in get_args(TeacherMode):
        raise ConfigError(
            f"{mode!r} is not one of {list(get_args(TeacherMode))}.", where="teacher_mode"
        )
