"""Detectors by name."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from inspect import Parameter, isabstract, signature
from typing import Any

from kd3d.detectors.center_point_pillar import CenterPointPillar
from kd3d.detectors.center_point_voxel import CenterPointVoxel
from kd3d.detectors.detector import Detector
from kd3d.detectors.point_pillar import PointPillar
from kd3d.detectors.second import Second
from kd3d.errors import ConfigError

__all__ = ["build_detector", "create_detector", "finds_by_name", "list_detectors"]

#: Entry points by which other packages offer their detectors: ``my_pillar = "module:Class"``.
GROUP = "kd3d.detectors"


def _pillars(half_range: float, cell: float, max_points: int) -> dict[str, Any]:
    return {
        "point_cloud_range": (-half_range, -half_range, -2.0, half_range, half_range, 4.0),
        "cell_size": (cell, cell),
        "max_points": max_points,
    }


def _voxels(backbone_3d: float, backbone_2d: float, head: float) -> dict[str, Any]:
    return {
        "point_cloud_range": (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0),
        "voxel_size": (0.1, 0.1, 0.15),
        "width": {"backbone_3d": backbone_3d, "backbone_2d": backbone_2d, "head": head},
    }


# The networks of SparseKD (Yang et al., NeurIPS 2022), with its ranges, cells and widths; then the
# anchor detectors that it compares with, as OpenPCDet has them.
_DETECTORS: dict[str, tuple[type[Detector], dict[str, Any]]] = {
    "cp_pillar": (CenterPointPillar, _pillars(74.24, 0.32, 20)),
    "cp_pillar_v040": (CenterPointPillar, _pillars(73.6, 0.40, 28)),
    "cp_pillar_v048": (CenterPointPillar, _pillars(74.88, 0.48, 36)),
    "cp_pillar_v064": (CenterPointPillar, _pillars(74.24, 0.64, 50)),
    "cp_voxel": (CenterPointVoxel, _voxels(1.0, 1.0, 1.0)),
    "cp_voxel_s": (CenterPointVoxel, _voxels(1.0, 0.5, 0.5)),
    "cp_voxel_xs": (CenterPointVoxel, _voxels(0.75, 0.5, 0.5)),
    "cp_voxel_xxs": (CenterPointVoxel, _voxels(0.5, 0.25, 0.25)),
    "pointpillar": (PointPillar, _pillars(74.88, 0.32, 20)),
    "second": (Second, {**_voxels(1.0, 1.0, 1.0), "width": {}}),
}


def list_detectors() -> list[str]:
    """Give the names of kd3d's own detectors, sorted."""
    return sorted(_DETECTORS)


def create_detector(name: str, **changes: Any) -> Detector:  # noqa: ANN401 - any argument
    """Build a detector by name, with new weights.

    Args:
        name: one of `list_detectors`, or one that an installed package offers as an entry point
            ``name = "module:Class"`` in the group ``kd3d.detectors``.
        changes: arguments of its class that differ, such as ``point_cloud_range``, ``cell_size`` or
            ``voxel_size``, ``classes``, ``width`` or ``depth``; see `CenterPointPillar`,
            `CenterPointVoxel`, `PointPillar` and `Second`. Parts that ``width`` leaves out keep
            the width they have by name.

    Raises:
        ConfigError: if there is no such detector or argument, or a value cannot work.
    """
    if name not in _DETECTORS:
        return build_detector(_installed(name), name, changes)
    made_by, named = _DETECTORS[name]
    width = {**named.get("width", {}), **(changes.get("width") or {})}
    return build_detector(made_by, name, {**named, **changes, "width": width})


def build_detector(
    made_by: Callable[..., Detector], name: str, arguments: dict[str, Any]
) -> Detector:
    """Build a detector of a class; its constructor is told the name if it takes one.

    Raises:
        ConfigError: if the class has no such argument, or a value cannot work.
    """
    parameters = signature(made_by).parameters
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    known = [parameter for parameter in parameters if parameter != "name"]
    for argument in () if takes_any else arguments:
        if argument not in known:
            raise ConfigError(
                f"{name} has no argument {argument!r}.", where=name, hint=_nearest(argument, known)
            )
    called = {"name": name} if "name" in parameters else {}
    return made_by(**arguments, **called)


def finds_by_name(kind: type[Detector]) -> bool:
    """Tell whether files of a class are to be read by the name that they hold.

    So it is for kd3d's classes and for those that cannot be built; a class of anybody else builds
    itself.
    """
    return isabstract(kind) or any(kind is made_by for made_by, _ in _DETECTORS.values())


def _installed(name: str) -> type[Detector]:
    """Find the class that an installed package offers under a name."""
    offered = entry_points(group=GROUP)
    if name not in offered.names:
        raise ConfigError(
            f"no detector {name!r}.",
            where="name",
            hint=f"{_nearest(name, [*list_detectors(), *sorted(offered.names)])} A class of your "
            f"own has a name once its installed package declares the entry point {name!r} in the "
            f"group {GROUP!r}; without, its from_checkpoint() reads its files.",
        )
    made_by = offered[name].load()
    if not (isinstance(made_by, type) and issubclass(made_by, Detector)):
        raise ConfigError(
            f"{offered[name].value} is no subclass of kd3d.Detector.",
            where=f"entry point {name!r} in the group {GROUP!r}",
        )
    return made_by


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.4) or known
    return f"Did you mean {' or '.join(close)}?"
