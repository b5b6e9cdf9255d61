"""The plan of the method study, and the configurations of its runs."""

from pathlib import Path

import kd3d.conf
import pytest
from omegaconf import OmegaConf

from kd3d.cli.job_names import register_job_name
from kd3d.cli.resume import compose_train
from kd3d.cli.study_configs import row_config, settings_of, stage_name, teacher_run_config
from kd3d.study import read_plan, read_study
from kd3d.study.page import BEGIN, END
from kd3d.study.settings import differing

register_job_name()

WORDS = ["experiment=method_study"]
CONF = Path(kd3d.conf.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
RUNS = Path("runs")


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
    return {row.name: row_config(WORDS, plan, row, RUNS) for row in plan.rows}


@pytest.fixture(scope="module")
def teachers(plan):
    return {one.name: teacher_run_config(WORDS, plan, one, RUNS) for one in plan.teachers}


def of_pair(rows, teacher, student):
    return {
        name: config
        for name, config in rows.items()
        if (config.teacher.name, config.student.name) == (teacher, student)
    }


def methods(plan, configs):
    """What each row asks for of the group kd, and what its line of the table says."""
    titles = {question.row: question.title for question in plan.comparisons}
    found = set()
    for name, config in configs.items():
        words = [word.removeprefix("kd=") for word in plan.row(name).overrides if "kd=" in word]
        (method,) = words or ["none"]
        assert bool(config.kd.objectives) == (method != "none")
        if method != "none":
            assert titles[name].replace(",", " ").split()[0] == method
        found.add(method)
    return found


def test_every_method_is_tried_on_the_narrowest_pillars(plan, rows):
    found = of_pair(rows, "cp_pillar", "cp_pillar_v064")
    every = {path.stem for path in (CONF / "kd").glob("*.yaml")} - {"anchor"}  # no anchors here
    assert methods(plan, found) == every
    assert {str(config.init.strategy) for config in found.values()} == {"copy"}
    assert {plan.row(name).seeds for name in found} == {(0, 1, 2)}


def test_pivots_and_a_sum_with_features_are_tried_where_every_method_is(rows):
    logit = {name: config.kd.objectives.get("logit") for name, config in rows.items()}
    for kind in ("confidence", "rank", "foreground"):
        assert logit[f"v064_pp_{kind}"].pivots == kind
    assert logit["v064_pp_logit"].pivots == "gaussian"
    both = rows["v064_sparsekd_fitnet"].kd.objectives
    fitnet = OmegaConf.load(CONF / "kd" / "fitnet.yaml").objectives.fitnet
    assert both.fitnet.weight == fitnet.weight
    assert both.logit == logit["v064_sparsekd"]


def test_the_other_pairs_have_what_the_protocol_says(plan, rows):
    pairs = {
        ("cp_pillar", "cp_pillar_v040"): {"none", "sparsekd"},
        ("cp_pillar", "cp_pillar_v048"): {"none", "sparsekd"},
        ("cp_voxel", "cp_voxel_s"): {"none", "sparsekd"},
        ("cp_voxel", "cp_voxel_xxs"): {"none", "sparsekd"},
        ("cp_voxel", "cp_voxel_xs"): {"none", "vanilla", "label", "sparsekd"},
    }
    for pair, expected in pairs.items():
        found = {
            name: config
            for name, config in of_pair(rows, *pair).items()
            if not name.startswith("start_")
        }
        assert methods(plan, found) == expected
        start = "copy" if pair[0] == "cp_pillar" else "prefix"
        assert {config.init.strategy for config in found.values()} == {start}
        assert {plan.row(name).seeds for name in found} == {(0, 1, 2)}


def test_every_strategy_of_initialisation_is_tried_without_distillation(plan, rows):
    starts = {
        name: config
        for name, config in of_pair(rows, "cp_voxel", "cp_voxel_xs").items()
        if not config.kd.objectives
    }
    assert {config.init.strategy for config in starts.values()} == {
        *(None, "prefix", "bn_scale", "l1_norm", "reference_prefix")
    }
    assert {plan.row(name).seeds[:2] for name in starts} == {(0, 1)}
    assert len({plan.row(name).steps for name in starts}) == 1


def test_rows_of_a_pair_differ_in_the_method_alone(rows):
    for student in ("v064", "v040", "v048", "xs", "s", "xxs"):
        base = rows[f"{student}_none"]
        for name, config in rows.items():
            if name.startswith(f"{student}_"):
                keys = differing(*(OmegaConf.to_container(c, resolve=True) for c in (base, config)))
                assert {key.split(".")[0] for key in keys} <= {"run", "kd"}


def test_every_row_is_in_a_table_and_compared_with_its_own_start(plan, rows):
    compared = {q.row for q in plan.comparisons} | {q.base for q in plan.comparisons}
    assert compared == {row.name for row in plan.rows}
    assert all(question.group for question in plan.comparisons)
    for question in plan.comparisons:
        assert rows[question.row].student == rows[question.base].student
        assert plan.row(question.row).steps == plan.row(question.base).steps


def test_the_pillar_teacher_is_the_gain_studys_own(plan, teachers):
    words = ["experiment=gain_study"]
    gain = plan_of(words)
    theirs = teacher_run_config(words, gain, gain.teachers[0], RUNS)
    assert differing(settings_of(theirs), settings_of(teachers["pillar"])) == {}
    pillar = plan.teacher("pillar")
    assert pillar.seed == gain.teachers[0].seed
    assert pillar.file == f"docs/results/gain_study/teachers/{gain.teachers[0].name}.ckpt"
    kd = row_config(words, gain, gain.row("kd_init"), RUNS)
    mine = row_config(WORDS, plan, plan.row("v064_sparsekd"), RUNS)
    assert differing(settings_of(kd), settings_of(mine)) == {}


def test_teachers_have_seeds_of_their_own_and_points_that_show_convergence(plan, teachers):
    seeds = {seed for row in plan.rows for seed in row.seeds}
    assert all(one.seed not in seeds for one in plan.teachers)
    assert {name: config.teacher.name for name, config in teachers.items()} == {
        "pillar": "cp_pillar",
        "voxel": "cp_voxel",
    }
    assert {config.optimizer.hold_fraction for config in teachers.values()} == {0.2}
    assert plan.curve_points % 5 == 0
    assert {plan.row(name).teacher for name in ("v064_none", "v040_none")} == {"pillar"}
    assert {row.teacher for row in plan.rows if "voxel" in str(row.overrides)} == {"voxel"}


def test_ranges_fit_the_cells_and_objects_are_the_same_for_all(rows, teachers):
    for config in (*rows.values(), *teachers.values()):
        assert list(config.data.object_range) == [-38.4, -12.8, -2.0, 38.4, 12.8, 4.0]
        assert config.teacher.point_cloud_range == config.student.point_cloud_range
        low, high = config.student.point_cloud_range[:2], config.student.point_cloud_range[3:5]
        for network in (config.student, config.teacher):
            voxels = network.get("voxel_size")
            cells = network.cell_size if voxels is None else voxels[:2]
            stride = 4 if voxels is None else 16
            for axis in (0, 1):
                count = (high[axis] - low[axis]) / (cells[axis] * stride)
                assert count == pytest.approx(round(count)), network.name
    assert rows["v048_none"].student.point_cloud_range[4] == 13.44


def test_a_part_of_the_study_says_something(plan, rows):
    assert plan.order == "rows"
    first = [row.name for row in plan.rows[:13]]
    (kinds,) = [of for title, of in plan.groups.items() if title.endswith("v0.64")]
    plain = {question.row for question in kinds if question.title.isidentifier()}
    assert set(first) == {"v064_none", *plain}
    assert first[0] == "v064_none"
    assert {stage_name(rows[name]) for name in first[1:]} == {"student"}


def test_the_page_has_a_place_for_the_results():
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert END in page


def test_the_smallest_version_is_the_same_plan(plan):
    words = ["experiment=method_study_smoke"]
    tiny = plan_of(words)
    assert [row.name for row in tiny.rows] == [row.name for row in plan.rows]
    assert {row.steps for row in tiny.rows} | {one.steps for one in tiny.teachers} == {2}
    assert tiny.comparisons == plan.comparisons
    assert all(one.file is None for one in tiny.teachers)


def test_the_readme_tells_the_gains_that_were_measured(plan):
    found = read_study(PAGE.parent / "results" / "method_study")
    questions = {question.row: question for question in plan.comparisons}
    lines = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8").splitlines()
    table = [
        line.split(" | ") for line in lines if line.startswith("| ") and "docs/methods.md#" in line
    ]
    told = {cells[1].strip("`"): cells[-1].strip(" |") for cells in table}
    measured = {}
    for name in told:
        question = questions.get(f"v064_{name}")
        gain = None if question is None else found.difference(question, plan.metric)
        if gain is None or gain.low is None:
            measured[name] = ""
            continue
        sure = gain.low > 0 or gain.high < 0
        measured[name] = f"**{100 * gain.mean:+.1f}**" if sure else f"{100 * gain.mean:+.1f}"
    assert len(told) == 14
    assert told == measured
