"""The range that the maps of student and teacher share."""

from dataclasses import dataclass

from kd3d.errors import TeacherError
from kd3d.geometry import BEVGrid

__all__ = ["SharedRange", "share_range"]

_ENOUGH = 0.95
"""Below this share of common cells the user is warned; the paper's pairs share 98 % or more."""


@dataclass(frozen=True, slots=True)
class SharedRange:
    """What two grids have in common.

    Args:
        x: from where to where along x (metres).
        y: from where to where along y (metres).
        teacher_share: share of the teacher's cells whose centre the student's range holds.
        student_share: share of the student's cells whose centre the teacher's range holds.
        cells: sides of a student's cell along x and y, in cells of the teacher.
        shift: how far apart the borders of the ranges are at most (metres).
    """

    x: tuple[float, float]
    y: tuple[float, float]
    teacher_share: float
    student_share: float
    cells: tuple[float, float]
    shift: float

    def __str__(self) -> str:
        return (
            f"Shared range: x {self.x[0]:g} to {self.x[1]:g} m, y {self.y[0]:g} to "
            f"{self.y[1]:g} m; it holds {_percent(self.teacher_share)} of the teacher's cells and "
            f"{_percent(self.student_share)} of the student's."
        )

    @property
    def ratio(self) -> str:
        """How large the student's cells are."""
        along_x, along_y = self.cells
        return f"1 cell = {along_x:.3g} x {along_y:.3g} of the teacher's"

    @property
    def warning(self) -> str | None:
        """What to know if much of a grid is not shared, or None."""
        parts = []
        if self.teacher_share < _ENOUGH:
            parts.append(
                f"{_percent(1 - self.teacher_share)} of the teacher's cells lie outside the "
                "student's range and do not count"
            )
        if self.student_share < _ENOUGH:
            parts.append(
                f"{_percent(1 - self.student_share)} of the student's cells lie outside the "
                "teacher's range and are not taught"
            )
        if not parts:
            return None
        return f"{'; '.join(parts)}. Build both on one point_cloud_range to use all of them."


def share_range(student: BEVGrid, teacher: BEVGrid) -> SharedRange:
    """Compare two grids.

    Raises:
        TeacherError: if no centre of a teacher's cell is in the student's range.
    """
    x, y = _Side(student, "x"), _Side(student, "y")
    other_x, other_y = _Side(teacher, "x"), _Side(teacher, "y")
    share = x.share_of(other_x) * y.share_of(other_y)
    if not share:
        raise TeacherError(
            f"the teacher sees x {other_x} m, y {other_y} m, the student x {x} m, y {y} m: they "
            "share nothing that could be compared.",
            where="point_cloud_range",
            hint="Build both on the same range, or on ranges that overlap.",
        )
    pairs = ((x, other_x), (y, other_y))
    return SharedRange(
        x=(max(x.lower, other_x.lower), min(x.upper, other_x.upper)),
        y=(max(y.lower, other_y.lower), min(y.upper, other_y.upper)),
        teacher_share=share,
        student_share=other_x.share_of(x) * other_y.share_of(y),
        cells=(x.cell / other_x.cell, y.cell / other_y.cell),
        shift=max(
            max(abs(one.lower - other.lower), abs(one.upper - other.upper)) for one, other in pairs
        ),
    )


class _Side:
    """One axis of a grid."""

    def __init__(self, grid: BEVGrid, axis: str) -> None:
        self.lower = grid.x_min if axis == "x" else grid.y_min
        self.cell = grid.cell_x if axis == "x" else grid.cell_y
        self.count = grid.width if axis == "x" else grid.height
        self.upper = self.lower + self.cell * self.count

    def __str__(self) -> str:
        return f"{self.lower:g} to {self.upper:g}"

    def share_of(self, other: "_Side") -> float:
        """Tell the share of the other's cell centres that lie on this side, as losses count it."""
        inside = sum(
            0 <= ((cell + 0.5) * other.cell + other.lower - self.lower) / self.cell < self.count
            for cell in range(other.count)
        )
        return inside / other.count


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
