"""A look at a dataset before training: does it hold what kd3d takes it for?"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from kd3d.data.check_hypotheses import Evidence, best_hypothesis
from kd3d.data.source import FrameSource, Scan
from kd3d.errors import ConfigError, RecordError
from kd3d.geometry import count_points_in_boxes

__all__ = ["CheckReport", "ClassFacts", "LookedAt", "Problem", "check_frames"]

Level = Literal["error", "warning", "note"]

_MOST_POINTS = 40_000
"""Points of a frame that hypotheses are judged with."""
_USUAL_REACH = 60.0
"""How far a LiDAR sees, and how long objects are, metres: what units are judged by."""
_USUAL_LENGTH = 3.0
_UNITS = {1000.0: "millimetres", 100.0: "centimetres"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or at least odd.

    Args:
        level: an ``"error"`` spoils training; a ``"warning"`` may; a ``"note"`` is good to know.
        name: what it is, in a few words.
        what: the evidence, with numbers.
        hint: what to do.
    """

    level: Level
    name: str
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """What boxes of a class are like: median sizes in metres, and shares in [0, 1]."""

    name: str
    boxes: int
    length: float
    width: float
    height: float
    empty: float


@dataclass(frozen=True, slots=True, eq=False)
class LookedAt:
    """One frame that was looked at.

    Args:
        scan: as it is stored.
        points: ``[n, 3]`` of it, at most 40,000, in metres as the check understands them.
        boxes: ``[M, 7]``, as the check believes they were meant; metres and radians.
        inside: ``[M]``, how many of all points each stored box holds.
        changed: whether `points` or `boxes` are not what is stored.
    """

    scan: Scan
    points: Tensor
    boxes: Tensor
    inside: Tensor
    changed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CheckReport:
    """What a check found.

    Args:
        root: the dataset.
        names: of its classes.
        frames: frames it has.
        looked_at: those that were read, evenly spread.
        problems: what is wrong, the worst first.
        classes: what the boxes are like.
    """

    root: str
    names: tuple[str, ...]
    frames: int
    looked_at: tuple[LookedAt, ...]
    problems: tuple[Problem, ...]
    classes: tuple[ClassFacts, ...]

    @property
    def has_errors(self) -> bool:
        """Whether something would spoil training."""
        return any(problem.level == "error" for problem in self.problems)


def check_frames(
    source: FrameSource,
    frames: int = 20,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CheckReport:
    """Read some frames of a dataset and judge units, axes, headings, boxes, features and labels.

    What a box means is judged by the points that it holds as it is, and as it would be under
    each of `kd3d.data.check_hypotheses.HYPOTHESES`.

    Args:
        source: the dataset.
        frames: how many to look at, evenly spread.
        progress: called with the frames read so far and their number.

    Raises:
        ConfigError: if `frames` is below 1.
    """
    if frames < 1:
        raise ConfigError(f"{frames} is below 1.", where="frames")
    scans, faults = _read(source, min(frames, len(source)), progress)
    looked = [_look(scan) for scan in scans]
    problems = [*_unreadable(faults, len(scans) + len(faults)), *_doubled(scans)]
    if looked:
        same_width = list(_widths(scans))
        problems += same_width
        looked, found = _settle_units(looked)
        scene = [*_too_small(looked), *_up_axis(looked)]
        problems += [*found, *scene]
        if not scene:  # else boxes would be judged by points that cannot be right
            looked, evidence = _settle_boxes(looked)
            problems += [*_wrong_boxes(evidence), *(() if evidence else _empty_boxes(looked))]
        problems += [] if same_width else _features(scans)
        problems += _absent_classes(scans, source.classes)
    order = ("error", "warning", "note")
    return CheckReport(
        root=source.root,
        names=tuple(source.classes),
        frames=len(source),
        looked_at=tuple(looked),
        problems=tuple(sorted(problems, key=lambda problem: order.index(problem.level))),
        classes=tuple(_class_facts(looked, source.classes)),
    )


def _read(
    source: FrameSource, count: int, progress: Callable[[int, int], None]
) -> tuple[list[Scan], list[RecordError]]:
    scans, faults = [], []
    for place in range(count):
        try:
            scans.append(source.read(place * len(source) // count))
        except RecordError as error:
            faults.append(error)
        progress(place + 1, count)
    return scans, faults


def _look(scan: Scan) -> LookedAt:
    step = max(1, -(-len(scan.points) // _MOST_POINTS))
    return LookedAt(
        scan,
        points=scan.points[::step, :3].contiguous(),
        boxes=scan.boxes,
        inside=count_points_in_boxes(scan.points, scan.boxes),
    )


def _unreadable(faults: Sequence[RecordError], total: int) -> Iterator[Problem]:
    """Tell what frames cannot be read, alike ones together."""
    first: dict[str, RecordError] = {}
    counts: Counter[str] = Counter()
    for fault in faults:
        kind = re.sub(r"\d+", "#", fault.what)
        first.setdefault(kind, fault)
        counts[kind] += 1
    for kind, fault in first.items():
        what = f"{counts[kind]} of {total} frames; the first is {fault.where}: {fault.what}"
        yield Problem("error", "unreadable frames", what, fault.hint or "")


def _doubled(scans: Sequence[Scan]) -> Iterator[Problem]:
    counts = Counter(scan.frame_id for scan in scans)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        yield Problem(
            "error",
            "doubled frame ids",
            f"{len(doubled)} ids are there more than once, such as {doubled[0]}.",
            "Give every frame its own name: predictions and augmentation go by it.",
        )


def _widths(scans: Sequence[Scan]) -> Iterator[Problem]:
    counts = Counter(scan.points.shape[1] for scan in scans)
    if len(counts) > 1:
        found = ", ".join(f"{width} in {count} frames" for width, count in counts.most_common())
        yield Problem(
            "error",
            "numbers of features differ",
            f"Points have {found}.",
            "Store x, y, z and the same further features in every scan.",
        )


def _settle_units(looked: list[LookedAt]) -> tuple[list[LookedAt], list[Problem]]:
    """Find units other than metres and radians, and undo them for what follows."""
    problems = []
    reach = _reach(looked)
    factor = _unit_factor(reach, _USUAL_REACH, 1000.0)
    if factor != 1:
        problems.append(_unit_problem("points", f"99 % of them reach {reach:,.0f}", factor))
        looked = [replace(it, points=it.points / factor, changed=True) for it in looked]
    size = _quantile([it.boxes[:, 3:6].amax(dim=1) for it in looked], 0.5)
    factor = _unit_factor(size, _USUAL_LENGTH, 40.0)
    if factor != 1:
        problems.append(_unit_problem("boxes", f"their median longest side is {size:,.0f}", factor))
        units = torch.tensor([factor] * 6 + [1.0])
        looked = [replace(it, boxes=it.boxes / units, changed=True) for it in looked]
    heading = max((float(it.boxes[:, 6].abs().max()) for it in looked if len(it.boxes)), default=0)
    if heading > 7:
        what = f"Headings reach {heading:.0f}; a full turn is 6.28 radians."
        hint = "Store radians: multiply by pi / 180."
        problems.append(Problem("error", "headings in degrees", what, hint))
        units = torch.tensor([1.0] * 6 + [math.pi / 180])
        looked = [replace(it, boxes=it.boxes * units, changed=True) for it in looked]
    return looked, problems


def _reach(looked: Sequence[LookedAt]) -> float:
    return _quantile([it.points[:, :2].abs().amax(dim=1) for it in looked], 0.99)


def _too_small(looked: Sequence[LookedAt]) -> Iterator[Problem]:
    reach = _reach(looked)
    if reach < 2:
        what = f"99 % of them are within {reach:.3g} of the origin."
        hint = "Points are in metres; these seem to be scaled, or kilometres."
        yield Problem("error", "units of the points", what, hint)


def _unit_factor(value: float, usual: float, limit: float) -> float:
    """Guess how many of the unit make a metre: 1 up to a limit."""
    if not value > limit:
        return 1.0
    return min(_UNITS, key=lambda factor: abs(math.log(value / factor / usual)))


def _unit_problem(which: str, evidence: str, factor: float) -> Problem:
    return Problem(
        "error",
        f"units of the {which}",
        f"They look like {_UNITS[factor]}: {evidence}.",
        f"Store metres: divide by {factor:.0f}.",
    )


def _up_axis(looked: Sequence[LookedAt]) -> Iterator[Problem]:
    """A scene is flat: its points spread least along z."""
    clouds = torch.cat([it.points for it in looked])
    low, high = torch.quantile(_thin(clouds), torch.tensor([0.05, 0.95]), dim=0)
    spread = (high - low).tolist()
    flattest = spread.index(min(spread))
    if flattest != 2 and spread[2] > 2 * spread[flattest]:
        text = ", ".join(f"{axis} {value:.1f} m" for axis, value in zip("xyz", spread, strict=True))
        yield Problem(
            "error",
            "z is not up",
            f"90 % of the points lie within {text}: the flattest axis is {'xyz'[flattest]}.",
            "x is forward, y left, z up; a camera's axes are (right, down, forward).",
        )


def _settle_boxes(looked: list[LookedAt]) -> tuple[list[LookedAt], Evidence | None]:
    evidence = best_hypothesis([it.points for it in looked], [it.boxes for it in looked])
    if evidence is None:
        return looked, None
    change = evidence.hypothesis.change
    return [replace(it, boxes=change(it.boxes), changed=True) for it in looked], evidence


def _wrong_boxes(evidence: Evidence | None) -> Iterator[Problem]:
    if evidence is not None:
        yield Problem(
            "error",
            evidence.hypothesis.name,
            f"Undoing it, {evidence.better} boxes hold clearly more points and {evidence.worse}"
            f" clearly fewer; points in boxes go from {evidence.points_before:,} to"
            f" {evidence.points_after:,}.",
            evidence.hypothesis.hint,
        )


def _empty_boxes(looked: Sequence[LookedAt]) -> Iterator[Problem]:
    boxes = torch.cat([it.boxes for it in looked])
    inside = torch.cat([count_points_in_boxes(it.points, it.boxes) for it in looked])
    given = torch.cat([it.inside for it in looked])
    empty = int((torch.maximum(inside, given) == 0).sum())
    if len(boxes) and empty > 0.5 * len(boxes):
        level: Level = "error" if empty > 0.8 * len(boxes) else "warning"
        yield Problem(
            level,
            "boxes without points",
            f"{empty} of {len(boxes)} boxes hold no point.",
            "Are points and boxes of the same instant, and both in the vehicle's frame? Look at the"
            " pictures (out=FOLDER).",
        )


def _features(scans: Sequence[Scan]) -> Iterator[Problem]:
    columns = _thin(torch.cat([scan.points for scan in scans]))[:, 3:]
    for place, values in enumerate(columns.T):
        name, middle = f"feature {place + 3}", float(values.median())
        if len(values) > 1 and bool((values == values[0]).all()):
            hint = "Leave it out, or check how it is written."
            yield Problem("warning", f"{name} is constant", f"It is always {values[0]:g}.", hint)
        elif place == 0 and middle > 3:
            yield Problem(
                "warning",
                f"{name} is large",
                f"Its median is {middle:.3g} and its highest value {values.max():.3g}: detectors"
                " squash the intensity by tanh, which makes all of it 1.",
                "Divide by its highest value, and set student.intensity=as_is and"
                " teacher.intensity=as_is.",
            )
        elif place > 0 and middle > 30:
            what = f"Its median is {middle:.3g}; networks learn best from values of about 1."
            yield Problem("warning", f"{name} is large", what, "Divide it by a constant.")


def _absent_classes(scans: Sequence[Scan], classes: Sequence[str]) -> Iterator[Problem]:
    seen = set(torch.cat([scan.labels for scan in scans]).tolist())
    absent = [name for place, name in enumerate(classes) if place not in seen]
    if absent:
        what = f"{', '.join(absent)}: not in the {len(scans)} frames that were looked at."
        yield Problem("note", "classes without boxes", what, "Look at more: frames=200.")


def _class_facts(looked: Sequence[LookedAt], classes: Sequence[str]) -> Iterator[ClassFacts]:
    if not looked:
        return
    boxes = torch.cat([it.scan.boxes for it in looked])
    labels = torch.cat([it.scan.labels for it in looked])
    inside = torch.cat([it.inside for it in looked])
    for place, name in enumerate(classes):
        of_class = labels == place
        if of_class.any():
            length, width, height = boxes[of_class, 3:6].median(dim=0).values.tolist()
            empty = float((inside[of_class] == 0).double().mean())
            yield ClassFacts(name, int(of_class.sum()), length, width, height, empty)


def _quantile(parts: Sequence[Tensor], share: float) -> float:
    values = _thin(torch.cat(list(parts)))
    return float(torch.quantile(values, share)) if len(values) else 0.0


def _thin(values: Tensor, most: int = 1_000_000) -> Tensor:
    """Leave out rows evenly, as torch takes quantiles of 16 million values at most."""
    return values[:: max(1, -(-len(values) // most))]
