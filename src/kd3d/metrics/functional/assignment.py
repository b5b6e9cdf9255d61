"""Maximum-weight assignment of one small table of overlaps.

The sum of the weights is what counts; where several assignments share the largest sum, the official
Waymo metric returns the one that its order of vertices leads to. `best_assignment` uses a fast
solver and says when the answer is not unique; `assignment_in_vertex_order` is then asked.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["assignment_in_vertex_order", "best_assignment"]

_WEIGHT_UNIT = 1 << 31
_LARGEST_NUDGE = 1 << 20
"""In tables of up to 2048 rows all nudges together stay below one unit of weight, and all sums are
exact in the solver's float64."""


def best_assignment(
    weights: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Assign rows to columns so that the sum of weights is largest, if only one way does.

    Args:
        weights: ``[n, m]`` int64, from 0 (no match) to 1,000,000.

    Returns:
        Matched rows and columns, pairs of weight 0 left out; None if several assignments share the
        largest sum.
    """
    # Two random nudges in opposite directions, too small to change the sum, agree only if there is
    # nothing to choose.
    nudges = np.random.default_rng(0).integers(1, _LARGEST_NUDGE, size=weights.shape)
    answers = []
    for nudge in (nudges, -nudges):
        nudged = np.where(weights > 0, weights * _WEIGHT_UNIT + nudge, 0)
        rows, columns = linear_sum_assignment(nudged, maximize=True)
        real = weights[rows, columns] > 0
        answers.append((rows[real], columns[real]))
    (rows, columns), (other_rows, other_columns) = answers
    unique = np.array_equal(rows, other_rows) and np.array_equal(columns, other_columns)
    return (rows, columns) if unique else None


def assignment_in_vertex_order(
    weights: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assign rows to columns with the largest sum of weights, ties as in the official metric.

    The Kuhn-Munkres method on the table padded to a square: rows enter in index order, and each
    grows an alternating tree whose columns are tried in the order of their discovery, by index
    within a row.

    Args:
        weights: ``[n, m]`` int64, from 0 (no match) to 1,000,000.

    Returns:
        Matched rows and columns, pairs of weight 0 left out; rows ascend.
    """
    size = max(weights.shape)
    table = np.zeros((size, size), np.int64)
    table[: weights.shape[0], : weights.shape[1]] = weights
    row_labels, column_labels = table.max(axis=1, initial=0), np.zeros(size, np.int64)
    row_of, column_of = np.full(size, -1), np.full(size, -1)
    for root in range(size):
        finders, column = _grow_tree(root, table, row_labels, column_labels, row_of)
        while column >= 0:
            row = finders[column]
            row_of[column], column_of[row], column = row, column, column_of[row]
    columns = column_of[: weights.shape[0]]
    rows = np.flatnonzero(table[np.arange(len(columns)), columns] > 0)
    return rows, columns[rows]


def _grow_tree(
    root: int,
    table: NDArray[np.int64],
    row_labels: NDArray[np.int64],
    column_labels: NDArray[np.int64],
    row_of: NDArray[np.int64],
) -> tuple[dict[int, int], int]:
    """Grow an alternating tree from a free row to a free column; adjusts the labels in place.

    Returns:
        The row that each of the tree's columns was found from, and the free column.
    """
    rows = [root]
    finders: dict[int, int] = {}
    found = _tight_columns(rows, table, row_labels, column_labels)
    while True:
        fresh = next((column for column in found if column not in finders), None)
        if fresh is None:
            outside = np.ones(len(table), bool)
            outside[list(finders)] = False
            slack = row_labels[rows, None] + column_labels - table[rows]
            step = slack[:, outside].min()
            row_labels[rows] -= step
            column_labels[~outside] += step
            found = _tight_columns(rows, table, row_labels, column_labels)
            continue
        finders[fresh] = found[fresh]
        if row_of[fresh] < 0:
            return finders, fresh
        rows.append(int(row_of[fresh]))
        for column, row in _tight_columns(rows[-1:], table, row_labels, column_labels).items():
            found.setdefault(column, row)


def _tight_columns(
    rows: list[int],
    table: NDArray[np.int64],
    row_labels: NDArray[np.int64],
    column_labels: NDArray[np.int64],
) -> dict[int, int]:
    """Columns without slack, in the order of their discovery, with the row that found each."""
    found: dict[int, int] = {}
    for row in rows:
        for column in np.flatnonzero(row_labels[row] + column_labels == table[row]).tolist():
            found.setdefault(column, row)
    return found
