"""What a study compares: its rows, seeds, teachers and questions."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kd3d.errors import ConfigError

__all__ = ["Comparison", "StudyPlan", "StudyRow", "StudyTeacher", "read_plan"]

_KEYS = {
    "study": {
        *("name", "title", "metric", "seeds", "steps", "curve_points"),
        *("teachers", "rows", "comparisons", "order"),
    },
    "teacher": {"overrides", "steps", "seed", "file"},
    "row": {"title", "overrides", "steps", "seeds", "teacher"},
    "comparison": {"row", "base", "title", "group"},
}
_ORDERS = ("longest", "rows")


@dataclass(frozen=True, slots=True)
class StudyTeacher:
    """A teacher that is trained once and shared by all seeds of the rows that name it.

    Args:
        name: what rows call it.
        overrides: words of the command line that only its training has.
        steps: optimiser steps.
        seed: its own, so that no seed of a student is nearer to it than another.
        file: one that another study keeps, ``RESULTS/teachers/NAME.ckpt``: taken if it is there,
            and trained here otherwise.
    """

    name: str
    overrides: tuple[str, ...]
    steps: int
    seed: int
    file: str | None = None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One way of training, run once per seed.

    Args:
        name: short, part of file names.
        title: what the table calls it.
        overrides: words of the command line that make the row.
        steps: optimiser steps of each run.
        seeds: the runs' seeds.
        teacher: name of the row's teacher; None where the study has none.
    """

    name: str
    title: str
    overrides: tuple[str, ...]
    steps: int
    seeds: tuple[int, ...]
    teacher: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A question: how much better is `row` than `base`, seed by seed?

    Args:
        row: name of a row.
        base: name of the row that it is compared with.
        title: of the question; in a group, what the table calls the row.
        group: of questions that share a table, such as a pair of student and teacher.
    """

    row: str
    base: str
    title: str
    group: str | None = None

    @property
    def name(self) -> str:
        """The title with that of its group."""
        return self.title if self.group is None else f"{self.group}, {self.title}"


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """A whole study.

    Args:
        name: of its folder of runs.
        title: of its report.
        metric: the number that it is about, such as ``L2_mAPH``.
        curve_points: validations during each run, evenly spread, the last after the last step.
        teachers: trained first.
        rows: in the order of the table.
        comparisons: the first one is the study's question.
        order: of the runs of one seed: ``"longest"`` first, or ``"rows"``, as they are listed.
    """

    name: str
    title: str
    metric: str
    curve_points: int
    teachers: tuple[StudyTeacher, ...]
    rows: tuple[StudyRow, ...]
    comparisons: tuple[Comparison, ...]
    order: str = "longest"

    @property
    def groups(self) -> dict[str, list[Comparison]]:
        """Questions that share a table, by its title."""
        found: dict[str, list[Comparison]] = {}
        for question in self.comparisons:
            if question.group is not None:
                found.setdefault(question.group, []).append(question)
        return found

    @property
    def titles(self) -> dict[str, str]:
        """Titles by name, of the teachers (their names) and then of the rows."""
        teachers = {one.name: one.name for one in self.teachers}
        return teachers | {row.name: row.title for row in self.rows}

    def row(self, name: str) -> StudyRow:
        """Find a row.

        Raises:
            ConfigError: if there is none of this name.
        """
        return _find(self.rows, name, "study.rows")

    def teacher(self, name: str) -> StudyTeacher:
        """Find a teacher.

        Raises:
            ConfigError: if there is none of this name.
        """
        return _find(self.teachers, name, "study.teachers")


_Named = TypeVar("_Named", StudyRow, StudyTeacher)


def read_plan(node: Mapping[str, Any]) -> StudyPlan:
    """Read the plan out of the plain values of a configuration's node.

    Args:
        node: ``name``, ``title``, ``metric``, ``seeds``, ``steps``, ``curve_points``; ``teachers``
            and ``rows`` by name; ``comparisons``, a list; ``order``. A number of steps may be a
            list, which is summed; a row without steps or seeds has the study's.

    Raises:
        ConfigError: if a name is unknown or missing, a seed is there twice, or a number of steps
            cannot be validated at evenly spread points.
    """
    _known(node, "study", "study")
    points = _natural(node.get("curve_points", 1), "study.curve_points")
    teachers = tuple(_teacher(name, of) for name, of in (node.get("teachers") or {}).items())
    rows = tuple(_row(name, of, node, teachers) for name, of in (node.get("rows") or {}).items())
    if not rows:
        raise ConfigError("there is no row to run.", where="study.rows")
    plan = StudyPlan(
        name=str(node["name"]),
        title=str(node.get("title", node["name"])),
        metric=str(node.get("metric", "L2_mAPH")),
        curve_points=points,
        teachers=teachers,
        rows=rows,
        comparisons=tuple(_comparison(of) for of in node.get("comparisons") or ()),
        order=_order(node.get("order", _ORDERS[0])),
    )
    for question in plan.comparisons:
        for name in (question.row, question.base):
            plan.row(name)
    for row in rows:
        if row.teacher is not None:
            plan.teacher(row.teacher)
    for where, steps in [
        *((f"study.teachers.{one.name}", one.steps) for one in teachers),
        *((f"study.rows.{row.name}", row.steps) for row in rows),
    ]:
        _check_points(steps, points, where)
    return plan


def _check_points(steps: int, points: int, where: str) -> None:
    if steps % points:
        raise ConfigError(
            f"{steps} steps cannot be validated at {points} evenly spread points.",
            where=where,
            hint=f"Take a multiple of study.curve_points, such as {-(-steps // points) * points}.",
        )


def _teacher(name: str, node: Mapping[str, Any]) -> StudyTeacher:
    where = f"study.teachers.{name}"
    _known(node, "teacher", where)
    file = node.get("file")
    return StudyTeacher(
        name=name,
        overrides=_words(node, where),
        steps=_steps(node.get("steps"), where),
        seed=int(node.get("seed", 0)),
        file=None if file is None else str(file),
    )


def _row(
    name: str, node: Mapping[str, Any], study: Mapping[str, Any], teachers: Sequence[StudyTeacher]
) -> StudyRow:
    where = f"study.rows.{name}"
    _known(node, "row", where)
    steps = node.get("steps")
    seeds = node.get("seeds")
    teacher = node.get("teacher")
    if teacher is None and len(teachers) > 1:
        raise ConfigError(
            "the row does not say which teacher is its own.",
            where=f"{where}.teacher",
            hint=f"There are: {', '.join(one.name for one in teachers)}.",
        )
    return StudyRow(
        name=name,
        title=str(node.get("title", name)),
        overrides=_words(node, where),
        steps=_steps(study.get("steps") if steps is None else steps, where),
        seeds=_seeds(study.get("seeds") if seeds is None else seeds, where),
        teacher=str(teacher) if teacher is not None else (teachers[0].name if teachers else None),
    )


def _comparison(node: Mapping[str, Any]) -> Comparison:
    _known(node, "comparison", "study.comparisons")
    try:
        row, base = str(node["row"]), str(node["base"])
    except KeyError as error:
        raise ConfigError(f"a comparison lacks its {error}.", where="study.comparisons") from error
    group = node.get("group")
    title = str(node.get("title", f"{row} - {base}"))
    return Comparison(row, base, title, None if group is None else str(group))


def _order(value: object) -> str:
    if value not in _ORDERS:
        raise ConfigError(
            f"{value!r} is no order of runs.",
            where="study.order",
            hint=f"There are: {', '.join(_ORDERS)}.",
        )
    return str(value)


def _words(node: Mapping[str, Any], where: str) -> tuple[str, ...]:
    words = node.get("overrides") or []
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise ConfigError(
            f"{words!r} is not a list of overrides.",
            where=f"{where}.overrides",
            hint="Write [kd=none, data.batch_size=4].",
        )
    return tuple(words)


def _steps(value: object, where: str) -> int:
    parts = value if isinstance(value, list | tuple) else [value]
    return sum(_natural(part, f"{where}.steps") for part in parts)


def _seeds(value: object, where: str) -> tuple[int, ...]:
    seeds: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    if not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ConfigError(
            f"{value!r} is not a list of seeds.", where=where, hint="Write study.seeds=[0,1,2]."
        )
    doubled = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if doubled:
        raise ConfigError(
            f"the seeds {seeds} hold {', '.join(map(str, doubled))} more than once: "
            "the same run twice proves nothing.",
            where=where,
            hint="Name every seed once.",
        )
    return tuple(seeds)


def _natural(value: object, where: str) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{value!r} is not a number from 1.", where=where)
    return value


def _known(node: Mapping[str, Any], kind: str, where: str) -> None:
    unknown = sorted(set(node) - _KEYS[kind])
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)} is no option of a {kind}.",
            where=where,
            hint=f"There are: {', '.join(sorted(_KEYS[kind]))}.",
        )


def _find(among: Iterable[_Named], name: str, where: str) -> _Named:
    by_name = {one.name: one for one in among}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, 1)
    raise ConfigError(
        f"there is no {name!r}.",
        where=where,
        hint=f"{f'Did you mean {near[0]}? ' if near else ''}There are: {', '.join(by_name)}.",
    )
