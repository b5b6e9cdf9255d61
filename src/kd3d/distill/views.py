"""How objectives see a network, be it kd3d's own or a foreign one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from kd3d.distill.captured import untouched
from kd3d.distill.exported import ExportedNetwork
from kd3d.distill.taps import Taps
from kd3d.errors import ConfigError, TapError
from kd3d.structures import AnchorMaps, ClassMaps, Detections, HeadMaps

__all__ = ["Outputs", "View", "ViewedNetwork"]


Maps = HeadMaps | AnchorMaps | ClassMaps


def read_output(network: nn.Module, captured: Mapping[str, Any]) -> Maps:
    """Take what the network itself returned (kd3d's detectors: `HeadMaps` or `AnchorMaps`)."""
    maps: Maps = captured[""]
    return maps


@dataclass(frozen=True, slots=True)
class View:
    """A way to read the maps of a network that does not return `HeadMaps`.

    Args:
        read: function of the network and the captured outputs by path; returns `HeadMaps` with
            heatmap *logits*, or, if the head's boxes are no maps or nobody needs them, `ClassMaps`.
        taps: dotted paths, relative to the network, of the modules whose outputs `read` needs; ""
            is what the network itself returns.
        classes: class names in the order of the heatmap's channels; the network's ``classes``
            attribute by default.
        call: function of the network and the batch that runs a foreign *teacher*;
            ``network(batch)`` by default. (A student is run by its own training step.)
        decode: function of the network and the captured outputs by path; gives the *teacher's*
            boxes as one `Detections` per frame, in falling order of score, best without suppression
            of overlaps. The network's ``decode`` by default.

    Example:
        >>> from kd3d.geometry import BEVGrid
        >>> grid = BEVGrid(-40.0, -40.0, 0.8, 0.8, 100, 100)
        >>> def read(network, captured):
        ...     hm, box = captured["head.hm"], captured["head.box"]
        ...     return HeadMaps(hm, box[:, :2], box[:, 2:3], box[:, 3:6], box[:, 6:8], grid)
        >>> view = View(read, taps=("head.hm", "head.box"), classes=("Car", "Pedestrian"))
        >>> def read_scores(network, captured):  # softmax over background and classes
        ...     scores = captured["head.cls"].softmax(dim=1)
        ...     return ClassMaps.from_probabilities(scores[:, 1:], grid)
        >>> view = View(read_scores, taps=("head.cls",), classes=("Car", "Pedestrian"))
    """

    read: Callable[[nn.Module, Mapping[str, Any]], Maps] = read_output
    taps: Sequence[str] = ("",)
    classes: Sequence[str] | None = None
    call: Callable[[nn.Module, Any], object] | None = None
    decode: Callable[[nn.Module, Mapping[str, Any]], Sequence[Detections]] | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one network gave in one step.

    Args:
        maps: maps of a center head or of an anchor head, or class maps alone.
        taps: captured outputs, by dotted path: those of the view and of the objectives.
        owner: "student" or "teacher", for messages.
    """

    maps: Maps
    taps: Mapping[str, Any]
    owner: str = "network"

    @property
    def box_maps(self) -> HeadMaps:
        """The maps of an objective that compares the boxes of center heads.

        Raises:
            ConfigError: if there are others.
        """
        if isinstance(self.maps, AnchorMaps):
            raise ConfigError(
                f"the {self.owner} has an anchor head, whose boxes are no maps of centres.",
                where=self.owner,
                hint="Between anchor heads use AnchorRegressionKD; across heads use LabelKD.",
            )
        if isinstance(self.maps, ClassMaps):
            raise self._no_boxes()
        return self.maps

    @property
    def anchor_maps(self) -> AnchorMaps:
        """The maps of an objective that compares anchors.

        Raises:
            ConfigError: if there are others.
        """
        if not isinstance(self.maps, AnchorMaps):
            raise ConfigError(
                f"the {self.owner} has no anchor head, but gives {type(self.maps).__name__}.",
                where=self.owner,
                hint="Across heads use LabelKD, or PivotalLogitKD on the heatmaps.",
            )
        return self.maps

    @property
    def decodable(self) -> HeadMaps | AnchorMaps:
        """The maps that a network's own ``decode`` takes.

        Raises:
            ConfigError: if the network's view gives class maps only.
        """
        if isinstance(self.maps, ClassMaps):
            raise self._no_boxes()
        return self.maps

    def _no_boxes(self) -> ConfigError:
        return ConfigError(
            "the view gives ClassMaps, which say nothing about boxes.",
            where=f"{self.owner}_view",
            hint="Let it return HeadMaps, or drop the objectives that compare boxes.",
        )


class ViewedNetwork:
    """A network, its view, and the taps between them.

    Args:
        network: the detector (for a student: inside the LightningModule).
        view: how to read it; by default it returns `HeadMaps` itself.
        owner: "student" or "teacher", for errors.
        taps: further paths that objectives want to see.

    Raises:
        TapError: if a tapped path does not exist, or lies inside an exported program.
        ConfigError: if neither view nor network tells the classes.
    """

    def __init__(
        self, network: nn.Module, view: View | None, owner: str, taps: Sequence[str] = ()
    ) -> None:
        self.network = network
        self.view = view or View()
        self.classes = _classes_of(network, self.view, owner)
        paths = tuple(dict.fromkeys((*self.view.taps, *taps)))
        if isinstance(network, ExportedNetwork):
            _check_outside(paths, owner)
        self.taps = Taps(network, paths, owner)
        self._owner = owner

    def run(self, batch: Any) -> None:  # noqa: ANN401 - any batch
        """Run the network on a batch; what the taps capture is there for `read`."""
        if self.view.call is None:
            self.network(batch)
        else:
            self.view.call(self.network, batch)

    def read(self) -> Outputs:
        """Read what was captured since ``taps.listen()``.

        Raises:
            TapError: if a tapped module did not run.
            ConfigError: if the view gives no maps, or a heatmap of another shape than classes and
                grid say.
        """
        captured = self.taps.collect()
        hint = "Let it compute on copies: y = f(x), not f_(x) or out=x."
        with untouched(f"{self._owner}_view.read", captured, hint):
            maps = self.view.read(self.network, captured)
        if not isinstance(maps, Maps):
            raise ConfigError(
                f"the {self._owner} gives {type(maps).__name__}, not HeadMaps.",
                where=type(self.network).__name__,
                hint=f"Say how to read it: {self._owner}_view=View(read=..., taps=...).",
            )
        expected = (len(self.classes), *maps.grid.shape)
        if maps.heatmap.ndim != 4 or maps.heatmap.shape[1:] != expected:
            raise ConfigError(
                f"the heatmap is {list(maps.heatmap.shape)}, but {len(self.classes)} classes on a "
                f"grid of {maps.grid.height} rows and {maps.grid.width} columns make "
                f"[B, {', '.join(map(str, expected))}].",
                where=f"the {self._owner} ({type(self.network).__name__})",
                hint=f"Correct the classes, or what {self._owner}_view=View(read=...) returns.",
            )
        return Outputs(maps, captured, self._owner)


def _check_outside(paths: Sequence[str], owner: str) -> None:
    for path in paths:
        if path:
            raise TapError(
                f"the {owner} is an exported program, which has no modules inside to tap.",
                where=path,
                hint="Export it with this tensor among its outputs, and read those: taps=('',).",
            )


def _classes_of(network: nn.Module, view: View, owner: str) -> tuple[str, ...]:
    classes = view.classes if view.classes is not None else getattr(network, "classes", None)
    if classes is None:
        raise ConfigError(
            f"the {owner} does not tell its classes.",
            where=type(network).__name__,
            hint=f"Give it an attribute 'classes', or pass {owner}_view=View(classes=...).",
        )
    return tuple(classes)
