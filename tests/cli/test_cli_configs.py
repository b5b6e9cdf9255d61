"""Every configuration composes, and its nodes fit what they name."""

from pathlib import Path

import kd3d.conf
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kd3d.cli.job_names import register_job_name

CONF = Path(kd3d.conf.__file__).parent


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides, config_name="train"):
    register_job_name()
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        return compose(config_name, overrides=list(overrides))


@pytest.mark.parametrize("scale", names("scale"))
@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_experiment_composes_at_every_scale(experiment, scale):
    config = composed(f"experiment={experiment}", f"scale={scale}", "data.root=somewhere")
    OmegaConf.to_container(config.student, resolve=True, throw_on_missing=True)
    OmegaConf.to_container(config.teacher, resolve=True, throw_on_missing=True)
    assert config.teacher.point_cloud_range == config.student.point_cloud_range


def test_student_and_teacher_offer_every_detector():
    assert names("student") == names("detector")
    assert names("teacher") == names("detector")


@pytest.mark.parametrize("name", names("detector"))
def test_a_detector_file_makes_the_detector_it_names(name):
    config = composed(f"student={name}", f"teacher={name}", "scale=smoke", "student.classes=[Car]")
    student = instantiate(config.student, _convert_="all")
    assert student.spec()["name"] == name
    assert student.classes == ("Car",)


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
    callbacks = [instantiate(node) for node in config.callbacks.values()]
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


def test_pairs_differ_where_the_paper_says_so():
    config = composed("experiment=cp_pillar_v040_kd")
    assert config.kd.objectives.label.thresholds == [0.6, 0.6, 0.6]
    assert config.teacher.point_cloud_range[3] == pytest.approx(73.6)
