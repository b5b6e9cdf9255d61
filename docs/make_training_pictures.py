"""Draw what a student finds while it learns: ``python docs/make_training_pictures.py``.

Simulates some segments, trains a small teacher on them, distils it into a smaller student, and
keeps the student's last picture for the documentation. About ten minutes on one core.
"""

import tempfile
import warnings
from pathlib import Path

import lightning.pytorch as pl

from kd3d import DetectorModule, KDCallback, LabelKD, PivotalLogitKD, WaymoDataModule
from kd3d.data import WorldAugmentation
from kd3d.detectors import Detector, create_detector
from kd3d.simulate import simulate_dataset
from kd3d.training import DetectionPictures

IMAGES = Path(__file__).parent / "images"
RANGE = (-19.2, -19.2, -2.0, 19.2, 19.2, 4.0)


def main(steps: int = 800, scenes: int = 12) -> None:
    """Train teacher and student, and keep the picture of the last validation."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = make_data(Path(folder) / "data", scenes)
        teacher = make_detector("cp_pillar")
        train(teacher, data, steps)
        student = make_detector("cp_pillar_v064")
        distil = KDCallback(
            teacher,
            {"logit": PivotalLogitKD(7.0), "label": LabelKD(0.5)},
            teacher_mode="batch_stats",
            teacher_check_frames=0,
        )
        pictures = DetectionPictures(
            frames=1,
            folder=Path(folder) / "pictures",
            min_score=0.5,
            caption="Data: simulated by kd3d",
        )
        train(student, data, steps, distil, pictures)
        last = max((Path(folder) / "pictures").glob("*.png"))
        last.replace(IMAGES / "training_picture.png")


def make_data(root: Path, scenes: int) -> WaymoDataModule:
    """Simulate segments of four frames to train on, and one to validate on."""
    simulate_dataset(
        root, scenes=scenes, val_scenes=1, frames=4, resolution=0.125, extent=32.0, workers=1
    )
    turns = WorldAugmentation(rotation=(-0.1, 0.1))
    return WaymoDataModule(root, point_range=RANGE, object_range=RANGE, augmentation=turns)


def make_detector(name: str) -> Detector:
    """Make a small network of a short range."""
    pl.seed_everything(0, verbose=False)
    width = {"encoder": 0.25, "backbone_2d": 0.25, "head": 0.25}
    return create_detector(name, point_cloud_range=RANGE, width=width, norm_momentum=0.1)


def train(detector: Detector, data: WaymoDataModule, steps: int, *callbacks: pl.Callback) -> None:
    """Train a detector, and validate it at the end."""
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=steps,
        gradient_clip_val=10.0,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(DetectorModule(detector, total_steps=steps), data)


if __name__ == "__main__":
    main()
