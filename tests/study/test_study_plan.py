"""Plans: what they hold, and what they refuse."""

import copy

import pytest
from study_cases import NODE, plan

from kd3d.errors import ConfigError
from kd3d.study import read_plan


def changed(path, value):
    node = copy.deepcopy(NODE)
    *names, last = path.split(".")
    place = node
    for name in names:
        place = place[name]
    place[last] = value
    return node


def test_rows_take_what_they_do_not_say_from_the_study():
    found = plan()
    plain, kd, longer = found.rows
    assert (plain.steps, plain.seeds, plain.teacher) == (100, (0, 1, 2), "teacher")
    assert kd.overrides == ("run.student=true",)
    assert (longer.title, longer.steps) == ("long", 300)  # a list of steps is summed
    assert list(found.titles) == ["teacher", "plain", "kd", "long"]


def test_rows_may_have_seeds_and_steps_of_their_own():
    found = read_plan(changed("rows.kd.seeds", [4, 5]))
    assert [row.seeds for row in found.rows] == [(0, 1, 2), (4, 5), (0, 1, 2)]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("seeds", [0, 1, 1], r"hold 1 more than once"),
        ("rows.kd.seeds", [3, 3], r"study\.rows\.kd: the seeds .* hold 3 more than once"),
        ("seeds", [], "not a list of seeds"),
        ("seeds", ["a"], "not a list of seeds"),
        ("rows", {}, "there is no row to run"),
        ("rows.kd.overrides", "kd=none", "not a list of overrides"),
        ("rows.kd.step", 3, r"step is no option of a row"),
        ("rows.kd.steps", 0, "0 is not a number from 1"),
        (
            "rows.kd.steps",
            101,
            r"study\.rows\.kd: 101 steps cannot be validated at 5 .* such as 105",
        ),
        ("rows.kd.teacher", "techer", "Did you mean teacher"),
        ("comparisons", [{"row": "kdd", "base": "plain"}], "there is no 'kdd'.*Did you mean kd"),
        ("comparisons", [{"row": "kd"}], "lacks its 'base'"),
        ("surprise", 1, "surprise is no option of a study"),
        ("order", "shortest", r"study\.order: 'shortest' is no order of runs.*longest, rows"),
    ],
)
def test_what_cannot_work_is_refused(path, value, told):
    with pytest.raises(ConfigError, match=told):
        read_plan(changed(path, value))


def test_questions_of_a_group_share_a_table():
    one = {"row": "kd", "base": "plain", "title": "distilled", "group": "A to B"}
    two = {"row": "long", "base": "plain", "title": "longer", "group": "A to B"}
    found = plan(comparisons=[one, {"row": "kd", "base": "long"}, two], order="rows")
    assert {title: [q.row for q in of] for title, of in found.groups.items()} == {
        "A to B": ["kd", "long"]
    }
    assert [question.name for question in found.comparisons] == [
        *("A to B, distilled", "kd - long", "A to B, longer")
    ]
    assert (found.order, plan().order) == ("rows", "longest")
    assert plan().groups == {}


def test_a_teacher_may_be_a_file_of_another_study():
    found = read_plan(changed("teachers.teacher.file", "other/teachers/t.ckpt"))
    assert found.teachers[0].file == "other/teachers/t.ckpt"
    assert plan().teachers[0].file is None


def test_with_two_teachers_a_row_has_to_say_which():
    teachers = {"small": {"steps": 10}, "large": {"steps": 10}}
    with pytest.raises(ConfigError, match=r"rows\.plain\.teacher: .*small, large"):
        plan(teachers=teachers)
    rows = {name: {"teacher": "large"} for name in ("plain", "kd")}
    assert plan(teachers=teachers, rows=rows).row("kd").teacher == "large"
