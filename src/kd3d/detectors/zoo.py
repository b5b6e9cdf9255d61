"""Detectors by name."""

from difflib import get_close_matches
from inspect import signature
from typing import Any

from kd3d.detectors.center_point_pillar import CenterPointPillar
from kd3d.detectors.detector import Detector
from kd3d.errors import ConfigError

__all__ = ["create_detector", "list_detectors"]


def _pillars(half_range: float, cell: float, max_points: int) -> dict[str, Any]:
    return {
        "point_cloud_range": (-half_range, -half_range, -2.0, half_range, half_range, 4.0),
        "cell_size": (cell, cell),
        "max_points": max_points,
    }


# The pillar networks of SparseKD (Yang et al., NeurIPS 2022), with its ranges and cells.
_PILLARS = {
    "cp_pillar": _pillars(74.24, 0.32, 20),
    "cp_pillar_v040": _pillars(73.6, 0.40, 28),
    "cp_pillar_v048": _pillars(74.88, 0.48, 36),
    "cp_pillar_v064": _pillars(74.24, 0.64, 50),
}


def list_detectors() -> list[str]:
    """Give the names that `create_detector` knows, sorted."""
    return sorted(_PILLARS)


def create_detector(name: str, **changes: Any) -> Detector:  # noqa: ANN401 - any argument
    """Build a detector of the paper by name, with new weights.

    Args:
        name: one of `list_detectors`.
        changes: arguments of its class that differ, such as ``point_cloud_range``, ``cell_size``,
            ``classes``, ``width`` or ``depth``; see `CenterPointPillar`.

    Raises:
        ConfigError: if there is no such detector or argument, or a value cannot work.
    """
    if name not in _PILLARS:
        raise ConfigError(
            f"no detector {name!r}.", where="name", hint=_nearest(name, list_detectors())
        )
    known = [
        parameter for parameter in signature(CenterPointPillar).parameters if parameter != "name"
    ]
    for argument in changes:
        if argument not in known:
            raise ConfigError(
                f"{name} has no argument {argument!r}.", where=name, hint=_nearest(argument, known)
            )
    return CenterPointPillar(**{**_PILLARS[name], **changes}, name=name)


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.4) or known
    return f"Did you mean {' or '.join(close)}?"
