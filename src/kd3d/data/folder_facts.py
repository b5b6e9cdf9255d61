"""What a folder of scans says about itself: ``dataset.json``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kd3d.errors import ConfigError, DatasetError

__all__ = ["FACTS_NAME", "FolderFacts", "read_facts"]

FACTS_NAME = "dataset.json"

_HOW = '{"classes": ["Car", "Truck"], "features": ["x", "y", "z", "intensity"]}'


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """Names of a dataset's classes and features.

    Args:
        classes: what the labels of boxes name, or count from 0.
        features: of every point, x, y and z first; unknown if None.
        ignore: names of labels that are nobody's class.
    """

    classes: tuple[str, ...]
    features: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()


def read_facts(root: Path, classes: Sequence[str] | None = None) -> FolderFacts:
    """Read ``dataset.json`` of a folder.

    Args:
        root: the dataset's folder.
        classes: used where the file does not exist.

    Raises:
        ConfigError: if there is neither a file nor classes.
        DatasetError: if the file is not what it should be.
    """
    path = root / FACTS_NAME
    if not path.is_file():
        if not classes or isinstance(classes, str):
            raise ConfigError(
                f"the classes of {root} are not known: there is no {FACTS_NAME}.",
                where="data.classes",
                hint=f"Write {path}: {_HOW}, or give classes=[...].",
            )
        return FolderFacts(_names(list(classes), "classes", path))
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"is no JSON ({error}).", where=str(path), hint=f"Write {_HOW}."
        ) from error
    if not isinstance(stored, dict) or not stored.get("classes"):
        raise DatasetError("names no classes.", where=str(path), hint=f"Write {_HOW}.")
    unknown = sorted(set(stored) - {"classes", "features", "ignore"})
    if unknown:
        raise DatasetError(
            f"has the unknown key {unknown[0]!r}.",
            where=str(path),
            hint="It may have classes, features and ignore.",
        )
    features = stored.get("features")
    facts = FolderFacts(
        _names(stored["classes"], "classes", path),
        None if features is None else _names(features, "features", path),
        _names(stored.get("ignore", []), "ignore", path),
    )
    if facts.features is not None and facts.features[:3] != ("x", "y", "z"):
        raise DatasetError(
            f"the first features are {', '.join(facts.features[:3])}, not x, y, z.",
            where=str(path),
            hint="Store x, y, z in metres first, then any others.",
        )
    return facts


def _names(values: object, key: str, path: Path) -> tuple[str, ...]:
    fine = isinstance(values, list) and all(isinstance(name, str) and name for name in values)
    if not fine or len(set(values)) < len(values):  # type: ignore[arg-type, call-overload]
        raise DatasetError(
            f"{key} is no list of different names: {values!r}.",
            where=str(path),
            hint=f"Write {_HOW}.",
        )
    return tuple(values)  # type: ignore[arg-type]
