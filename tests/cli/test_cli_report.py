import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from kd3d.cli.report import (
    Picture,
    ReportContext,
    RunResult,
    print_results,
    read_results,
    render_report,
    write_report,
)
from kd3d.cli.results import classes_of, differences
from kd3d.errors import InputError, OutputError


def metrics(base: float) -> dict[str, float]:
    values = {}
    for order, name in enumerate(("Vehicle", "Pedestrian", "Cyclist")):
        for level, drop in (("L1", 0.0), ("L2", 0.05)):
            values[f"{name}/{level}_AP"] = base - 0.1 * order - drop
            values[f"{name}/{level}_APH"] = base - 0.1 * order - drop - 0.01
    for level, drop in (("L1", 0.0), ("L2", 0.05)):
        values[f"{level}_mAP"] = base - 0.1 - drop
        values[f"{level}_mAPH"] = base - 0.1 - drop - 0.01
    return values


@pytest.fixture
def results() -> list[RunResult]:
    teacher = RunResult(
        "teacher", "teacher", "cp_pillar", "random", 5224043, 812.34, metrics(0.75), 1200, 250.4
    )
    plain = RunResult(
        "plain", "plain student", "cp_pillar_v064", "random", 330000, 51.2, metrics(0.6), 1000, 90.0
    )
    distilled = replace(
        plain,
        name="distilled",
        role="distilled student",
        initialisation="prefix",
        metrics=metrics(0.65) | {"Cyclist/L2_APH": 0.30},
        seconds=3725.0,
    )
    return [teacher, plain, distilled]


@pytest.fixture
def context() -> ReportContext:
    return ReportContext(
        title="Pillars",
        command="kd3d-train experiment=cp_pillar_kd scale=demo",
        date="2026-11-20",
        machine="A processor (2 cores)",
        versions={"python": "3.11.9", "torch": "2.13.0"},
        data="2 simulated segments",
        notes=["Objects outside the range are dropped for all runs alike."],
        pictures=[Picture("bev.png", "One frame from above")],
    )


def row_of(report: str, start: str) -> list[str]:
    (line,) = [line for line in report.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_report_has_what_a_reader_needs(results, context):
    report = render_report(results, context)
    for text in (
        "# Pillars",
        "```\nkd3d-train experiment=cp_pillar_kd scale=demo\n```",
        "2026-11-20",
        "A processor (2 cores)",
        "python 3.11.9, torch 2.13.0",
        "2 simulated segments",
        "- Objects outside the range are dropped for all runs alike.",
        "![One frame from above](bev.png)",
    ):
        assert text in report


def test_main_table_is_in_percent(results, context):
    report = render_report(results, context)
    main = report[report.index("## Results") : report.index("| Run | Role")]
    assert row_of(main, "teacher") == [
        "teacher",
        "cp_pillar",
        "64.00",
        "59.00",
        "69.00 (70.00)",
        "59.00 (60.00)",
        "49.00 (50.00)",
        "5,224,043",
        "812.3",
    ]


def test_difference_row_is_distilled_minus_plain_with_signs(results, context):
    row = row_of(render_report(results, context), "**distilled - plain**")
    assert row[2:5] == ["**+5.00**", "**+5.00**", "**+5.00 (+5.00)**"]
    assert row[6] == "**-4.00 (+5.00)**"  # 0.30 against 0.34


def test_difference_pairs_a_distilled_student_with_every_plain_one_of_its_detector(results):
    other = replace(results[1], name="other plain", detector="cp_pillar_v040", metrics=metrics(0.1))
    lonely = replace(results[2], name="lonely", detector="cp_pillar_v048")
    later = replace(results[1], name="later plain", metrics=metrics(0.2))
    found = differences([other, *results, later, lonely])
    assert list(found) == ["distilled - plain", "distilled - later plain"]
    assert found["distilled - plain"]["L1_mAP"] == pytest.approx(0.05)


def test_no_difference_row_without_a_plain_student(results, context):
    assert "- plain" not in render_report([results[0], results[2]], context)


def test_every_class_and_level_is_listed(results, context):
    report = render_report(results, context)
    classes = report[report.index("## Per class") : report.index("## Notes")]
    assert "| Pedestrian | plain | 50.00 | 49.00 | 45.00 | 44.00 |" in classes
    assert "| mean | plain | 50.00 | 49.00 | 45.00 | 44.00 |" in classes
    assert classes.count("\n|") == 1 + 1 + 3 * 3 + 3 - 1 + 1  # header, rule, classes x runs, means


def test_training_table_tells_time_and_loaded_networks(results, context):
    loaded = replace(results[0], steps=0, seconds=0.0)
    report = render_report([loaded, *results[1:]], context)
    training = report[report.index("| Run | Role") : report.index("## Per class")]
    assert row_of(training, "teacher")[3:] == ["loaded", "-"]
    assert row_of(training, "plain")[3:] == ["1,000", "1 min 30 s"]
    assert row_of(training, "distilled")[3:] == ["1,000", "1 h 02 min"]


def test_a_class_without_objects_is_a_dash_and_null(results, context, tmp_path):
    empty = replace(results[0], metrics=metrics(0.75) | {"Cyclist/L2_APH": math.nan})
    report = write_report(tmp_path, [empty], context).read_text()
    assert "- (50.00)" in report
    assert "nan" not in report
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["runs"][0]["metrics"]["Cyclist/L2_APH"] is None
    assert math.isnan(read_results(tmp_path / "metrics.json")[0].metrics["Cyclist/L2_APH"])


def test_metrics_json_round_trips(results, context, tmp_path):
    write_report(tmp_path / "new" / "folder", results, context)
    path = tmp_path / "new" / "folder" / "metrics.json"
    assert read_results(path) == results
    assert json.loads(path.read_text())["differences"]["distilled - plain"]["Cyclist/L2_APH"] == (
        pytest.approx(-0.04)
    )
    assert sorted(item.name for item in path.parent.iterdir()) == ["metrics.json", "report.md"]


def test_a_name_cannot_break_the_table(results, context):
    report = render_report([replace(results[0], name="a|b")], context)
    assert "| a\\|b | cp_pillar |" in report


def test_classes_keep_the_metrics_order(results):
    assert classes_of(results) == ["Vehicle", "Pedestrian", "Cyclist"]


@pytest.mark.parametrize("width", [80, 140])
def test_results_are_printed_in_a_column_per_run(results, width):
    console = Console(file=io.StringIO(), width=width)
    print_results(results, title="Validation", console=console)
    printed = console.file.getvalue()
    lines = [line.split() for line in printed.splitlines()]
    assert "Validation" in printed
    assert [
        "L2",
        "APH,",
        "percent",
        "mean",
        "Vehicle",
        "Pedestrian",
        "Cyclist",
        "ms/frame",
    ] in lines
    assert lines[-1][:5] == ["distilled", "-", "plain", "+5.00", "+5.00"]
    assert ["plain", "44.00"] in [line[:2] for line in lines]
    assert "…" not in printed
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_bad_results_are_refused(results, context):
    with pytest.raises(InputError, match="no result"):
        render_report([], context)
    with pytest.raises(InputError, match="2 runs are called 'teacher'"):
        print_results([results[0], results[0]])


@pytest.mark.parametrize("text", [None, "{", "[]", '{"runs": [{"name": "x"}]}', '{"runs": [3]}'])
def test_a_foreign_metrics_file_is_named(text, tmp_path):
    path = tmp_path / "metrics.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(OutputError, match=r"metrics\.json.*run the command again"):
        read_results(path)


def test_an_unwritable_folder_is_named(results, context, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("mine")
    with pytest.raises(OutputError, match="file"):
        write_report(blocker, results, context)
    assert blocker.read_text() == "mine"
