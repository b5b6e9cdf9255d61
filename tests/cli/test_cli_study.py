"""The configurations of a study's runs."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd3d.cli.job_names import register_job_name
from kd3d.cli.resume import compose_train, find_run, load_run, store_run
from kd3d.cli.study_configs import (
    row_config,
    settings_of,
    stage_name,
    teacher_run_config,
    with_teacher,
)
from kd3d.errors import ConfigError, OutputError
from kd3d.study import read_plan
from kd3d.study.page import BEGIN, END
from kd3d.study.settings import differing

register_job_name()

WORDS = ["experiment=gain_study"]
PAGE = Path(__file__).parents[2] / "docs" / "gain-study.md"


def plan_of(words):
    node = OmegaConf.to_container(compose_train(words).study, resolve=True)
    for key in ("results", "page", "processes", "only", "report_only"):
        node.pop(key)
    return read_plan(node)


@pytest.fixture(scope="module")
def plan():
    return plan_of(WORDS)


@pytest.fixture(scope="module")
def rows(plan):
    return {row.name: row_config(WORDS, plan, row, Path("runs")) for row in plan.rows}


def test_the_study_is_the_protocol(plan):
    assert [row.name for row in plan.rows] == [
        *("plain", "plain_init", "kd", "kd_init", "plain_long")
    ]
    (teacher,) = plan.teachers
    assert all(row.seeds == (0, 1, 2, 3, 4) for row in plan.rows)
    assert all(row.steps >= 1000 for row in plan.rows)
    assert plan.row("plain_long").steps == teacher.steps + plan.row("kd_init").steps
    assert teacher.seed not in plan.rows[0].seeds
    assert (plan.comparisons[0].row, plan.comparisons[0].base) == ("kd_init", "plain_init")
    assert plan.curve_points % 5 == 0  # points at 80 % and 100 %


def test_rows_share_everything_but_what_makes_them(rows):
    student = {"run.student", "run.initialised", "run.plain"}
    assert set(differing_configs(rows["plain"], rows["plain_init"])) <= student
    assert set(differing_configs(rows["plain_init"], rows["kd_init"])) <= student
    assert set(differing_configs(rows["kd"], rows["kd_init"])) == {"init.strategy"}
    assert set(differing_configs(rows["plain"], rows["plain_long"])) == {
        *("trainer.max_steps", "trainer.val_check_interval", "teacher.max_steps")
    }


def differing_configs(one, two):
    return differing(*(OmegaConf.to_container(config, resolve=True) for config in (one, two)))


def test_objects_outside_the_range_are_dropped_for_all_rows_alike(rows, plan):
    teacher = teacher_run_config(WORDS, plan, plan.teachers[0], Path("runs"))
    ranges = {str(config.data.object_range) for config in (*rows.values(), teacher)}
    assert ranges == {str([-38.4, -12.8, -2.0, 38.4, 12.8, 4.0])}


def test_every_run_trains_one_network_and_draws_nothing(rows, plan):
    assert {name: stage_name(config) for name, config in rows.items()} == {
        "plain": "plain",
        "plain_init": "initialised",
        "kd": "student",
        "kd_init": "student",
        "plain_long": "plain",
    }
    teacher = teacher_run_config(WORDS, plan, plan.teachers[0], Path("runs"))
    assert stage_name(teacher) == "teacher"
    assert (teacher.teacher.max_steps, teacher.teacher.seed) == (plan.teachers[0].steps, 1000)
    for config in (*rows.values(), teacher):
        assert config.callbacks.pictures is None
        assert config.report.picture_frame is None
        assert config.study is None
        assert config.trainer.max_steps % config.trainer.val_check_interval == 0
    assert (
        rows["plain_long"].trainer.val_check_interval == rows["plain_long"].trainer.max_steps // 5
    )


def test_the_settings_of_a_row_are_what_its_numbers_depend_on(rows, plan):
    before = {name: settings_of(config) for name, config in rows.items()}
    words = [
        *WORDS,
        *("kd.objectives.logit.weight=1.0", "data.root=elsewhere", "data.num_workers=3"),
        *("log_dir=x", "logger=none", "teacher.check_frames=1"),
    ]
    after = {row.name: settings_of(row_config(words, plan, row, Path("y"))) for row in plan.rows}
    changed = {name: set(differing(before[name], after[name])) for name in before}
    kd = {"kd.objectives.logit.weight", "kd.teacher_check_frames", "teacher.check_frames"}
    assert changed == {
        "plain": set(),
        "plain_init": {"teacher.check_frames"},
        "kd": kd,
        "kd_init": kd,
        "plain_long": set(),
    }


def test_which_weights_are_reported_is_a_setting(rows):
    best = rows["plain"].copy()
    best.run.weights = "best"
    assert differing(settings_of(rows["plain"]), settings_of(best)) == {
        "run.weights": ("last", "best")
    }


def test_the_seed_is_no_setting(rows):
    config = rows["kd"].copy()
    config.seed = 4
    assert config.data.seed == 4
    assert settings_of(config) == settings_of(rows["kd"])


def test_only_rows_that_use_a_teacher_are_told_of_its_file(rows):
    named = {
        name: with_teacher(config.copy(), Path("t.ckpt")).teacher.checkpoint
        for name, config in rows.items()
    }
    assert named["plain"] is None
    assert named["plain_long"] is None
    assert {named[name] for name in ("plain_init", "kd", "kd_init")} == {
        str(Path("t.ckpt").resolve())
    }


def test_a_row_that_trains_nothing_or_two_is_refused(plan):
    words = [*WORDS, "study.rows.plain.overrides=[]"]
    with pytest.raises(ConfigError, match=r"trains nothing\. Have it say one of run\.student"):
        row_config(words, plan_of(words), plan_of(words).row("plain"), Path("runs"))


def test_an_override_that_does_not_fit_is_one_clear_error(plan):
    words = [*WORDS, "study.rows.kd.overrides=['optimizer.max_rat=1']"]
    with pytest.raises(ConfigError, match=r"study\.rows\.kd: .*optimizer\.max_rat"):
        row_config(words, plan, plan_of(words).row("kd"), Path("runs"))


def test_a_stored_run_can_be_resumed(rows, tmp_path):
    store_run(tmp_path / "run", rows["kd"], [*WORDS, "seed=3"])
    folder = find_run([f"resume={tmp_path / 'run'}"])
    found = load_run(folder, [])
    assert found.config == rows["kd"]
    assert found.words == (*WORDS, "seed=3")
    assert found.started_in == Path.cwd()


def test_the_last_run_is_the_study_and_not_one_of_its_own(rows, tmp_path):
    study = tmp_path / "log" / "study"
    store_run(study, rows["kd"], WORDS)
    store_run(study / "runs" / "kd-seed0", rows["kd"], WORDS)
    assert find_run(["resume=last", f"log_dir={tmp_path / 'log'}"]) == study.resolve()
    with pytest.raises(OutputError, match="there is no run"):
        find_run(["resume=last", f"log_dir={tmp_path / 'none'}"])


def test_the_page_has_a_place_for_the_results():
    text = PAGE.read_text()
    assert text.index(BEGIN) < text.index(END)
