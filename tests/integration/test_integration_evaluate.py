"""kd3d-predict and kd3d-eval as a user types them."""

import json

import pytest

from kd3d.predictions import load_objects

RANGE = "[-19.2,-19.2,-2,19.2,19.2,4]"
DATA = [
    "data.root=data/smoke",
    "data.val_frame_interval=1",
    "data.num_workers=0",
    f"data.object_range={RANGE}",
]


@pytest.fixture(scope="module")
def predicted(smoke, command):
    folder, _ = smoke
    done = command(
        "kd3d-predict",
        "checkpoint=run/student/detector.ckpt",
        *DATA,
        "out=predictions/student.bin",
        folder=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_predictions_score_as_their_checkpoint(predicted, command_here):
    folder, printed = predicted
    objects = load_objects(folder / "predictions" / "student.bin")
    assert f"{len(objects)} boxes" in printed
    done = command_here(
        "kd3d-eval",
        "predictions=predictions/student.bin",
        *DATA,
        "worst.min_score=0.05",
        "hydra.run.dir=eval_file",
        folder=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((folder / "eval_file" / "metrics.json").read_text())
    runs = json.loads((folder / "run" / "metrics.json").read_text())["runs"]
    assert {key: metrics[key] for key in runs[-1]["metrics"]} == pytest.approx(
        runs[-1]["metrics"], abs=1e-6
    )
    assert "Vehicle/30-50m/L2_APH" in metrics
    assert "50m-inf" in done.stdout
    for name in ("metrics.csv", "precision_recall.png", "worst_frames.md", "worst_frames/1.png"):
        assert (folder / "eval_file" / name).stat().st_size > 0, name


def test_a_cut_file_is_one_message(predicted, command):
    folder, _ = predicted
    content = (folder / "predictions" / "student.bin").read_bytes()
    (folder / "cut.bin").write_bytes(content[:-3])
    done = command("kd3d-eval", "predictions=cut.bin", "ground_truth=cut.bin", folder=folder)
    assert done.returncode == 2
    assert "cut.bin, object" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_score_as_one(smoke, command, command_here):
    folder, _ = smoke
    scores = []
    for devices, run in ((1, command_here), (2, command)):
        done = run(
            "kd3d-eval",
            "checkpoint=run/student/detector.ckpt",
            *DATA,
            "data.batch_size=1",
            "worst.frames=0",
            "trainer.accelerator=cpu",
            f"trainer.strategy={'ddp' if devices > 1 else 'auto'}",
            f"trainer.devices={devices}",
            f"hydra.run.dir=eval_{devices}",
            folder=folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("written:") == 1
        scores.append(json.loads((folder / f"eval_{devices}" / "metrics.json").read_text()))
    assert scores[0] == scores[1]
