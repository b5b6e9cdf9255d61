"""Which of the teacher's boxes become labels: by what, and from which threshold, per class."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from kd3d.errors import ConfigError

__all__ = [
    "SelectBy",
    "Thresholds",
    "as_selection",
    "as_thresholds",
    "overlap_counts",
    "thresholds_of",
]

SelectBy = Literal["score", "iou", "mixed"]
#: One for all classes, one per class in their order, or one per class by name.
Thresholds = float | tuple[float, ...] | dict[str, float]
_OF_A_CLASS = ("score", "iou")
_MIXED = "Vehicle"


def as_selection(given: SelectBy | Mapping[str, str]) -> SelectBy | dict[str, str]:
    """Take what `LabelKD` was given.

    Raises:
        ConfigError: if it is no way to choose.
    """
    if isinstance(given, Mapping):
        chosen = {str(name): str(rule) for name, rule in given.items()}
        for name, rule in chosen.items():
            if rule not in _OF_A_CLASS:
                raise ConfigError(
                    f"{rule!r} is not one of {list(_OF_A_CLASS)}.", where=f"select_by.{name}"
                )
        return chosen
    if given not in get_args(SelectBy):
        raise ConfigError(
            f"{given!r} is not one of {list(get_args(SelectBy))}.",
            where="select_by",
            hint="Or give 'score' or 'iou' for each class by its name.",
        )
    return given


def overlap_counts(
    select_by: SelectBy | Mapping[str, str], classes: Sequence[str]
) -> tuple[bool, ...]:
    """Tell for each class whether overlap with the ground truth counts, and not the score.

    Raises:
        ConfigError: if the classes are others than `select_by` is about.
    """
    if isinstance(select_by, Mapping):
        if set(select_by) != set(classes):
            raise ConfigError(
                f"rules for {sorted(select_by)}, classes are {list(classes)}.",
                where="LabelKD.select_by",
                hint="Give exactly one rule per class.",
            )
        return tuple(select_by[name] == "iou" for name in classes)
    if select_by == "mixed" and _MIXED not in classes:
        raise ConfigError(
            f"'mixed' is for a class called {_MIXED}, classes are {list(classes)}.",
            where="LabelKD.select_by",
            hint=f"Say it by class, such as {{'{classes[0]}': 'iou', ...: 'score'}}.",
        )
    return tuple(select_by == "iou" or (select_by == "mixed" and c == _MIXED) for c in classes)


def as_thresholds(given: float | Sequence[float] | Mapping[str, float]) -> Thresholds:
    """Take what `LabelKD` was given.

    Raises:
        ConfigError: if a threshold is neither a score nor an overlap.
    """
    thresholds: Thresholds
    if isinstance(given, Mapping):
        thresholds = {str(name): float(value) for name, value in given.items()}
        values = tuple(thresholds.values())
    elif isinstance(given, Sequence):
        thresholds = values = tuple(float(value) for value in given)
    else:
        thresholds = float(given)
        values = (thresholds,)
    for value in values:
        if not 0 <= value <= 1:
            raise ConfigError(
                f"{value} is no score.", where="thresholds", hint="Scores lie between 0 and 1."
            )
    return thresholds


def thresholds_of(thresholds: Thresholds, classes: Sequence[str]) -> tuple[float, ...]:
    """Give the threshold of each class.

    Raises:
        ConfigError: if the classes are others than the thresholds are for.
    """
    if isinstance(thresholds, float):
        return (thresholds,) * len(classes)
    if isinstance(thresholds, dict):
        if set(thresholds) != set(classes):
            raise ConfigError(
                f"thresholds for {sorted(thresholds)}, classes are {list(classes)}.",
                where="LabelKD.thresholds",
                hint="Give exactly one threshold per class.",
            )
        return tuple(thresholds[name] for name in classes)
    if len(thresholds) != len(classes):
        raise ConfigError(
            f"{len(thresholds)} thresholds for {len(classes)} classes.",
            where="LabelKD.thresholds",
            hint="Give exactly one threshold per class, or a single one for all.",
        )
    return thresholds
