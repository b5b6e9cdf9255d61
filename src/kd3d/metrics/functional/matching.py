"""Matching of predictions to objects at every score cutoff at once.

At each cutoff the predictions with at least that score are assigned to the objects of their group
so that the sum of the overlaps is largest. Instead of solving each cutoff by itself, a match is
found once with the run of cutoffs that it holds for:

* A prediction takes part at the cutoffs from 0 up to its *reach* and at none above.
* If every object could have the best prediction that is left to it, that would be optimal; who is
  best changes only where a better prediction's reach ends. This settles nearly all objects at once.
* Only where one prediction is the best of two objects, the connected objects and predictions are
  solved together, once for each distinct reach among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kd3d.metrics.functional.assignment import assignment_in_vertex_order, best_assignment
from kd3d.metrics.functional.pairs import BoxType, Pairs, group_ids, matchable_pairs
from kd3d.metrics.functional.rows import Objects, Predictions

__all__ = ["Matches", "match", "reach_of"]

Column = NDArray[np.int64]
Groups = tuple[Column, Column]


@dataclass(frozen=True, slots=True)
class Matches:
    """Matched pairs, each with the cutoffs it holds for.

    Args:
        prediction: ``[T]`` int64 row of the prediction.
        object: ``[T]`` int64 row of the object.
        start: ``[T]`` int64, first cutoff (index) at which the two are matched.
        stop: ``[T]`` int64, the cutoff after the last one.
    """

    prediction: Column
    object: Column
    start: Column
    stop: Column

    def __len__(self) -> int:
        return len(self.prediction)


def reach_of(scores: NDArray[np.float32], cutoffs: NDArray[np.float32]) -> Column:
    """Count the cutoffs that each score passes; a score equal to a cutoff passes it.

    Args:
        scores: ``[N]`` float32.
        cutoffs: ``[K]`` float32, ascending.

    Returns:
        ``[N]`` int64: the prediction takes part at the cutoffs 0 to reach - 1.
    """
    return np.searchsorted(cutoffs, scores, side="right").astype(np.int64)


def match(
    predictions: Predictions,
    objects: Objects,
    *,
    iou_thresholds: NDArray[np.float32],
    cutoffs: NDArray[np.float32],
    box_type: BoxType = "3d",
) -> Matches:
    """Match predictions to objects at every score cutoff.

    Args:
        predictions: N rows of any number of frames.
        objects: M rows.
        iou_thresholds: ``[shards]`` float32 in (0, 1], the least overlap of a match.
        cutoffs: ``[K]`` float32, ascending.
        box_type: whether overlap is that of volumes or that in bird's-eye view.
    """
    groups = group_ids(predictions, objects)
    reach = reach_of(predictions.scores, cutoffs)
    pairs = matchable_pairs(predictions, objects, groups, iou_thresholds, box_type)
    pairs = pairs[reach[pairs.prediction] > 0]
    if not len(pairs):
        return _as_matches([])
    pairs = pairs[np.lexsort((pairs.prediction, -pairs.weight, pairs.object))]
    simple, contested = _best_of_each_object(pairs, reach)
    solved = _as_matches(list(_solve_components(pairs[contested], pairs, reach, groups)))
    settled = ~np.isin(simple.object, pairs.object[contested])
    return Matches(
        np.concatenate((simple.prediction[settled], solved.prediction)),
        np.concatenate((simple.object[settled], solved.object)),
        np.concatenate((simple.start[settled], solved.start)),
        np.concatenate((simple.stop[settled], solved.stop)),
    )


def _best_of_each_object(pairs: Pairs, reach: Column) -> tuple[Matches, NDArray[np.bool_]]:
    """Give every object the best prediction present at each cutoff.

    Args:
        pairs: sorted by object, then falling weight, then prediction.
        reach: ``[N]`` reach of each prediction.

    Returns:
        The matches, and for each pair whether its component has to be solved as a whole: because a
        prediction is the best of two objects, or because a tie between two predictions may
        matter to a second object. (With one object the first of equal predictions is right.)
    """
    stop = reach[pairs.prediction]
    start = _largest_before(stop, pairs.object)
    wins = stop > start
    matches = Matches(pairs.prediction[wins], pairs.object[wins], start[wins], stop[wins])

    component = _components(pairs)
    # All runs of a prediction end at its reach, so two runs always collide.
    wanted_twice = np.bincount(matches.prediction, minlength=len(reach))[pairs.prediction] > 1
    same_object = pairs.object[1:] == pairs.object[:-1]
    tied = np.zeros(len(pairs), bool)
    tied[1:] = same_object & (pairs.weight[1:] == pairs.weight[:-1])
    first_of_object = np.concatenate(([True], ~same_object))
    several_objects = np.bincount(component[first_of_object])[component] > 1
    unclear = wanted_twice | (tied & several_objects)
    return matches, (np.bincount(component, weights=unclear) > 0)[component]


def _largest_before(values: Column, segment: Column) -> Column:
    """Largest earlier value (at least 0) within each run of equal, ascending `segment` numbers."""
    _, number = np.unique(segment, return_inverse=True)
    lift = number * (values.max(initial=0) + 1)
    running = np.maximum.accumulate(values + lift)
    before = np.concatenate(([0], running[:-1])) - lift
    largest: Column = np.maximum(before, 0)
    return largest


def _components(pairs: Pairs) -> Column:
    """Number ``[P]`` of the connected component that each pair belongs to."""
    _, rows = np.unique(pairs.prediction, return_inverse=True)
    _, columns = np.unique(pairs.object, return_inverse=True)
    columns = columns + rows.max() + 1
    size = int(columns.max()) + 1
    graph = coo_matrix((np.ones(len(pairs), np.int8), (rows, columns)), shape=(size, size))
    component = connected_components(graph, directed=False)[1]
    return component[rows].astype(np.int64)


def _solve_components(
    contested: Pairs, pairs: Pairs, reach: Column, groups: Groups
) -> Iterator[Matches]:
    """Solve each connected component of the contested pairs at each reach it knows."""
    if not len(contested):
        return
    component = _components(contested)
    order = np.argsort(component, kind="stable")
    borders = np.flatnonzero(np.diff(component[order])) + 1
    for members in np.split(order, borders):
        part = contested[members]
        yield from _solve_component(part, reach) or _solve_tied(part, pairs, reach, groups)


def _solve_component(part: Pairs, reach: Column) -> list[Matches] | None:
    """Matches of one component; None if they are not unique at some cutoff."""
    rows, columns = np.unique(part.prediction), np.unique(part.object)
    weights = _table(part, rows, columns)
    matches = []
    for start, stop in _runs(reach[rows]):
        present = reach[rows] >= stop
        answer = best_assignment(weights[present])
        if answer is None:
            return None
        matches.append(_run(rows[present][answer[0]], columns[answer[1]], start, stop))
    return matches


def _solve_tied(part: Pairs, pairs: Pairs, reach: Column, groups: Groups) -> Iterator[Matches]:
    """Matches of one component that has ties, found within its whole group.

    The official order of vertices runs over the whole group, where rows outside the component can
    influence the choice, so the group is solved at each reach that it knows.
    """
    of_predictions, of_objects = groups
    group = of_objects[part.object[0]]
    rows, columns = np.flatnonzero(of_predictions == group), np.flatnonzero(of_objects == group)
    weights = _table(pairs[of_objects[pairs.object] == group], rows, columns)
    ours = np.isin(columns, part.object)
    for start, stop in _runs(reach[rows]):
        present = reach[rows] >= stop
        chosen, taken = assignment_in_vertex_order(weights[present])
        of_part = ours[taken]
        yield _run(rows[present][chosen[of_part]], columns[taken[of_part]], start, stop)


def _table(pairs: Pairs, rows: Column, columns: Column) -> Column:
    """Lay out pairs as a table ``[rows, columns]`` of weights, 0 where there is no pair."""
    weights = np.zeros((len(rows), len(columns)), np.int64)
    weights[np.searchsorted(rows, pairs.prediction), np.searchsorted(columns, pairs.object)] = (
        pairs.weight
    )
    return weights


def _runs(reach: Column) -> Iterator[tuple[int, int]]:
    """Runs of cutoffs [start, stop) within which the same predictions are present."""
    stops = np.unique(reach[reach > 0]).tolist()
    return zip([0, *stops[:-1]], stops, strict=True)


def _run(predictions: Column, objects: Column, start: int, stop: int) -> Matches:
    return Matches(predictions, objects, np.full(len(objects), start), np.full(len(objects), stop))


def _as_matches(parts: list[Matches]) -> Matches:
    none = np.zeros(0, np.int64)
    return Matches(
        np.concatenate([none, *(part.prediction for part in parts)]),
        np.concatenate([none, *(part.object for part in parts)]),
        np.concatenate([none, *(part.start for part in parts)]),
        np.concatenate([none, *(part.stop for part in parts)]),
    )
