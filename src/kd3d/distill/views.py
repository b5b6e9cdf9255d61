"""How objectives see a network, be it kd3d's own or a foreign one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from kd3d.distill.taps import Taps
from kd3d.errors import ConfigError
from kd3d.structures import HeadMaps

__all__ = ["Outputs", "View", "ViewedNetwork"]


def read_output(network: nn.Module, captured: Mapping[str, Any]) -> HeadMaps:
    """Take what the network itself returned (kd3d's detectors return `HeadMaps`)."""
    maps: HeadMaps = captured[""]
    return maps


@dataclass(frozen=True, slots=True)
class View:
    """A way to read `HeadMaps` out of a network that does not return them.

    Args:
        read: function of the network and the captured outputs by path; returns `HeadMaps` with
            heatmap *logits*.
        taps: dotted paths, relative to the network, of the modules whose outputs `read` needs.
        classes: class names in the order of the heatmap's channels; the network's ``classes``
            attribute by default.

    Example:
        >>> from kd3d.geometry import BEVGrid
        >>> grid = BEVGrid(-40.0, -40.0, 0.8, 0.8, 100, 100)
        >>> def read(network, captured):
        ...     hm, box = captured["head.hm"], captured["head.box"]
        ...     return HeadMaps(hm, box[:, :2], box[:, 2:3], box[:, 3:6], box[:, 6:8], grid)
        >>> view = View(read, taps=("head.hm", "head.box"), classes=("Car", "Pedestrian"))
    """

    read: Callable[[nn.Module, Mapping[str, Any]], HeadMaps] = read_output
    taps: Sequence[str] = ("",)
    classes: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one network gave in one step.

    Args:
        maps: its head maps.
        taps: further captured outputs, by dotted path, that the objectives asked for.
    """

    maps: HeadMaps
    taps: Mapping[str, Any]


class ViewedNetwork:
    """A network, its view, and the taps between them.

    Args:
        network: the detector (for a student: inside the LightningModule).
        view: how to read it; by default it returns `HeadMaps` itself.
        owner: "student" or "teacher", for errors.
        taps: further paths that objectives want to see.

    Raises:
        TapError: if a tapped path does not exist.
        ConfigError: if neither view nor network tells the classes.
    """

    def __init__(
        self, network: nn.Module, view: View | None, owner: str, taps: Sequence[str] = ()
    ) -> None:
        self.network = network
        self.view = view or View()
        self.classes = _classes_of(network, self.view, owner)
        self.taps = Taps(network, dict.fromkeys((*self.view.taps, *taps)), owner)
        self._owner = owner

    def read(self) -> Outputs:
        """Read what was captured since ``taps.listen()``.

        Raises:
            TapError: if a tapped module did not run.
            ConfigError: if the view does not give `HeadMaps`.
        """
        captured = self.taps.collect()
        maps = self.view.read(self.network, captured)
        if not isinstance(maps, HeadMaps):
            raise ConfigError(
                f"the {self._owner} gives {type(maps).__name__}, not HeadMaps.",
                where=type(self.network).__name__,
                hint=f"Say how to read it: {self._owner}_view=View(read=..., taps=...).",
            )
        return Outputs(maps, captured)


def _classes_of(network: nn.Module, view: View, owner: str) -> tuple[str, ...]:
    classes = view.classes if view.classes is not None else getattr(network, "classes", None)
    if classes is None:
        raise ConfigError(
            f"the {owner} does not tell its classes.",
            where=type(network).__name__,
            hint=f"Give it an attribute 'classes', or pass {owner}_view=View(classes=...).",
        )
    return tuple(classes)
