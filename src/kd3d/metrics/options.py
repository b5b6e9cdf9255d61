"""Checks of the detection metric's arguments."""

from collections.abc import Sequence
from itertools import pairwise

from kd3d.errors import ConfigError
from kd3d.metrics.functional import BREAKDOWNS, LEVELS, BoxType

__all__ = [
    "checked_box_type",
    "checked_breakdowns",
    "checked_classes",
    "checked_cutoffs",
    "checked_levels",
    "checked_thresholds",
]

_IOU_THRESHOLDS = {"Vehicle": 0.7, "Pedestrian": 0.5, "Sign": 0.5, "Cyclist": 0.5}


def checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Give the class names; they must be different."""
    if isinstance(classes, str) or not classes or len(set(classes)) != len(classes):
        raise ConfigError(f"{classes!r} is not a list of different names.", where="classes")
    return tuple(classes)


def checked_thresholds(
    classes: tuple[str, ...], thresholds: Sequence[float] | None
) -> tuple[float, ...]:
    """Give the least overlap of a match per class; Waymo's where none are given."""
    if thresholds is None:
        unknown = [name for name in classes if name not in _IOU_THRESHOLDS]
        if unknown:
            raise ConfigError(
                f"Waymo defines no IoU threshold for {', '.join(unknown)}.",
                where="classes",
                hint="Give iou_thresholds, one per class.",
            )
        return tuple(_IOU_THRESHOLDS[name] for name in classes)
    if len(thresholds) != len(classes) or not all(0 < value <= 1 for value in thresholds):
        raise ConfigError(
            f"{list(thresholds)} is not one number in (0, 1] for each of {len(classes)} classes.",
            where="iou_thresholds",
        )
    return tuple(float(value) for value in thresholds)


def checked_cutoffs(cutoffs: Sequence[float] | None) -> tuple[float, ...]:
    """Give ascending score cutoffs in [0, 1]; Waymo's 101 where none are given."""
    if cutoffs is None:
        return (*(index * 0.01 for index in range(100)), 1.0)
    rising = all(low < high for low, high in pairwise(cutoffs))
    if not len(cutoffs) or not rising or cutoffs[0] < 0 or cutoffs[-1] > 1:
        raise ConfigError(
            f"{list(cutoffs)} does not rise from 0 or more to 1 or less.", where="score_cutoffs"
        )
    return tuple(float(value) for value in cutoffs)


def checked_breakdowns(breakdowns: Sequence[str]) -> tuple[str, ...]:
    """Give the breakdowns; they must be known and different."""
    if (
        isinstance(breakdowns, str)
        or not breakdowns
        or not set(breakdowns) <= set(BREAKDOWNS)
        or len(set(breakdowns)) != len(breakdowns)
    ):
        raise ConfigError(
            f"{breakdowns!r} is not a list of different breakdowns.",
            where="breakdowns",
            hint=f"There are: {', '.join(BREAKDOWNS)}.",
        )
    return tuple(breakdowns)


def checked_levels(levels: Sequence[int] | None) -> dict[str, int]:
    """Give each level's prefix of the keys; None is all objects, without a prefix."""
    if levels is None:
        return {"": max(LEVELS)}
    if not levels or not set(levels) <= set(LEVELS) or len(set(levels)) != len(levels):
        raise ConfigError(
            f"{levels!r} is not a list of difficulty levels.",
            where="levels",
            hint="Use (1, 2), one of them, or None where there are no levels.",
        )
    return {f"L{level}_": level for level in levels}


def checked_box_type(box_type: str) -> BoxType:
    """Give the type of boxes; it must be known."""
    if box_type == "3d":
        return "3d"
    if box_type == "bev":
        return "bev"
    raise ConfigError(f"{box_type!r} is neither '3d' nor 'bev'.", where="box_type")
