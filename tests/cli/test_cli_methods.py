"""Every method in one line: kd=NAME."""

import inspect
from pathlib import Path

import kd3d.conf
import pytest
from hydra import compose, initialize_config_module
from hydra.errors import MissingConfigException
from hydra.utils import instantiate

from kd3d import KDCallback, SparseKD, create_detector
from kd3d.cli.job_names import register_job_name
from kd3d.distill import Objective

CONF = Path(kd3d.conf.__file__).parent
METHODS = sorted(path.stem for path in (CONF / "kd").glob("*.yaml"))
PAIRS = {
    "cp_pillar_v040": "cp_pillar_v040_kd",
    "cp_pillar_v048": "cp_pillar_v048_kd",
    "cp_pillar_v064": "cp_pillar_kd",
    "cp_voxel_s": "cp_voxel_s_kd",
    "cp_voxel_xs": "cp_voxel_xs_kd",
    "cp_voxel_xxs": "cp_voxel_xxs_kd",
}


def composed(*overrides):
    register_job_name()
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        return compose("train", overrides=list(overrides))


def objectives_of(config):
    """The objectives that a run of this configuration has."""
    if "_target_" not in config.kd:
        return dict(config.kd.objectives)
    return instantiate(config.kd, teacher=make_teacher(), _convert_="all").objectives


def make_teacher():
    width = {"encoder": 0.0625, "backbone_2d": 0.0625, "head": 0.0625}
    return create_detector("cp_pillar", width=width)


def described(objectives):
    """The options of each objective, which tell two sets of objectives apart."""
    return {
        name: {option: getattr(item, option) for option in inspect.signature(type(item)).parameters}
        for name, item in objectives.items()
    }


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_made(name):
    config = composed(f"kd={name}", "student=cp_pillar_v064")
    made = objectives_of(config)
    assert bool(made) == (name != "none")
    assert all(isinstance(objective, Objective) for objective in made.values())
    assert all(objective.weight > 0 for objective in made.values())
    if name != "none":
        assert (config.kd.teacher_mode, config.kd.teacher_check_frames) == ("batch_stats", 16)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "none"])
def test_a_schedule_is_one_line(name):
    config = composed(f"kd={name}")
    objective = next(key for key, node in config.kd.objectives.items() if node is not None)
    line = f"+kd.objectives.{objective}.schedule={{warmup_epochs: 2, stop_after: 20}}"
    made = objectives_of(composed(f"kd={name}", line))[objective]
    assert str(made.schedule) == "warm-up over 2 epochs, stops after epoch 20"


@pytest.mark.parametrize("student", PAIRS)
def test_pairs_have_the_published_weights(student):
    """By the experiment, by kd=sparsekd, and in Python."""
    published = described(SparseKD.for_pair(student))
    assert described(objectives_of(composed(f"experiment={PAIRS[student]}"))) == published
    assert described(objectives_of(composed("kd=sparsekd", f"student={student}"))) == published


def test_what_is_published():
    """Table of the reference: weights of logits and boxes, thresholds."""
    table = {
        "cp_voxel_s": (10, 0.2, (0.6, 0.6, 0.6)),
        "cp_voxel_xs": (15, 0.2, (0.6, 0.6, 0.6)),
        "cp_voxel_xxs": (15, 0.2, (0.6, 0.6, 0.6)),
        "cp_pillar_v040": (7, None, (0.6, 0.6, 0.6)),
        "cp_pillar_v048": (7, None, (0.6, 0.5, 0.5)),
        "cp_pillar_v064": (7, None, (0.6, 0.5, 0.5)),
    }
    for student, expected in table.items():
        made = SparseKD.for_pair(student)
        regression = made["regression"].weight if "regression" in made else None
        assert (made["logit"].weight, regression, made["label"].thresholds) == expected
        assert made["logit"].pivots == "gaussian"
        assert KDCallback(make_teacher(), made).objectives == made


def test_the_command_line_wins_over_the_pair():
    config = composed("experiment=cp_voxel_s_kd", "kd.objectives.logit.weight=3")
    assert config.kd.objectives.logit.weight == 3
    assert config.kd.objectives.regression.weight == 0.2


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"none", "sparsekd", "anchor"}))
def test_a_method_has_one_default_weight(name):
    """In YAML and in Python."""
    (objective,) = objectives_of(composed(f"kd={name}", "student=cp_pillar_v064")).values()
    plain = type(objective)(pivots="all") if name == "vanilla" else type(objective)()
    assert objective.weight == plain.weight


def test_an_unknown_method():
    with pytest.raises(MissingConfigException, match="Could not find 'kd/foo'") as caught:
        composed("kd=foo")
    assert all(name in str(caught.value).split() for name in METHODS)


def test_an_unknown_method_in_a_sweep(tmp_path, command_here):
    """Before the first run of the sweep, the error lists what there is."""
    words = ["-m", "kd=none,foo", f"log_dir={tmp_path}"]
    run = command_here("kd3d-train", *words, folder=tmp_path)
    assert run.returncode == 1
    assert "Could not find 'kd/foo'" in run.stderr
    assert "Traceback" not in run.stderr
    assert all(name in run.stderr.split() for name in METHODS)
    assert not any(tmp_path.rglob("*.ckpt"))
