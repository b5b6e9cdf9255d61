"""May these runs stand in one report?"""

from collections.abc import Callable

from kd3d.cli.reported_runs import Evaluated, Reported
from kd3d.errors import DatasetError, InputError, OutputError
from kd3d.study.compared import metric_names
from kd3d.study.settings import value_at

__all__ = ["check_comparable"]

_OPTIONS = (
    "classes",
    "data.object_range",
    "data.val",
    "data.test",
    "data.val_frame_interval",
    "optimizer.iou_thresholds",
)
"""What a metric depends on beside weights and data."""
_SEPARATELY = "Report them separately."


def check_comparable(reported: Reported, metric: str) -> None:
    """Make sure that there are runs, and that all were measured alike.

    Args:
        reported: what was read.
        metric: that gains are computed of.

    Raises:
        OutputError: if no student is there.
        DatasetError: if they had different data.
        InputError: if they differ in split, classes, metrics or options of the metric, or one lacks
            the metric.
    """
    if not any(group.runs for group in reported.groups):
        stopped = f" Stopped: {'; '.join(reported.failed)}." if reported.failed else ""
        raise OutputError(
            f"there is no finished student in what was named.{stopped}",
            where=", ".join(map(str, reported.sources)),
            hint="Repeat the study's command, which goes on; for a run of kd3d-train: "
            "kd3d-train resume=FOLDER.",
        )
    evaluated = reported.evaluated
    first = evaluated[0]
    for one in evaluated:
        if one.run.dataset != first.run.dataset:
            raise DatasetError(
                f"was run on other data: {one.run.dataset}; {first.where} on {first.run.dataset}.",
                where=str(one.where),
                hint=_SEPARATELY,
            )
        if metric not in _means(one):
            raise InputError(
                f"has no {metric}, which would be a mean over the classes.",
                where=str(one.where),
                hint=f"Its means are {', '.join(_means(one)) or 'none'}; say metric=NAME.",
            )
        _alike(one, first, "split", lambda of: of.run.split)
        _alike(one, first, "metrics", lambda of: sorted(metric_names([of.run])))
    for option in _OPTIONS:
        known = [one for one in evaluated if one.settings is not None]
        for one in known:
            _alike(one, known[0], option, _reader(option))


def _reader(option: str) -> Callable[[Evaluated], object]:
    return lambda of: value_at(of.settings or {}, option)


def _alike(
    one: Evaluated, other: Evaluated, name: str, value: Callable[[Evaluated], object]
) -> None:
    if value(one) != value(other):
        raise InputError(
            f"was measured with {name} {_told(value(one), value(other))}; "
            f"{other.where} with {_told(value(other), value(one))}.",
            where=str(one.where),
            hint=_SEPARATELY,
        )


def _told(value: object, other: object) -> str:
    """Write a value; of two lists only what one has alone."""
    if isinstance(value, list) and isinstance(other, list) and len(value) + len(other) > 12:
        alone = [str(item) for item in value if item not in other]
        return f"{', '.join(alone[:4])}{', ...' if len(alone) > 4 else ''}" or "no more"
    return str(value)


def _means(one: Evaluated) -> list[str]:
    return [name for name in metric_names([one.run]) if "/" not in name]
