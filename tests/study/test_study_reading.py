"""Reading a study in a notebook: one value of a folder, tables by seed, drawings."""

import math
import subprocess
import sys

import pytest
from method_cases import method_plan, method_runs
from study_cases import NODE, plan, runs

import kd3d.study
from kd3d.errors import OutputError
from kd3d.study import Failure, estimate, read_study, write_run
from kd3d.study.bars import Bar
from kd3d.study.compared import ComparedGroup, groups_of
from kd3d.study.kept_plan import write_failures, write_plan
from kd3d.study.method_pictures import draw_gains
from kd3d.study.method_tables import seed_table
from kd3d.study.summary import Summary
from kd3d.visualize.figures import new_figure

METRIC = "L2_mAPH"


def summary(*without, **changes):
    return Summary(method_plan(**changes), method_runs(*without))


def cells(table, title):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line[1:-1].split("|")]


def test_every_seed_has_a_column_with_value_and_difference():
    table = seed_table(groups_of(summary(("small_fitnet", 1)))[0], METRIC)
    assert table.splitlines()[0] == "| Method | seed 0 | seed 1 | seed 2 |"
    assert cells(table, "none")[1:] == ["30.00", "32.00", "28.00"]
    assert cells(table, "fitnet")[1:] == ["33.00 (+3.00)", "-", "32.00 (+4.00)"]
    several = plan(comparisons=[*NODE["comparisons"], {"row": "long", "base": "kd"}])
    table = seed_table(groups_of(Summary(several, runs()))[0], METRIC)
    assert cells(table, "long")[1:3] == ["distilled", "31.00 (-2.00)"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0.03, 0.02, 0.04), "above zero"),
        ((-0.03, -0.02, -0.04), "below zero"),
        ((0.03, -0.02, 0.01), "holds zero, or none"),
        ((0.03,), "holds zero, or none"),
        ((0.03, math.nan), "holds zero, or none"),
    ],
)
def test_a_bar_says_where_its_interval_lies(values, says):
    assert Bar("x", estimate(values), values).says == says


def test_bars_have_means_seeds_and_a_legend_of_what_occurs():
    axes = new_figure(6, 3).subplots()
    small, *_ = groups_of(summary())
    draw_gains(axes, small, METRIC)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([3.0, -4 / 3])
    seeds = [line for line in axes.get_lines() if len(line.get_xdata()) == 3]
    assert list(seeds[0].get_xdata()) == pytest.approx([3.0, 2.0, 4.0])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["fitnet", "label"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        *("above zero", "holds zero, or none"),
    ]
    assert "gain over none in L2 mAPH, points" in axes.get_xlabel()
    nothing = new_figure(6, 3).subplots()
    draw_gains(nothing, ComparedGroup("x", small.lines[:1]), METRIC)
    assert not nothing.patches


def test_a_folder_is_read_as_one_value(tmp_path):
    write_plan(tmp_path, method_plan())
    for run in method_runs(("tiny_label", 2), ("small_label", 1)):
        write_run(tmp_path, run)
    failed = [Failure("tiny_label seed 2", "error"), Failure("tiny_label seed 1", "once")]
    write_failures(tmp_path, failed)
    found = read_study(str(tmp_path))
    assert found.missing() == [("small_label", 1), ("tiny_label", 2)]
    assert found.failures == failed[:1]  # the other one was repeated, and is there
    assert len(found.answered()) == 4
    without = [("tiny_none", seed) for seed in range(3)]
    answered = summary(*without).answered()
    assert [question.row for question in answered] == ["small_fitnet", "small_label"]
    with pytest.raises(OutputError, match=r"plan\.json: is not what a study writes"):
        read_study(tmp_path / "elsewhere")


def test_names_for_reading_are_there_without_making_the_package_heavy():
    for name in kd3d.study.__all__:
        assert getattr(kd3d.study, name).__name__ == name
        assert name in dir(kd3d.study)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kd3d.study.nothing  # noqa: B018
    code = "import sys, kd3d.study; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
