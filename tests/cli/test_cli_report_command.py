"""``kd3d-report`` on invented studies and runs."""

import json
import shutil
from pathlib import Path

import pytest
from report_cases import (
    RESULTS,
    SETTINGS,
    cells,
    lines_of,
    make_run,
    make_study,
    metrics,
    refused,
    report,
)

from kd3d.cli.job_names import register_job_name
from kd3d.cli.report_command import main, read_words
from kd3d.cli.resume import compose_train
from kd3d.errors import ConfigError

register_job_name()


@pytest.fixture(scope="module")
def composed():
    """Configurations by the words that differ; composing takes a while."""
    found = {}

    def make(*words):
        if words not in found:
            base = ["experiment=cp_pillar_kd", "scale=smoke", "data.root=data/here"]
            found[words] = compose_train([*base, *words])
        return found[words].copy()

    return make


def test_a_study_becomes_a_table_with_gains_costs_and_pictures(tmp_path, capsys):
    folder, out = make_study(tmp_path / "results"), tmp_path / "out"
    text = report(capsys, folder, f"out={out}")
    # 3, 2 and 4 points above: mean 3, deviation 1, 95 % interval of Student's t 0.52 to 5.48
    assert cells(text, "label")[:5] == [
        *("label", "3", "33.00 ± 1.00", "**+3.00**", "+0.52 to +5.48")
    ]
    assert cells(text, "label")[5:] == ["33.00 (38.00)", "43.00 (48.00)"]
    assert cells(text, "fg")[:5] == ["fg", "1", "31.00", "**+1.00**", "-"]
    assert cells(text, "none")[3] == ""
    assert cells(text, "cp_pillar_v064") == ["cp_pillar_v064", "10", "3.000 G", "21.0"]
    assert "test split of sim-v1-abc" in text
    assert (out / "report.md").read_text() == text
    (picture,) = out.glob("gains-*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"![Big to small]({picture.name})" in text
    rows = {row["method"]: row for row in lines_of(out / "report.csv")}
    assert float(rows["label"]["gain"]) == pytest.approx(0.03, abs=1e-6)
    assert float(rows["label"]["Cyclist/L1_AP"]) == pytest.approx(0.48, abs=1e-6)
    assert rows["none"]["parameters"] == "10"


def test_missing_and_failed_runs_of_a_study_are_listed(tmp_path, capsys):
    text = report(capsys, make_study(tmp_path / "results"), f"out={tmp_path / 'out'}")
    missing, failed = text.split("### Missing runs")[1].split("### Failed runs")
    assert missing.strip() == "- invented, a_fg seed 2"
    # a run that failed once and is there now has not failed
    assert failed.split("###")[0].strip() == "- invented, a_fg seed 1: error: no memory"


def test_another_metric_gives_other_gains(tmp_path, capsys):
    folder = make_study(tmp_path / "results")
    text = report(capsys, folder, "metric=L1_mAPH", f"out={tmp_path / 'out'}")
    assert cells(text, "label")[2:4] == ["43.00 ± 1.00", "**+3.00**"]
    assert "| L1 mAPH |" in text
    assert "Vehicle L1 APH (AP)" in text


def test_runs_of_a_sweep_are_sorted_into_lines_and_paired_by_seed(tmp_path, capsys, composed):
    for seed, values in enumerate([(0.30, 0.34, 0.36), (0.32, 0.35, 0.36)]):
        found = dict(zip(RESULTS, (0.5, *values), strict=True))
        make_run(tmp_path / "sweep" / f"seed={seed}", composed, found, seed=seed)
    words = ("kd=label", "run.plain=false", "run.initialised=false")
    distilled = {"distilled student": 0.39}
    make_run(tmp_path / "sweep" / "label", composed, distilled, *words, kd="label")
    text = report(capsys, tmp_path / "sweep", f"out={tmp_path / 'out'}")
    assert "### cp_pillar to cp_pillar_v064" in text
    assert cells(text, "teacher")[2:4] == ["1", "50.00"]
    assert cells(text, "none, random")[1:5] == ["", "2", "31.00 ± 1.41", ""]
    assert cells(text, "none, copy")[1:5] == ["none, random", "2", "34.50 ± 0.71", "**+3.50**"]
    # against the plain network with the same start
    assert cells(text, "sparsekd, copy")[1:5] == ["none, copy", "2", "36.00 ± 0.00", "**+1.50**"]
    assert cells(text, "label, copy")[1:5] == ["none, copy", "1", "39.00", "**+5.00**"]
    assert cells(text, "cp_pillar_v064") == ["cp_pillar_v064", "77", "1.500 G", "-"]
    assert "- cp_pillar to cp_pillar_v064, label, copy seed 1" in text
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == [
        "gains-cp-pillar-to-cp-pillar-v064.png"
    ]


def test_lines_of_one_method_are_told_apart_by_their_options(tmp_path, capsys, composed):
    for weight in (1.0, 3.0):
        word = f"kd.objectives.logit.weight={weight}"
        found = {"plain student": 0.2, "distilled student": 0.2 + weight / 100}
        words = (word, "run.initialised=false")
        found = found if weight == 1.0 else {"distilled student": found["distilled student"]}
        make_run(tmp_path / "runs" / str(weight), composed, found, *words)
    text = report(capsys, tmp_path / "runs", f"out={tmp_path / 'out'}")
    assert cells(text, "sparsekd, copy, logit.weight=1.0")[2] == "21.00"
    assert cells(text, "sparsekd, copy, logit.weight=3.0")[3] == "**+3.00**"


def test_a_result_file_and_a_folder_without_hydras_choices_do_too(tmp_path, capsys, composed):
    folder = make_run(tmp_path / "run", composed, {"distilled student": 0.3})
    shutil.rmtree(folder / ".hydra")
    for given in (folder / "metrics.json", folder / "student" / "result.json"):
        text = report(capsys, given, f"out={tmp_path / 'out'}")
        assert cells(text, "logit+label")[1:3] == ["1", "30.00"]


def test_runs_that_stopped_are_listed_with_what_they_finished(tmp_path, capsys, composed):
    make_run(tmp_path / "runs" / "0", composed, {"plain student": 0.2, "distilled student": 0.3})
    found = {"plain student": 0.25}
    make_run(tmp_path / "runs" / "1", composed, found, seed=1, finished=False)
    make_run(tmp_path / "runs" / "2", composed, {}, seed=2, finished=False)
    text = report(capsys, tmp_path / "runs", f"out={tmp_path / 'out'}")
    assert f"- {tmp_path / 'runs' / '1'}: stopped before its end; plain student is finished" in text
    assert f"- {tmp_path / 'runs' / '2'}: stopped before its end; no network is finished" in text
    assert "sparsekd, copy seed 1" in text
    assert cells(text, "none, random")[1:3] == ["2", "22.50 ± 3.54"]


def test_two_studies_stand_side_by_side(tmp_path, capsys):
    one, two = make_study(tmp_path / "all" / "one"), make_study(tmp_path / "all" / "two")
    text = report(capsys, tmp_path / "all", f"out={tmp_path / 'out'}")
    assert "### Big to small\n" in text
    assert f"### Big to small ({two})\n" in text
    assert text.rstrip().endswith(f"- {one}\n- {two}")
    for picture in (tmp_path / "out").glob("gains-*.png"):
        assert text.count(f"]({picture.name})") == 1


def test_help_has_examples(capsys):
    for words in ([], ["--help"], ["x", "-h"]):
        main(words)
        text = capsys.readouterr().out
        assert "usage: kd3d-report RUNS..." in text
        assert "kd3d-report docs/results/method_study" in text


def test_words_are_options_or_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("seed=1").mkdir()
    paths, options = read_words(["a", "out=there", "seed=1", "logs/kd=label", "metric=L1_mAP"])
    assert [str(path) for path in paths] == ["a", "seed=1", "logs/kd=label"]
    assert (options.out, options.metric) == ("there", "L1_mAP")
    with pytest.raises(ConfigError, match=r"no option 'metrics'.*Did you mean metric=\?"):
        read_words(["a", "metrics=L1_mAP"])
    for words in (["a", "--out=there"], ["a", "--out", "there"], ["a", "-out"]):
        with pytest.raises(ConfigError, match=r"Did you mean out=\? Options: out=, metric=\."):
            read_words(words)
    with pytest.raises(ConfigError, match="no option '-v'"):
        read_words(["-v"])
    with pytest.raises(ConfigError, match="no run is named"):
        read_words(["out=there"])
    with pytest.raises(ConfigError, match="out: nothing is given"):
        read_words(["a", "out="])


def test_what_holds_no_run_is_refused(tmp_path, capsys, composed):
    (tmp_path / "empty").mkdir()
    assert "there is no result in it" in refused(capsys, tmp_path / "empty")
    assert "there is no such folder" in refused(capsys, tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("x")
    assert "there is no result in it" in refused(capsys, tmp_path / "notes.txt")
    make_run(tmp_path / "begun", composed, {}, finished=False)
    told = refused(capsys, tmp_path / "begun")
    assert "no finished student" in told
    assert "stopped before its end" in told


def test_a_result_file_without_its_run_is_refused(tmp_path, capsys):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "metrics.json").write_text('{"ru')
    told = refused(capsys, tmp_path / "alone" / "metrics.json")
    assert f"metrics.json: there is no config.yaml in {tmp_path / 'alone'}" in told


def test_any_file_of_a_study_stands_for_the_study(tmp_path, capsys, monkeypatch):
    folder = make_study(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    expected = report(capsys, folder, "out=out").split("## ", 1)[1]
    same = ["results", "results/plan.json", "results/runs", "results/runs/a_label-seed0.json"]
    for given in same:
        told = report(capsys, given, "out=out").split("## ", 1)[1]
        assert told == expected.replace(f"- {folder}", "- results")
    assert report(capsys, *same, "out=out").count("### Big to small") == 1


def test_the_folder_above_runs_of_training_is_no_study(tmp_path, capsys, composed):
    make_run(tmp_path / "train" / "runs" / "0", composed, {"distilled student": 0.3})
    text = report(capsys, tmp_path / "train", f"out={tmp_path / 'out'}")
    assert cells(text, "sparsekd")[1:3] == ["1", "30.00"]


def test_what_nobody_misses_is_told_too(tmp_path, capsys, composed):
    make_run(tmp_path / "run", composed, {"distilled student": 0.3})
    text = report(capsys, tmp_path / "run", f"out={tmp_path / 'out'}")
    assert "### Missing runs\n\n- none\n\n### Failed runs\n\n- none\n" in text


def test_a_missing_row_is_named_as_in_its_file_and_as_in_the_table(tmp_path, capsys):
    folder = make_study(tmp_path / "results")
    (folder / "runs" / "a_none-seed2.json").unlink()
    text = report(capsys, folder, f"out={tmp_path / 'out'}")
    assert "- invented, a_none (none) seed 2\n" in text
    assert cells(text, "label")[1:4] == ["3", "33.00 ± 1.00", "**+2.50** (2 pairs)"]


def test_an_unreadable_file_is_named(tmp_path, capsys, composed):
    folder = make_study(tmp_path / "study")
    (folder / "runs" / "a_fg-seed0.json").write_text("{")
    assert "a_fg-seed0.json: is no result of a study" in refused(capsys, folder)
    (folder / "plan.json").unlink()
    assert "plan.json: is not what a study writes" in refused(capsys, folder)
    run = make_run(tmp_path / "run", composed, {"distilled student": 0.3})
    (run / "metrics.json").write_text('{"runs": 3}')
    assert "is not the metrics.json of a report" in refused(capsys, run)
    (run / "config.yaml").write_text("a: [")
    assert "config.yaml: cannot be read" in refused(capsys, run)


def test_runs_on_different_data_are_refused(tmp_path, capsys, composed):
    one = make_study(tmp_path / "one")
    two = make_study(tmp_path / "two", dataset="sim-v2-def")
    told = refused(capsys, one, two)
    assert "was run on other data: sim-v2-def" in told
    assert "on sim-v1-abc" in told
    make_run(tmp_path / "runs" / "0", composed, {"distilled student": 0.3})
    make_run(tmp_path / "runs" / "1", composed, {"distilled student": 0.3}, "data.root=b", seed=1)
    assert "was run on other data" in refused(capsys, tmp_path / "runs")


def test_runs_that_were_measured_differently_are_refused(tmp_path, capsys):
    one = make_study(tmp_path / "one")
    split = make_study(tmp_path / "split", split="validation")
    assert "with split validation" in refused(capsys, one, split)
    classes = make_study(tmp_path / "classes", metrics=metrics(0.3, classes=("Vehicle", "Car")))
    assert "with metrics Car/L1_AP" in refused(capsys, one, classes)
    other = {**SETTINGS, "data": {"object_range": [0, 9], "val": "v"}}
    told = refused(capsys, one, make_study(tmp_path / "range", settings=other))
    assert "with data.object_range [0, 9]" in told
    assert "with [0, 1]. Report them separately" in told


def test_a_metric_that_is_not_there_is_refused(tmp_path, capsys):
    told = refused(capsys, make_study(tmp_path / "one"), "metric=L3_mAPH")
    assert "teacher-seed9.json: has no L3_mAPH" in told
    assert "Its means are L1_mAPH, L2_mAPH, L2_mAP; say metric=NAME" in told
    # a class has no mean over the classes, though there is such a number
    told = refused(capsys, tmp_path / "one", "metric=Vehicle/L2_APH")
    assert "has no Vehicle/L2_APH, which would be a mean over the classes" in told


def test_the_same_run_twice_is_refused(tmp_path, capsys, composed):
    one = make_run(tmp_path / "one", composed, {"distilled student": 0.3})
    two = shutil.copytree(one, tmp_path / "two")
    told = refused(capsys, one, two)
    assert f"{two}: is the same run as {one}: sparsekd, seed 0" in told.replace(", copy", "")


def test_a_study_and_a_run_on_its_data_share_a_report(tmp_path, capsys, composed, monkeypatch):
    import kd3d.simulate

    monkeypatch.setattr(kd3d.simulate, "dataset_fingerprint", lambda root: "sim-v1-abc")
    data = tmp_path / "data" / "here"
    data.mkdir(parents=True)
    (data / "simulation.json").write_text(json.dumps({}))
    settings = {"classes": None}
    study = make_study(tmp_path / "study", settings=settings)
    shutil.rmtree(study / "settings")  # nothing to compare options with
    run = make_run(tmp_path / "run", composed, {"distilled student": 0.3}, split="test")
    text = report(capsys, study, run, f"out={tmp_path / 'out'}")
    assert "### Big to small" in text
    assert "### cp_pillar to cp_pillar_v064" in text
