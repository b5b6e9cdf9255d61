"""Methods against pairs: tables, CSV, pictures and the page."""

import csv
import io
from pathlib import Path

import pytest
from method_cases import PAIRS, method_plan, method_run, method_runs
from study_cases import NODE, plan, runs

from kd3d.errors import OutputError
from kd3d.study import Failure, paired, write_run
from kd3d.study.compared import ComparedGroup, Line, class_names, groups_of, metric_names
from kd3d.study.kept_plan import (
    is_study,
    read_failures,
    read_kept_plan,
    write_failures,
    write_plan,
)
from kd3d.study.method_pictures import save_gain_bars
from kd3d.study.method_tables import cost_table, group_table, lines_csv, overviews
from kd3d.study.page import PageContext, render_page
from kd3d.study.pictures import save_pictures
from kd3d.study.summary import Summary
from kd3d.study.tables import verdict

METRIC = "L2_mAPH"


def summary(*without, **changes):
    return Summary(method_plan(**changes), method_runs(*without))


def cells(table, title):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line[1:-1].split("|")]


def test_every_group_has_its_base_first_and_its_teacher():
    small, tiny, starts = groups_of(summary())
    assert [group.title for group in (small, tiny, starts)] == [*PAIRS, "Starts"]
    assert [(line.title, line.base) for line in small.lines] == [
        *(("none", None), ("fitnet", "none"), ("label", "none")),
    ]
    assert [line.title for line in starts.lines] == ["random", "prefix"]
    assert small.teacher.metrics[METRIC] == 0.5
    assert [run.row for run in tiny.runs] == ["tiny_none"] * 3 + ["tiny_label"] * 3


def test_gains_are_paired_by_seed_and_only_over_seeds_of_both():
    small, _, starts = groups_of(summary(("small_none", 1)))
    fitnet = small.line("fitnet")
    assert small.gain(fitnet, METRIC) == paired({0: 0.33, 2: 0.32}, {0: 0.30, 2: 0.28})
    assert fitnet.mean(METRIC).count == 3
    assert starts.gain(starts.line("prefix"), METRIC).count == 2
    assert small.gain(small.line("none"), METRIC).count == 0


def test_a_study_without_groups_is_one_table():
    (group,) = groups_of(Summary(plan(), runs()))
    assert (group.title, group.teacher.row) == ("Small study", "teacher")
    assert [(line.title, line.base) for line in group.lines] == [
        *(("plain", None), ("distilled", "plain"), ("long", None)),
    ]


def test_a_row_with_several_bases_has_a_line_for_each():
    more = {"row": "kd", "base": "long", "title": "KD beats training for longer"}
    both = plan(comparisons=[*NODE["comparisons"], more])
    (group,) = groups_of(Summary(both, runs()))
    assert [(line.title, line.base) for line in group.lines] == [
        *(("plain", None), ("distilled", "plain"), ("distilled", "long"), ("long", None)),
    ]
    assert group.gain(group.lines[2], METRIC).mean == pytest.approx(0.02)
    assert len(group.runs) == 9  # each run once
    assert [row["base"] for row in csv.DictReader(io.StringIO(lines_csv([group], METRIC)))] == [
        *("", "plain", "long", ""),
    ]


def test_differences_are_those_of_seeds_that_both_have():
    small, *_ = groups_of(summary(("small_none", 1)))
    assert small.differences(small.line("fitnet"), METRIC) == pytest.approx({0: 0.03, 2: 0.04})
    assert small.differences(small.line("none"), METRIC) == {}


def test_a_gain_of_fewer_pairs_than_runs_says_so():
    _, _, starts = groups_of(summary())
    assert cells(group_table(starts, METRIC), "prefix")[1:4] == [
        *("3", "21.00 ± 1.00", "**+9.50** (2 pairs)"),
    ]


def test_the_table_of_a_pair_has_means_gains_intervals_and_classes():
    small, *_ = groups_of(summary())
    table = group_table(small, METRIC)
    # differences of 3, 2 and 4 points: mean 3, deviation 1, quantile 4.3027 of two degrees
    assert cells(table, "fitnet") == [
        *("fitnet", "3", "33.00 ± 1.00", "**+3.00**", "+0.52 to +5.48"),
        *("43.00 (53.00)", "23.00 (33.00)"),
    ]
    assert cells(table, "label")[3:5] == ["**-1.33**", "-2.77 to +0.10"]
    assert cells(table, "none")[1:5] == ["3", "30.00 ± 2.00", "", "-"]
    assert cells(table, "teacher")[2] == "50.00"
    assert "| gain over none |" in table
    assert "| Vehicle L2 APH (AP) |" in table


def test_lines_with_several_bases_say_which():
    a, b = (Line(name, (method_run("small_none", 0, 0.2),)) for name in "ab")
    c = Line("c", (method_run("small_label", 0, 0.3),), "a")
    d = Line("d", (method_run("small_label", 0, 0.4),), "b")
    table = group_table(ComparedGroup("x", (a, b, c, d)), METRIC)
    assert cells(table, "c")[1:5] == ["a", "1", "30.00", "**+10.00**"]
    assert cells(table, "d")[1] == "b"


def test_methods_are_laid_out_against_the_pairs_with_the_same_base():
    (table,) = overviews(groups_of(summary()), METRIC)
    assert table.splitlines()[0] == f"| Method | {PAIRS[0]} | {PAIRS[1]} |"
    assert cells(table, "teacher")[1:] == ["50.00", "50.00"]
    assert cells(table, "none")[1:] == ["30.00 ± 2.00", "21.00 ± 1.00"]
    assert cells(table, "fitnet")[1:] == ["33.00 ± 1.00 (+3.00)", ""]
    assert cells(table, "label")[2] == "22.00 ± 2.65 (+1.00)"
    assert "prefix" not in table
    assert overviews(groups_of(summary())[:1], METRIC) == []


def test_costs_are_of_networks_and_latency_is_the_median_of_their_runs():
    table = cost_table(groups_of(summary()))
    assert len(table.splitlines()) == 2 + 3
    assert cells(table, "net_small") == ["net_small", "2,000", "2.000 G", "11.0"]
    assert cells(table, "net_tiny")[1:3] == ["500", "0.500 G"]
    assert cells(table, "net_teacher")[2] == "-"  # its operations were not counted


def test_the_csv_parses_and_holds_every_line():
    rows = list(csv.DictReader(io.StringIO(lines_csv(groups_of(summary()), METRIC))))
    assert [(row["pair"], row["method"]) for row in rows] == [
        *((PAIRS[0], "none"), (PAIRS[0], "fitnet"), (PAIRS[0], "label")),
        *((PAIRS[1], "none"), (PAIRS[1], "label")),
        *(("Starts", "random"), ("Starts", "prefix")),
    ]
    fitnet = rows[1]
    assert (fitnet["base"], fitnet["seeds"], fitnet["macs"]) == ("none", "3", "2000000000")
    assert float(fitnet["gain"]) == pytest.approx(0.03, abs=1e-6)
    assert float(fitnet["gain_low"]) == pytest.approx(0.00516, abs=1e-5)
    assert float(fitnet["Vehicle/L1_AP"]) == pytest.approx(0.73, abs=1e-6)
    assert float(fitnet["latency_ms"]) == 11.0
    assert not any("0-30m" in name for name in fitnet)
    assert rows[0]["gain"] == ""


def test_a_line_without_runs_is_dashes_and_empty_fields():
    found = groups_of(summary(*(("small_fitnet", seed) for seed in range(3))))
    assert cells(group_table(found[0], METRIC), "fitnet")[1:] == ["0", "-", "", "-", "-", "-"]
    row = list(csv.DictReader(io.StringIO(lines_csv(found, METRIC))))[1]
    assert (row["method"], row["mean"], row["detector"], row["macs"]) == ("fitnet", "", "", "")
    assert cells(overviews(found, METRIC)[0], "fitnet")[1] == "-"


def test_names_of_classes_and_metrics_leave_rings_out():
    found = method_runs()
    assert class_names(found) == ["Vehicle", "Cyclist"]
    assert metric_names(found)[:2] == ["L2_mAPH", "L2_mAP"]
    assert len(metric_names(found)) == 2 + 2 * 4


def test_every_pair_with_a_gain_has_a_picture(tmp_path):
    without = [("tiny_label", seed) for seed in range(3)]
    made = save_gain_bars(groups_of(summary(*without)), METRIC, tmp_path)
    assert {title: path.name for title, path in made.items()} == {
        PAIRS[0]: "gains-big-to-small.png",
        "Starts": "gains-starts.png",
    }
    for path in made.values():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_pairs_of_one_name_keep_their_pictures_apart(tmp_path):
    small, *_ = groups_of(summary())
    twin = ComparedGroup("Big -- to small", small.lines)
    made = save_gain_bars([small, twin], METRIC, tmp_path)
    assert len({path.name for path in made.values()}) == 2


def test_the_page_of_a_grouped_study_is_tables_and_its_own_pictures(tmp_path):
    whole = summary(("tiny_label", 2))
    pictures = save_pictures(whole, tmp_path / "results")
    context = PageContext("kd3d-train experiment=x", [], [], pictures)
    text = render_page(whole, context, tmp_path)
    assert "![Big to small](results/gains-big-to-small.png)" in text
    assert text.index("### Big to small") < text.index("](results/gains-big-to-small.png)")
    assert text.index("](results/gains-big-to-small.png)") < text.index("### Big to tiny")
    assert "**Missing:** 1 of the planned runs: tiny_label seed 2" in text
    assert "steps of teacher added" in " ".join(text.split())
    assert "Big to small, fitnet: **yes**" in verdict(whole, whole.plan.comparisons[0])


def test_plan_and_failures_survive_their_files(tmp_path):
    assert not is_study(tmp_path)
    (tmp_path / "runs" / "2026-01-01").mkdir(parents=True)
    assert not is_study(tmp_path)  # kd3d-train has a folder of this name, too
    write_run(tmp_path, method_run("small_label", 0, 0.3))
    assert is_study(tmp_path)
    (tmp_path / "runs" / "small_label-seed0.json").unlink()
    write_plan(tmp_path, method_plan(order="rows"))
    assert is_study(tmp_path)
    assert read_kept_plan(tmp_path) == method_plan(order="rows")
    assert read_failures(tmp_path) == []
    failures = [Failure("small_label seed 1", "error: no\nspace left")]
    write_failures(tmp_path, failures)
    assert read_failures(tmp_path) == failures


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"teachers": [3]}'])
def test_a_damaged_plan_is_told(tmp_path, text):
    Path(tmp_path, "plan.json").write_text(text)
    with pytest.raises(OutputError, match=r"plan\.json: is not what a study writes.*report_only"):
        read_kept_plan(tmp_path)


def test_damaged_failures_are_told(tmp_path):
    Path(tmp_path, "failures.json").write_text('[{"surname": 1}]')
    with pytest.raises(OutputError, match=r"failures\.json: is not what a study writes"):
        read_failures(tmp_path)
