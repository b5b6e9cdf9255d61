"""Finding an interrupted run, and what may change when it goes on."""

import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from kd3d.cli.job_names import register_job_name
from kd3d.cli.resume import find_run, load_run, wants_resume
from kd3d.cli.run_lock import alone_in, is_running
from kd3d.cli.stored_config import check_same, config_text, differing
from kd3d.errors import ConfigError, OutputError

register_job_name()

STARTED = ["experiment=cp_pillar_kd", "scale=smoke", "seed=3", "+note=${stage.folder}"]


def composed(*words):
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        return compose("train", overrides=list(words))


def make_run(folder, *, words=STARTED, at=0, finished=False):
    """A folder as Hydra leaves it when a run begins."""
    stored = folder / ".hydra"
    stored.mkdir(parents=True)
    config = composed(*words)
    (stored / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (stored / "overrides.yaml").write_text(OmegaConf.to_yaml(words))
    (stored / "hydra.yaml").write_text(f"hydra:\n  runtime:\n    cwd: {folder.parent}\n")
    (folder / "config.yaml").write_text(config_text(config))
    for path in (stored / "config.yaml", folder / "config.yaml"):
        os.utime(path, (at, at))
    if finished:
        (folder / "metrics.json").write_text("{}")
        (folder / "report.md").write_text("")
    return folder


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


@pytest.fixture
def elsewhere():
    """Hold a folder in another process."""
    processes = []

    def hold(folder):
        code = (
            "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX)\n"
            "print('in', flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder / ".running")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "in\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_what_asks_for_a_resume():
    assert wants_resume(["resume=last", "seed=1"])
    assert not wants_resume(["seed=1", "callbacks=resume=x"])
    assert not wants_resume(["resume=last", "--help"])
    with pytest.raises(ConfigError, match="a sweep goes on by itself"):
        wants_resume(["-m", "resume=last"])


def test_the_last_unfinished_run_is_found(tmp_path, elsewhere):
    logs = tmp_path / "logs"
    make_run(logs / "runs" / "old", at=100)
    newest = make_run(logs / "sweeps" / "job", at=200)
    make_run(logs / "runs" / "finished", at=300, finished=True)
    words = ["resume=last", f"log_dir={logs}"]
    assert find_run(words) == newest
    holder = elsewhere(newest)
    assert find_run(words) == logs / "runs" / "old"
    holder.kill()
    holder.wait()
    assert find_run(words) == newest


def test_finished_runs_are_named(tmp_path):
    logs = tmp_path / "logs"
    with pytest.raises(OutputError, match=r"there is no run.*resume=FOLDER"):
        find_run(["resume=last", f"log_dir={logs}"])
    report = make_run(logs / "runs" / "one", finished=True) / "report.md"
    with pytest.raises(OutputError, match=f"no run waits.*finished: {report}"):
        find_run(["resume=last", f"log_dir={logs}"])


def test_folders_that_are_no_runs_are_refused(tmp_path, run):
    assert find_run([f"resume={run}"]) == run
    with pytest.raises(OutputError, match=r"is not the folder of a run.*resume=last"):
        find_run([f"resume={tmp_path}"])
    with pytest.raises(OutputError, match="there is no such folder"):
        find_run([f"resume={tmp_path / 'nowhere'}"])
    with pytest.raises(ConfigError, match="two runs are named: a and last"):
        find_run(["resume=a", "resume=last"])


def test_a_run_goes_on_as_it_was_started(run):
    found = load_run(run, [f"resume={run}"])
    assert found.config == composed(*STARTED)
    assert found.command == "kd3d-train " + " ".join(STARTED)
    assert found.started_in == run.parent
    dirpath = OmegaConf.to_container(found.config.callbacks.checkpoint)["dirpath"]
    assert dirpath == "${stage.folder}/checkpoints"  # still of the stage that is trained


def test_the_same_words_again_change_nothing(run):
    assert load_run(run, ["resume=last", *STARTED]).config == composed(*STARTED)
    assert load_run(run, ["resume=last", "scale=smoke", "seed=3"]).config == composed(*STARTED)


def test_options_that_change_no_number_may_be_new(run):
    words = ["data.num_workers=7", "logger=none", "callbacks.checkpoint.every_n_train_steps=9"]
    config = load_run(run, ["resume=last", *words]).config
    assert config.data.num_workers == 7
    assert config.callbacks.checkpoint.every_n_train_steps == 9
    OmegaConf.update(config, "stage.folder", "here")
    assert config.callbacks.checkpoint.dirpath == "here/checkpoints"
    assert config_text(config) == config_text(composed(*STARTED, *words, "stage.folder=here"))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=4", r"seed was 3, now 4"),
        ("data.batch_size=5", r"data\.batch_size was 2, now 5"),
        ("scale=demo", r"the run has another configuration: .* was .*, now .* \(and \d+ more\)"),
        ("hydra.run.dir=x", r"goes on in its own folder"),
        ("data.batchsize=5", r"resume: .*data\.batchsize"),
    ],
)
def test_contradictions_are_refused(run, word, message):
    with pytest.raises(ConfigError, match=message):
        load_run(run, ["resume=last", word])


def test_unreadable_files_are_named(run):
    (run / ".hydra" / "hydra.yaml").write_text("{")
    with pytest.raises(OutputError, match=rf"cannot be read.*hydra\.run\.dir={run}"):
        load_run(run, ["resume=last"])


def test_one_command_at_a_time_works_in_a_folder(tmp_path, elsewhere):
    assert not is_running(tmp_path)
    with alone_in(tmp_path / "new"):
        pass
    elsewhere(tmp_path)
    assert is_running(tmp_path)
    with pytest.raises(OutputError, match="another command is training"), alone_in(tmp_path):
        pass


def test_differences_are_told_by_key(tmp_path):
    first, second = composed("scale=smoke"), composed("scale=smoke", "seed=1", "+extra.key=2")
    assert differing(first, second) == {
        "seed": (0, 1),
        "data.seed": (0, 1),
        "extra.key": (None, 2),
    }
    check_same(
        first, composed("scale=smoke", "data.num_workers=3", "report.attribution=me"), tmp_path
    )
