"""What boxes could mean, judged by the points that they hold.

A convention that was got wrong moves boxes off the points of their objects. Each hypothesis undoes
one such mistake; if it lets clearly more boxes hold clearly more points, it is what happened.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.geometry import count_points_in_boxes

__all__ = ["HYPOTHESES", "Evidence", "Hypothesis", "best_hypothesis"]

_BETTER = 1.25
"""A box speaks for a hypothesis if it holds so many times the points, and `_MARGIN` more."""
_MARGIN = 2
_FEWEST = 5
"""So many boxes must speak for a hypothesis,"""
_RATIO = 4
"""and so many times as many as speak against it."""

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One way in which boxes may have been meant.

    Args:
        name: what is wrong, in a few words.
        hint: what to write instead.
        change: turns boxes ``[M, 7]`` as they are into boxes as they were meant.
    """

    name: str
    hint: str
    change: Change


@dataclass(frozen=True, slots=True)
class Evidence:
    """How boxes judge a hypothesis.

    Args:
        hypothesis: the one.
        better: boxes that hold clearly more points with it.
        worse: boxes that hold clearly fewer.
        points_before: points in all boxes as they are.
        points_after: and with the change.
    """

    hypothesis: Hypothesis
    better: int
    worse: int
    points_before: int
    points_after: int

    @property
    def holds(self) -> bool:
        """Whether the boxes speak for it clearly."""
        return self.better >= _FEWEST and self.better >= _RATIO * self.worse


def _make(boxes: Tensor, **columns: Tensor) -> Tensor:
    names = ("x", "y", "z", "length", "width", "height", "heading")
    return torch.stack([columns.get(name, boxes[:, at]) for at, name in enumerate(names)], dim=1)


#: All hypotheses, the likelier ones first.
HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "z at the bottom of the boxes",
        "z is the middle of a box: add half its height.",
        lambda b: _make(b, z=b[:, 2] + b[:, 5] / 2),
    ),
    Hypothesis(
        "heading with the other sign",
        "Headings are counter-clockwise seen from above: store -heading.",
        lambda b: _make(b, heading=-b[:, 6]),
    ),
    Hypothesis(
        "length and width swapped",
        "length lies along the heading: store the two the other way round; if length is the longer"
        " side, store heading + pi/2.",
        lambda b: _make(b, length=b[:, 4], width=b[:, 3]),
    ),
    Hypothesis(
        "heading clockwise from y",
        "Headings are counter-clockwise from x: store pi/2 - heading (or -pi/2 - heading).",
        lambda b: _make(b, heading=math.pi / 2 - b[:, 6]),
    ),
    Hypothesis(
        "sizes in the order height, width, length",
        "Store length, width, height.",
        lambda b: _make(b, length=b[:, 5], height=b[:, 3]),
    ),
    Hypothesis(
        "sizes in the order width, height, length",
        "Store length, width, height.",
        lambda b: _make(b, length=b[:, 5], width=b[:, 3], height=b[:, 4]),
    ),
    Hypothesis(
        "x and y swapped between points and boxes",
        "x is forward and y left, for both: swap the columns of the one that has it wrong; of boxes"
        " store pi/2 - heading too.",
        lambda b: _make(b, x=b[:, 1], y=b[:, 0], heading=math.pi / 2 - b[:, 6]),
    ),
    Hypothesis(
        "y with another sign in points and boxes",
        "y is left, for both: negate it where it is right; of boxes, store -heading too.",
        lambda b: _make(b, y=-b[:, 1], heading=-b[:, 6]),
    ),
    Hypothesis(
        "points and boxes turned by 90 degrees",
        "x is forward and y left, for both: of one of them store (y, -x), and heading - pi/2.",
        lambda b: _make(b, x=b[:, 1], y=-b[:, 0], heading=b[:, 6] - math.pi / 2),
    ),
    Hypothesis(
        "points and boxes turned by -90 degrees",
        "x is forward and y left, for both: of one of them store (-y, x), and heading + pi/2.",
        lambda b: _make(b, x=-b[:, 1], y=b[:, 0], heading=b[:, 6] + math.pi / 2),
    ),
    Hypothesis(
        "points and boxes turned by 180 degrees",
        "x is forward and y left, for both: of one of them store (-x, -y), and heading + pi.",
        lambda b: _make(b, x=-b[:, 0], y=-b[:, 1]),
    ),
    Hypothesis(
        "z with another sign in points and boxes",
        "z is up, for both: negate it where it is down.",
        lambda b: _make(b, z=-b[:, 2]),
    ),
)


def best_hypothesis(points: Sequence[Tensor], boxes: Sequence[Tensor]) -> Evidence | None:
    """Find the hypothesis that the boxes speak for most, if there is one.

    Args:
        points: per frame ``[N, 3 or more]``, metres.
        boxes: per frame ``[M, 7]`` as they are stored, metres and radians.
    """
    frames = list(zip(points, boxes, strict=True))
    before = [count_points_in_boxes(cloud, there) for cloud, there in frames]
    found = [_judge(hypothesis, frames, before) for hypothesis in HYPOTHESES]
    held = [evidence for evidence in found if evidence.holds]
    return max(held, key=lambda it: (it.better - it.worse, it.points_after), default=None)


def _judge(
    hypothesis: Hypothesis, frames: Sequence[tuple[Tensor, Tensor]], before: Sequence[Tensor]
) -> Evidence:
    after = [count_points_in_boxes(cloud, hypothesis.change(there)) for cloud, there in frames]
    old, new = torch.cat([torch.zeros(0), *before]), torch.cat([torch.zeros(0), *after])
    return Evidence(
        hypothesis,
        better=int((new > _BETTER * old + _MARGIN).sum()),
        worse=int((old > _BETTER * new + _MARGIN).sum()),
        points_before=int(old.sum()),
        points_after=int(new.sum()),
    )
