"""Tables, pictures and the page of a study."""

import csv
import io
import re
from pathlib import Path

import pytest
from study_cases import KD, PLAIN, plan, run, runs

from kd3d.errors import OutputError
from kd3d.study import Failure, StudySession, estimate
from kd3d.study.page import BEGIN, END, PageContext, render_page, write_page
from kd3d.study.pictures import draw_curves, draw_parts, save_pictures
from kd3d.study.summary import Summary, last_gain
from kd3d.study.tables import (
    comparison_table,
    convergence,
    detail_table,
    row_table,
    runs_csv,
    verdict,
)
from kd3d.visualize.figures import new_figure

CONTEXT = PageContext("kd3d-train experiment=x", [], [], [])


def summary(found=None, **changes):
    return Summary(plan(**changes), runs() if found is None else found)


def with_gain(*gains):
    found = [run("plain", seed, 0.3) for seed in range(len(gains))]
    return summary(found + [run("kd", seed, 0.3 + gain) for seed, gain in enumerate(gains)])


def cells(table, title):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_row_has_a_line_with_means_and_spreads():
    table = row_table(summary())
    assert len(table.splitlines()) == 2 + 4
    assert cells(table, "plain") == [
        *("plain", "100", "3", "30.00 ± 2.00", "40.00 ± 2.00", "20.00 ± 2.00"),
        *("1.5 min", "1.0 min"),
    ]
    assert cells(table, "teacher")[1:4] == ["200", "1", "50.00"]


def test_differences_are_paired_by_seed():
    table = comparison_table(summary())
    # 3, 2 and 4 points: mean 3, deviation 1, quantile 4.3027 of two degrees of freedom
    assert cells(table, "KD helps")[1:] == [
        *("**+3.00**", "+0.52 to +5.48"),
        *(f"{100 * (kd - base):+.2f}" for kd, base in zip(KD, PLAIN, strict=True)),
    ]


def test_classes_and_rings_have_lines_and_empty_rings_none():
    table = detail_table(summary(), plan().comparisons[0])
    lines = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    assert [(one.strip(), two.strip()) for one, two in lines] == [
        *(("mean", "all"), ("mean", "0-30m")),
        *(("Vehicle", "all"), ("Vehicle", "0-30m")),
        *(("Cyclist", "all"), ("Cyclist", "0-30m")),
    ]
    assert "| Vehicle | 0-30m | 50.00 ± 2.00 | 53.00 ± 1.00 | +3.00 |" in table


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        (
            (0.03, 0.02, 0.04),
            r"\*\*yes\*\*, \+3\.00 L2 mAPH .* 3 paired seeds, 95 % interval \+0\.52",
        ),
        ((-0.03, -0.02, -0.04), r"\*\*no\*\*, -3\.00 .*: all of the interval is below zero"),
        ((0.03, -0.02, 0.01), r"\*\*not shown\*\*: \+0\.67 .* the interval holds zero"),
        ((0.03,), r"\+3\.00 .*one seed\)\. One pair has no interval: nothing is proved"),
        ((), "no pair of runs is finished"),
    ],
)
def test_the_answer_says_what_was_measured(gains, told):
    found = with_gain(*gains)
    assert re.search(told, verdict(found, found.plan.comparisons[0]))


def test_convergence_is_the_gain_of_the_last_fifth():
    late = run("teacher", 7, curve=((160, 0.495), (200, 0.5)))
    assert last_gain(late) == pytest.approx(0.005)
    assert (
        "added +0.50 L2 mAPH on the validation frames: converged" in convergence(summary([late]))[0]
    )
    early = run("teacher", 7, curve=((160, 0.45), (200, 0.5)))
    assert "not converged (under 1.00 asked)" in convergence(summary([early]))[0]
    assert last_gain(run("teacher", 7, curve=((200, 0.5),))) is None
    assert "is not known" in convergence(summary([run("teacher", 7, curve=())]))[0]


def test_the_csv_holds_every_run_and_metric():
    rows = list(csv.DictReader(io.StringIO(runs_csv(summary()))))
    assert [(row["row"], row["seed"]) for row in rows][:3] == [
        ("teacher", "7"),
        ("plain", "0"),
        ("plain", "1"),
    ]
    assert len(rows) == 10
    assert rows[1]["L2_mAPH"] == "0.300000"
    assert rows[1]["Vehicle/0-30m/L2_APH"] == "0.500000"


def test_a_class_without_objects_is_a_dash_and_an_empty_field():
    found = [run("plain", seed, metrics={"L2_mAPH": float("nan")}) for seed in (0, 1)]
    assert cells(row_table(summary(found)), "plain")[3] == "-"
    assert runs_csv(summary(found)).splitlines()[1].endswith(",")


def test_the_page_tells_what_is_missing_what_failed_and_what_is_not_counted():
    found = [one for one in runs() if (one.row, one.seed) != ("kd", 1)] + [run("plain", 9)]
    context = PageContext(
        "kd3d-train experiment=x",
        [StudySession("now", 600.0, "a machine", 2, 10), StudySession("now", 300.0, "b", 2, 1)],
        [Failure("kd seed 1", "error: no\nspace left")],
        [],
    )
    text = " ".join(render_page(summary(found), context, Path()).split())
    assert "**Missing:** 1 of the planned runs: kd seed 1" in text
    assert "**Failed in the last call:** kd seed 1" in text
    assert "**Not counted** (seeds outside the plan): plain seed 9" in text
    assert "15 minutes of wall time in 2 calls, 2 runs side by side" in text
    assert "`kd3d-train experiment=x`" in text


def test_missing_runs_are_named_by_their_rows():
    found = [one for one in runs() if one.row != "kd" and (one.row, one.seed) != ("plain", 1)]
    text = render_page(summary(found), CONTEXT, Path())
    assert "4 of the planned runs: plain seed 1; kd seeds 0, 1, 2" in text


def test_pictures_are_drawn_and_linked(tmp_path):
    whole = summary()
    made = save_pictures(whole, tmp_path / "results")
    assert [path.name for path, _ in made] == ["gains.png", "curves.png", "parts.png"]
    for path, _ in made:
        assert path.read_bytes().startswith(b"\x89PNG")
    context = PageContext("", [], [], made)
    assert "](results/gains.png)" in render_page(whole, context, tmp_path)


def drawn(draw, *arguments):
    """The axes that a function has drawn on."""
    axes = new_figure(6, 3).subplots()
    draw(axes, *arguments)
    return axes


def heights(band):
    return [height for path in band.get_paths() for _, height in path.vertices]


def test_bands_of_curves_end_where_no_percentage_is():
    # two seeds: the interval of 1 and 5 % is 3 ± 25 points, that of 96 and 99 % is 97.5 ± 19
    curves = [((20, 0.01), (100, 0.96)), ((20, 0.05), (100, 0.99))]
    found = [run("plain", seed, curve=curve) for seed, curve in enumerate(curves)]
    axes = drawn(draw_curves, summary(found))
    (band,) = axes.collections
    assert (min(heights(band)), max(heights(band))) == (0.0, 100.0)
    assert axes.get_ylim()[0] == 0.0
    (line,) = axes.get_lines()
    assert list(line.get_ydata()) == pytest.approx([3.0, 97.5])


def test_bands_within_percentages_are_drawn_whole():
    axes = drawn(draw_curves, summary(), ["kd"])
    (band,) = axes.collections
    found = estimate(KD)  # the last point of the curves
    assert max(heights(band)) == pytest.approx(100 * found.high)


def test_curves_are_of_the_rows_that_are_named():
    lines = drawn(draw_curves, summary(), ["kd", "teacher"]).get_lines()
    assert [line.get_label() for line in lines] == ["distilled", "teacher"]
    assert len(drawn(draw_curves, summary()).get_lines()) == 4
    assert not drawn(draw_curves, summary([run("kd")]), ["plain"]).get_lines()


def test_parts_are_drawn_for_every_class_and_ring():
    axes = drawn(draw_parts, summary(), plan().comparisons[0])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["all", "0-30m"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        *("mean", "Vehicle", "Cyclist")
    ]


def test_without_runs_there_is_a_page_and_no_picture(tmp_path):
    empty = summary([])
    assert save_pictures(empty, tmp_path) == []
    text = render_page(empty, CONTEXT, tmp_path)
    assert "no pair of runs is finished" in " ".join(text.split())
    assert "10 of the planned runs" in text


def test_only_the_part_between_the_markers_is_written(tmp_path):
    page = tmp_path / "study.md"
    page.write_text(f"# Mine\n\nThe protocol.\n\n{BEGIN}\nold\n{END}\n\nThe end.\n")
    write_page(page, "ignored", "new")
    assert page.read_text() == (f"# Mine\n\nThe protocol.\n\n{BEGIN}\n\nnew\n\n{END}\n\nThe end.\n")
    write_page(tmp_path / "made.md", "A title", "text")
    assert (tmp_path / "made.md").read_text().startswith("# A title\n")


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "study.md"
    page.write_text("# Mine\n")
    with pytest.raises(OutputError, match="no place for the results"):
        write_page(page, "title", "new")
    assert page.read_text() == "# Mine\n"
