"""Training processes that are killed in the middle of an epoch, and go on."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kd3d import Detector, create_detector
from kd3d.detectors import save_detector
from kd3d.simulate import simulate_dataset

STEPS = 12  # two and a half epochs of five
RANGE = [-10.24, -10.24, -2.0, 10.24, 10.24, 4.0]

NOTES = '''
"""Notes every training step before the next one begins."""

import os
import signal
from pathlib import Path

from lightning.pytorch import Callback


class StepNotes(Callback):
    def __init__(self, folder, terminate_in=None):
        self.file = Path(folder) / "steps.txt"
        self.terminate_in = terminate_in

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.terminate_in:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        note = [trainer.global_step, outputs["loss"].item().hex(), rate.hex(), *batch.frame_ids]
        with self.file.open("a") as file:
            print(trainer.current_epoch, batch_idx, *note, file=file)
'''

WORDS = [
    "experiment=cp_pillar_kd",
    "scale=smoke",
    "simulate=null",
    "data.root=data",
    "teacher.checkpoint=teacher.ckpt",
    "teacher.check_frames=0",
    f"student.point_cloud_range={RANGE}",
    f"data.object_range={RANGE}",
    "run.teacher=false",
    "run.plain=false",
    "run.initialised=false",
    f"trainer.max_steps={STEPS}",
    "callbacks.checkpoint.every_n_train_steps=2",
    "callbacks.pictures=null",
    "+callbacks.notes={_target_: step_notes.StepNotes, folder: '${stage.folder}'}",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ten training frames, a teacher and the module of the callback."""
    folder = tmp_path_factory.mktemp("resume")
    simulate_dataset(
        folder / "data", scenes=2, val_scenes=1, frames=5, resolution=0.05, extent=16.0, workers=1
    )
    width = {"encoder": 0.25, "backbone_2d": 0.25, "head": 0.25}
    torch.manual_seed(0)
    teacher = create_detector("cp_pillar", point_cloud_range=tuple(RANGE), width=width)
    save_detector(teacher, folder / "teacher.ckpt")
    (folder / "step_notes.py").write_text(NOTES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def start(place, *words):
    """Start ``kd3d-train`` as a user types it."""
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("kd3d-train")), *words],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(place), "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(place, *words):
    process = start(place, *words)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def steps_of(run):
    """What each step saw and did; a step that was repeated must be the same."""
    steps = {}
    for line in (run / "student" / "steps.txt").read_text().splitlines():
        epoch, batch, *note = line.split()
        assert steps.setdefault((int(epoch), int(batch)), note) == note
    return steps


def kill_at(place, count, *words):
    """Start a run and kill it, with no chance to clean up, once it has noted so many steps."""
    runs = place / "logs" / "train" / "runs"
    before = set(runs.glob("*"))
    process = start(place, *words)
    try:
        while process.poll() is None:
            notes = [run / "student" / "steps.txt" for run in set(runs.glob("*")) - before]
            if any(note.is_file() and note.read_text().count("\n") >= count for note in notes):
                break
            time.sleep(0.01)
        else:
            pytest.fail(process.communicate()[0])
    finally:
        process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    (run,) = set(runs.glob("*")) - before
    return run


@pytest.fixture(scope="module")
def whole(place, command_here):
    """The run that nothing interrupts, and that is in no process of its own."""
    done = command_here("kd3d-train", *WORDS, "hydra.run.dir=whole", folder=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(steps_of(place / "whole")) == STEPS
    return place / "whole"


def test_a_terminated_run_repeats_no_step(place, whole):
    """A scheduler's warning comes in the third step; the next checkpoint was far away."""
    rare = "callbacks.checkpoint.every_n_train_steps=99"
    words = (*WORDS, rare, "+callbacks.notes.terminate_in=2", "hydra.run.dir=terminated")
    code, output = finish(place, *words)
    assert code == 128 + signal.SIGTERM, output
    assert "stopped: kd3d-train resume=" in output
    run = place / "terminated"
    assert len(steps_of(run)) == 3
    code, output = finish(place, f"resume={run}")
    assert code == 0, output
    assert (run / "student" / "steps.txt").read_text().count("\n") == STEPS
    assert steps_of(run) == steps_of(whole)


def test_a_killed_run_goes_on_with_the_very_next_frame(place, whole):
    """With two workers, as the whole run had none: neither may matter."""
    kill_after = random.SystemRandom().randint(1, STEPS - 2)
    print(f"killed after {kill_after} steps")  # pytest shows it if the test fails
    run = kill_at(place, kill_after, *WORDS, "data.num_workers=2")
    assert not (run / "student" / "result.json").exists()
    code, output = finish(place, "resume=last", *WORDS[:2])
    assert code == 0, output
    assert steps_of(run) == steps_of(whole)
    expected = Detector.from_checkpoint(whole / "student" / "detector.ckpt").state_dict()
    weights = Detector.from_checkpoint(run / "student" / "detector.ckpt").state_dict()
    for name, value in expected.items():
        assert torch.equal(value, weights[name]), name
    first, second = (
        json.loads((folder / "metrics.json").read_text())["runs"][-1] for folder in (whole, run)
    )
    assert first["metrics"] == second["metrics"]
    assert "experiment=cp_pillar_kd" in (run / "report.md").read_text()


def test_a_finished_run_says_where_its_report_is(place, whole, command_here):
    done = command_here("kd3d-train", "resume=whole", folder=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"finished before: {whole / 'report.md'}" in done.stdout
