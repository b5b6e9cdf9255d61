"""Training controls in whole runs of the command."""

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kd3d import Detector, DetectorModule
from kd3d.cli import stages
from kd3d.cli.job_names import register_job_name
from kd3d.cli.pipeline import run
from kd3d.cli.results import read_results
from kd3d.cli.teachers import teacher_config, teacher_folder
from kd3d.detectors import save_detector
from kd3d.errors import CheckpointError, ConfigError

TINY = "{encoder: 0.125, backbone_2d: 0.0625, head: 0.125}"
WORDS = [
    "experiment=cp_pillar_kd",
    "scale=smoke",
    "simulate.workers=1",
    "+student.score_threshold=0.0",
    "run.teacher=false",
    "run.plain=false",
    "run.initialised=false",
    "report.teacher=false",
    "report.latency_repeats=0",
    "report.picture_frame=null",
    "callbacks.progress=null",
    "callbacks.pictures=null",
    "callbacks.checkpoint.every_n_train_steps=2",
    "teacher.check_frames=0",
    "trainer.max_steps=2",
    "+trainer.enable_progress_bar=false",
]
BOTH = "callbacks=[default,ema,best]"
BY_LOSS = ["callbacks.best.monitor=train/loss", "callbacks.best.mode=min"]
"""What differs between steps where every L2 mAPH is 0."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with simulated records and a teacher of random weights."""
    folder = tmp_path_factory.mktemp("controls")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.manual_seed(3)
        config = made("teacher.checkpoint=null")
        options = {key: config.teacher[key] for key in config.teacher if key in NETWORK}
        save_detector(instantiate(options, _convert_="all"), folder / "teacher.ckpt")
    return folder


NETWORK = (
    "_target_",
    "name",
    "classes",
    "point_cloud_range",
    "cell_size",
    "norm_momentum",
    "intensity",
    "depth",
    "width",
)


def made(*words):
    register_job_name()
    narrow = [f"{node}.width={TINY}" for node in ("student", "teacher")]
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        return compose("train", overrides=[*WORDS, *narrow, *words])


@pytest.fixture
def composed(place, monkeypatch):
    monkeypatch.chdir(place)
    return lambda *words: made("teacher.checkpoint=teacher.ckpt", *words)


def weights(folder):
    return Detector.from_checkpoint(folder / "student" / "detector.ckpt").state_dict()


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


class Killed(Exception):
    pass


def dies_in_step(monkeypatch, number):
    """Have the command die in its n-th training step."""
    step, seen = DetectorModule.training_step, []

    def training_step(self, batch, batch_idx):
        seen.append(batch_idx)
        if len(seen) == number:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DetectorModule, "training_step", training_step)


def dies_in_evaluation(monkeypatch):
    def evaluate(*_):
        raise Killed

    monkeypatch.setattr(stages, "evaluate", evaluate)


@pytest.mark.parametrize("kept", ["last", "best"])
def test_an_averaged_run_that_is_killed_twice_equals_the_whole_one(
    composed, tmp_path, monkeypatch, kept
):
    words = [BOTH, "callbacks.ema.decay=0.5", f"run.weights={kept}", *BY_LOSS]
    words += ["trainer.max_steps=4", "trainer.val_check_interval=1", "data.val_frames=1"]
    run(composed(*words), tmp_path / "whole", "")
    with monkeypatch.context() as patch:
        dies_in_step(patch, 4)
        with pytest.raises(Killed):
            run(composed(*words), tmp_path / "killed", "")
    assert not (tmp_path / "killed" / "student" / "detector.ckpt").exists()
    with monkeypatch.context() as patch:
        dies_in_evaluation(patch)
        with pytest.raises(Killed):
            run(composed(*words), tmp_path / "killed", "")
    run(composed(*words), tmp_path / "killed", "")
    first, second = (read_results(tmp_path / name / "metrics.json") for name in ("whole", "killed"))
    assert first[0].metrics == second[0].metrics
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    stored = tmp_path / "whole" / "student" / "checkpoints" / f"{kept}.ckpt"
    content = torch.load(stored, weights_only=True)
    average = {name.removeprefix("detector."): one for name, one in content["state_dict"].items()}
    assert equal(weights(tmp_path / "whole"), average)
    trained = content["current_model_state"]
    assert not equal(average, {name.removeprefix("detector."): trained[name] for name in trained})


def test_the_result_is_of_the_weights_that_are_kept(composed, tmp_path):
    words = ["callbacks=[default,best]", "run.weights=best", *BY_LOSS]
    config = composed(*words, "trainer.val_check_interval=1", "trainer.max_steps=3")
    run(config, tmp_path, "")
    (result,) = read_results(tmp_path / "metrics.json")
    module = DetectorModule.from_checkpoint(tmp_path / "student" / "detector.ckpt")
    data = instantiate(config.data, _convert_="all")
    trainer = stages.make_trainer(
        composed("logger=none"), stages.Stage("again", "plain student", tmp_path / "again", "")
    )
    assert stages.evaluate(trainer, module, data) == result.metrics
    best = torch.load(tmp_path / "student" / "checkpoints" / "best.ckpt", weights_only=True)
    assert equal(
        weights(tmp_path),
        {name.removeprefix("detector."): one for name, one in best["state_dict"].items()},
    )


def test_a_test_split_is_what_results_come_from(composed, tmp_path):
    run(
        composed("data.test=validation/*.tfrecord", "optimizer.breakdowns=[object_type,range]"),
        tmp_path / "test",
        "",
    )
    run(composed("optimizer.breakdowns=[object_type,range]"), tmp_path / "val", "")
    tested, validated = (
        read_results(tmp_path / name / "metrics.json")[0] for name in ("test", "val")
    )
    assert tested.metrics == validated.metrics
    assert "Vehicle/0-30m/L2_APH" in tested.metrics


def test_deterministic_runs_are_equal_to_the_bit(composed, tmp_path):
    try:
        for name in ("one", "two"):
            config = composed("trainer.deterministic=true")
            run(config, tmp_path / name, "")
    finally:
        torch.use_deterministic_algorithms(False)
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_a_partial_start_is_reported_and_frozen_parts_keep_it(composed, place, tmp_path, capsys):
    words = ["init=partial", "init.checkpoint=teacher.ckpt", "init.exclude=[dense_head.*]"]
    run(composed(*words, "optimizer.freeze=[backbone_2d.*]"), tmp_path, "")
    said = (tmp_path / "student" / "initialisation.txt").read_text()
    given = Detector.from_checkpoint(place / "teacher.ckpt").state_dict()
    found = weights(tmp_path)
    assert said.splitlines()[0] in " ".join(capsys.readouterr().out.split())
    assert "excluded  dense_head." in said
    kept = [name for name in found if name.startswith("backbone_2d.")]
    assert kept
    for name in kept:
        assert f"loaded    {name}  " in said
        assert torch.equal(found[name], given[name]), name
    (result,) = read_results(tmp_path / "metrics.json")
    assert result.initialisation == "partial of teacher.ckpt"


def test_a_checkpoint_that_does_not_fit_stops_the_run(composed, place, tmp_path):
    torch.save({"a": torch.zeros(1)}, place / "strange.ckpt")
    with pytest.raises(CheckpointError, match="nothing in it fits"):
        run(composed("init=partial", "init.checkpoint=strange.ckpt"), tmp_path, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run.weights=best"], r"run\.weights: nothing keeps the best.*callbacks=\[default,best\]"),
        (["run.weights=first"], r"run\.weights: 'first' is not one of last, best"),
        (["init=partial"], r"init\.checkpoint: there is no checkpoint to start from"),
        (["optimizer.freeze=[head.*]"], r"optimizer\.freeze: 'head\.\*' matches no"),
        (["optimizer.rates={head.*:2.0}"], r"optimizer\.rates: 'head\.\*' matches no"),
        (["run.student=false"], "there is nothing to train"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(composed, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        run(composed(*words), tmp_path / "run", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+student.depht=[1,1]"], "student"),
        (["kd.objectives.logit.weight=-1.0"], r"kd\.objectives\.logit"),
        (["+kd.objectives.own._target_=kd3d.Nope"], r"kd3d\.Nope"),
    ],
)
def test_what_cannot_be_made_is_refused_before_a_teacher_is_trained(
    composed, tmp_path, words, message
):
    with pytest.raises(InstantiationException, match=message):
        run(composed("kd=pp_logit", *words), tmp_path / "run", "")
    assert not (tmp_path / "run").exists()


def test_the_best_of_no_validation(composed, tmp_path):
    words = ["callbacks=[default,best]", "run.weights=best", "trainer.max_steps=1"]
    config = composed(*words, "trainer.val_check_interval=2")
    with pytest.raises(ConfigError, match=r"no validation has taken place.*val_check_interval"):
        run(config, tmp_path, "")


def test_patterns_are_the_students_and_a_teacher_is_named_after_its_average(composed):
    plain = composed()
    config = composed("optimizer.freeze=[vfe.*]", "optimizer.rates={vfe.*:2.0}")
    own = teacher_config(config)
    assert (own.optimizer.freeze, own.optimizer.rates) == ([], None)
    assert teacher_folder(own) == teacher_folder(teacher_config(plain))
    free = composed("callbacks.rate=null", "callbacks.checkpoint.every_n_minutes=1")
    assert teacher_folder(teacher_config(free)) == teacher_folder(teacher_config(plain))
    for words in (["callbacks=[default,ema]"], [BOTH, "run.weights=best"]):
        other = composed(*words)
        assert teacher_folder(teacher_config(other)) != teacher_folder(teacher_config(plain))


def test_nodes_of_the_callbacks_can_be_made_and_added(composed):
    assert (composed().callbacks.ema, composed().callbacks.best) == (None, None)
    config = composed(BOTH)
    assert "checkpoint" in config.callbacks
    best = instantiate(config.callbacks.best)
    assert (best.monitor, best.mode) == (DetectorModule.monitor, DetectorModule.mode)
    average = instantiate(config.callbacks.ema)
    assert type(average).__name__ == "EMAWeightAveraging"
    assert OmegaConf.to_container(config.optimizer)["rates"] is None
