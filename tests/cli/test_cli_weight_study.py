"""The weight study, and the weights that it chose."""

from pathlib import Path

import kd3d.conf
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kd3d import PivotalLogitKD
from kd3d.cli.job_names import register_job_name
from kd3d.cli.resume import compose_train
from kd3d.cli.study_configs import row_config, teacher_run_config
from kd3d.study import read_plan
from kd3d.study.reading import read_study

register_job_name()

WORDS = ["experiment=weight_study"]
CONF = Path(kd3d.conf.__file__).parent
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "weight_study"
MARGIN = 0.01
"""What a weight has to be better by than the start by scale: the protocol's 1 mAPH."""
PUBLISHED = {"pp_logit"}


@pytest.fixture(scope="module")
def plan():
    node = OmegaConf.to_container(compose_train(WORDS).study, resolve=True)
    for key in ("results", "page", "processes", "only", "report_only"):
        node.pop(key)
    return read_plan(node)


def methods(plan):
    return sorted({row.name.rpartition("_")[0] for row in plan.rows} - {""})


def weight_of(plan, name):
    """The weight that a row gives its only objective."""
    (word,) = (word for word in plan.row(name).overrides if ".weight=" in word)
    return float(word.partition("=")[2])


def default_of(method):
    """What a method weighs if nobody says: the pivots in Python, the others in YAML."""
    if method.startswith("pp_") and method != "pp_logit":
        return PivotalLogitKD(pivots=method.removeprefix("pp_")).weight
    node = OmegaConf.load(CONF / "kd" / f"{method}.yaml").objectives
    (objective,) = instantiate(node, _convert_="all").values()
    return objective.weight


def test_weights_are_a_third_and_three_times_the_start(plan):
    assert len(methods(plan)) == 13
    for method in methods(plan):
        start = weight_of(plan, f"{method}_once")
        assert weight_of(plan, f"{method}_third") == pytest.approx(start / 3, rel=0.03)
        assert weight_of(plan, f"{method}_thrice") == pytest.approx(start * 3)


def test_no_run_reads_the_test_split_and_the_teacher_is_the_gain_studys(plan):
    assert all("data.test=null" in row.overrides for row in plan.rows)
    row = row_config(WORDS, plan, plan.row("mimic_thrice"), Path("runs"))
    assert (row.data.test, row.kd.objectives.mimic.weight) == (None, 15.0)
    (teacher,) = plan.teachers
    assert teacher_run_config(WORDS, plan, teacher, Path("runs")).data.test is not None


def test_defaults_are_what_the_rule_makes_of_the_committed_runs(plan):
    study = read_study(RESULTS)
    assert {run.split for run in study.runs if run.row != "pillar"} == {"validation"}
    assert not study.missing()
    for method in methods(plan):
        names = [f"{method}_{way}" for way in ("third", "once", "thrice")]
        scores = {name: study.mean(name, plan.metric).mean for name in names}
        best = max(names, key=scores.__getitem__)
        start = f"{method}_once"
        keeps = method in PUBLISHED or scores[best] <= scores[start] + MARGIN
        assert default_of(method) == weight_of(plan, start if keeps else best), method
