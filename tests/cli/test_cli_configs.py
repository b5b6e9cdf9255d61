"""Every configuration composes, and its nodes fit what they name."""

from pathlib import Path
from typing import get_args

import kd3d.conf
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kd3d.cli.job_names import register_job_name
from kd3d.detectors import create_detector, list_detectors
from kd3d.distill.inherit import Strategy

CONF = Path(kd3d.conf.__file__).parent


TEACHER_OPTIONS = ("checkpoint", "min_score", "check_frames", "seed", "max_steps")


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides, config_name="train"):
    register_job_name()
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        return compose(config_name, overrides=list(overrides))


def made(node, **changes):
    """Make the detector that a student's or a teacher's node describes."""
    arguments = {key: node[key] for key in node if key not in TEACHER_OPTIONS}
    return instantiate(OmegaConf.merge(arguments, changes), _convert_="all")


@pytest.mark.parametrize("scale", names("scale"))
@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_experiment_composes_at_every_scale(experiment, scale):
    words = [f"experiment={experiment}", f"scale={scale}", "data.root=somewhere"]
    if (experiment, scale) == ("cp_pillar_v048_kd", "small"):
        # 25.6 m across a street are no whole number of 4 cells of 0.48 m
        words.append("student.point_cloud_range=[-38.4,-15.36,-2,38.4,15.36,4]")
    config = composed(*words)
    OmegaConf.to_container(config.student, resolve=True, throw_on_missing=True)
    OmegaConf.to_container(config.teacher, resolve=True, throw_on_missing=True)
    assert config.teacher.point_cloud_range == config.student.point_cloud_range
    for node in (config.student, config.teacher) if config.kd.objectives else (config.student,):
        narrow = made(node, width=dict.fromkeys(node.width, 0.0625))
        assert narrow.name == node.name


@pytest.mark.parametrize("scale", ["demo", "overfit"])
@pytest.mark.parametrize("name", names("detector"))
def test_every_detector_fits_the_small_scales_at_a_quarter_of_its_width(name, scale):
    config = composed(f"student={name}", f"teacher={name}", f"scale={scale}", "data.root=somewhere")
    shares = OmegaConf.load(CONF / "detector" / f"{name}.yaml").width
    for node in (config.student, config.teacher):
        assert made(node).spec()["arguments"]["width"] == {
            part: pytest.approx(share / 4) for part, share in shares.items()
        }


def test_student_and_teacher_offer_every_detector():
    assert set(names("student")) - set(names("detector")) == {"second_half"}
    assert names("teacher") == names("detector")


def test_every_detector_has_a_file_and_every_student_a_quarter_of_its_width():
    assert names("detector") == list_detectors()
    assert names("width/quarter") == names("student")


@pytest.mark.parametrize(("scale", "share"), [("full", 1.0), ("small", 0.25)])
def test_half_of_second_is_half_as_wide_as_its_teacher_at_every_scale(scale, share):
    config = composed("experiment=second_kd", f"scale={scale}", "data.root=somewhere")
    assert config.teacher.width == {"backbone_3d": share, "backbone_2d": share}
    assert config.student.width == {"backbone_3d": share / 2, "backbone_2d": share / 2}


@pytest.mark.parametrize("name", names("detector"))
def test_a_detector_file_says_what_the_detector_is_by_name(name):
    file = OmegaConf.load(CONF / "detector" / f"{name}.yaml")
    file.classes = ["Vehicle", "Pedestrian", "Cyclist"]
    found = made(file).spec()["arguments"]
    for argument, value in create_detector(name).spec()["arguments"].items():
        assert found[argument] == value, argument


@pytest.mark.parametrize("name", names("detector"))
def test_a_detector_file_makes_the_detector_it_names(name):
    config = composed(
        f"student={name}", f"teacher={name}", "scale=smoke", "student.classes=[Cyclist]"
    )
    student = instantiate(config.student, _convert_="all")
    assert student.spec()["name"] == name
    assert student.classes == ("Cyclist",)


@pytest.mark.parametrize("name", names("logger"))
def test_every_logger_can_be_made(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    config = composed(f"logger={name}", "stage.name=x", f"stage.folder={tmp_path}")
    if name == "wandb":
        config.logger.wandb.offline = True
    for node in config.logger.values():
        logger = instantiate(node)
        assert type(logger).__name__.lower().startswith(name)


def test_callbacks_and_trainer_can_be_made(tmp_path):
    config = composed("stage.name=x", f"stage.folder={tmp_path}", "trainer.accelerator=cpu")
    callbacks = [instantiate(node) for node in config.callbacks.values() if node]
    trainer = instantiate(config.trainer, callbacks=callbacks, logger=False, _convert_="all")
    assert trainer.gradient_clip_val == 10.0


def test_full_scale_is_the_published_recipe():
    config = composed("experiment=cp_pillar_kd")
    assert config.data.frame_interval == 5
    assert config.trainer.max_epochs == 30
    assert config.trainer.precision == "32-true"
    assert (config.optimizer.max_rate, config.optimizer.weight_decay) == (0.003, 0.01)
    assert config.student.point_cloud_range[3] == pytest.approx(74.24)
    assert config.kd.objectives.logit.weight == 7.0
    assert config.kd.objectives.label.thresholds == [0.6, 0.5, 0.5]
    assert config.kd.teacher_mode == "batch_stats"
    assert config.init.strategy == "copy"


def test_students_are_derived_from_the_command_line():
    config = composed(
        "student=cp_voxel",
        "student.width.backbone_2d=0.5",
        "student.voxel_size=[0.2,0.2,0.15]",
        "student.point_cloud_range=[-76.8,-76.8,-2,76.8,76.8,4]",
        "student.depth_3d=[1,1,1,1]",
        "student.depth=[2,2]",
    )
    student = instantiate(config.student, _convert_="all")
    assert student.grid.shape == (96, 96)
    assert [len(block) for block in student.backbone_2d.blocks] == [10, 10]
    assert student.backbone_2d.out_channels == 256
    assert len(student.backbone_3d.conv2) == 2


def test_a_width_from_the_command_line_wins_over_the_scale():
    config = composed("student=cp_voxel_xs", "scale=demo", "student.width.backbone_2d=0.5")
    assert config.student.width == {"backbone_3d": 0.1875, "backbone_2d": 0.5, "head": 0.125}


@pytest.mark.parametrize(
    ("student", "weight"), [("cp_voxel_s", 10.0), ("cp_voxel_xs", 15.0), ("cp_voxel_xxs", 15.0)]
)
def test_voxel_pairs_have_the_published_weights(student, weight):
    config = composed(f"experiment={student}_kd")
    assert (config.student.name, config.teacher.name) == (student, "cp_voxel")
    assert config.student.point_cloud_range[3] == pytest.approx(75.2)
    objectives = config.kd.objectives
    assert (objectives.logit.weight, objectives.regression.weight) == (weight, 0.2)
    assert objectives.label.thresholds == [0.6, 0.6, 0.6]
    assert (config.init.strategy, config.recipe.effective_batch) == ("prefix", 32)


@pytest.mark.parametrize("experiment", ["voxel_to_pillar_kd", "pillar_to_voxel_kd"])
def test_pairs_of_two_families_compare_boxes_in_metres_on_a_range_that_fits_both(experiment):
    config = composed(f"experiment={experiment}")
    assert config.kd.objectives.regression.space == "metres"
    assert config.student.point_cloud_range[:2] == [-76.8, -76.8]
    assert config.teacher.point_cloud_range == config.student.point_cloud_range
    assert composed(f"experiment={experiment}", "scale=demo").student.point_cloud_range[0] == -19.2


@pytest.mark.parametrize("name", names("detector"))
def test_the_shared_range_fits_every_detector(name):
    bounds = OmegaConf.load(CONF / "range" / "shared.yaml").student.point_cloud_range
    assert create_detector(name, point_cloud_range=bounds).point_cloud_range == tuple(bounds)


@pytest.mark.parametrize("name", names("init"))
def test_every_initialisation_is_one_that_exists(name):
    strategy = OmegaConf.load(CONF / "init" / f"{name}.yaml").strategy
    others = {"none": None, "partial": "partial"}  # no teacher is asked for these
    assert strategy == others[name] if name in others else strategy in get_args(Strategy)


def test_pairs_differ_where_the_paper_says_so():
    config = composed("experiment=cp_pillar_v040_kd")
    assert config.kd.objectives.label.thresholds == [0.6, 0.6, 0.6]
    assert config.teacher.point_cloud_range[3] == pytest.approx(73.6)
