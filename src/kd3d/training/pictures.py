"""The callback that draws what a detector finds while it learns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from typing_extensions import override

from kd3d.distill import BatchView
from kd3d.errors import ConfigError
from kd3d.structures import Detections
from kd3d.training.picture_frames import (
    Points,
    Predict,
    class_names,
    find,
    find_by_teachers,
    point_range,
    read_frames,
)
from kd3d.training.picture_loggers import give_picture, give_scene
from kd3d.visualize import Scene, save_bev, save_scene

__all__ = ["DetectionPictures"]


def call_module(module: Any, batch: Any) -> Any:  # noqa: ANN401 - any module, any batch
    """Find boxes by the module's forward pass, as `kd3d.DetectorModule` does."""
    return module(batch)


class DetectionPictures(Callback):
    """Draw the first validation frames from above: ground truth, teacher and student side by side.

    The pictures are written as PNG files and handed to every logger that takes images
    (TensorBoard, Weights & Biases, MLflow). The teacher is that of a `KDCallback` of the same
    trainer; it finds its boxes once per fit. The frames are those of the first validation, also if
    a loader shuffles. With a logger for Weights & Biases each frame is logged as a 3D scene too.

    Nothing here changes a run: no random number is drawn, no weight or buffer is touched, and what
    goes wrong becomes a warning, said once. Nothing is drawn in the sanity check. Each picture
    costs a forward pass on one batch and the drawing, about a second.

    Args:
        frames: how many frames; those of the first validation loader, of the first process.
        every_n_epochs: draw in the first validation, and in the first one after so many epochs.
        every_n_validations: count validations instead of epochs.
        folder: where the files go; by default ``pictures`` in the logger's folder of the run.
        min_score: boxes that score less are not drawn.
        scenes: log 3D scenes to Weights & Biases.
        recording: also write the frames as ``.rrd`` files for Rerun (extra ``viz``).
        predict: function of the LightningModule and a batch that gives one `Detections` per frame;
            by default the module's forward pass does. It must leave both as they are.
        points: function of a batch that gives the points ``[N_i, 3 or more]`` of each frame; for
            batches that are no `PointBatch` and have no ``points`` by frame.
        batch_view: how to read the ground truth of batches without ``boxes`` and ``labels``.
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres to draw; by default
            the module's or its detector's, else a square around all points.
        classes: names by class id; by default the module's or its detector's.
        caption: small text under the pictures, such as the data's attribution.

    Raises:
        ConfigError: if a number is out of its range.

    Example:
        >>> pictures = DetectionPictures(frames=2, every_n_epochs=5)
        >>> trainer = lightning.Trainer(callbacks=[KDCallback(...), pictures])  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        frames: int = 2,
        every_n_epochs: int = 1,
        every_n_validations: int | None = None,
        folder: str | Path | None = None,
        min_score: float = 0.3,
        scenes: bool = True,
        recording: bool = False,
        predict: Predict = call_module,
        points: Points | None = None,
        batch_view: BatchView | None = None,
        point_cloud_range: Sequence[float] | None = None,
        classes: Sequence[str] | None = None,
        caption: str | None = None,
    ) -> None:
        for name, value in (
            ("frames", frames),
            ("every_n_epochs", every_n_epochs),
            ("every_n_validations", every_n_validations),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"at least 1, not {value}.", where=name)
        if not 0 <= min_score <= 1:
            raise ConfigError(f"{min_score} is no score.", where="min_score")
        self.frames = frames
        self.every_n_epochs = every_n_epochs
        self.every_n_validations = every_n_validations
        self.folder = None if folder is None else Path(folder)
        self.min_score = min_score
        self.scenes = scenes
        self.recording = recording
        self.predict = predict
        self.points = points
        self.batch_view = batch_view if batch_view is not None else BatchView()
        self.point_cloud_range = point_cloud_range
        self.classes = classes
        self.caption = caption or ""
        self._drawn_at: int | None = None  # the trainer's step
        self._forget()

    @override
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Start anew."""
        self._forget()

    @override
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Decide whether this validation is drawn."""
        self._scenes: list[Scene] = []
        self._draws = self._is_due(trainer)

    @override
    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Find boxes in the first frames, while the validated weights are in place."""
        if not self._draws or dataloader_idx > 0 or len(self._scenes) >= self.frames:
            return
        if batch_idx == len(self._batches):
            self._batches.append(batch)
        # every process runs the network, because a sharded one cannot run on the first alone
        with self._harmless("the frames cannot be read, or no boxes found in them"):
            self._scenes += self._look(trainer, pl_module, batch_idx)

    @override
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Draw, and hand the pictures to the loggers."""
        if not self._draws:
            return
        folder = self._folder_of(trainer)
        scenes, self._scenes, self._draws = self._scenes[: self.frames], [], False
        if not scenes:
            return
        self._drawn_at = trainer.global_step
        if trainer.is_global_zero:
            with self._harmless(f"pictures cannot be kept in {folder}"):
                self._draw(trainer, pl_module, scenes, folder)

    @override
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Let the frames go."""
        self._forget()

    @override
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Let the frames go; Lightning calls no teardown after an exception."""
        self._forget()

    def _forget(self) -> None:
        self._batches: list[Any] = []
        self._teachers: list[dict[str, list[Detections]]] = []
        self._scenes = []
        self._said: set[str] = set()
        self._validations = 0
        self._epoch: int | None = None  # of the last pictures
        self._draws = False

    def _is_due(self, trainer: Any) -> bool:  # noqa: ANN401 - a Trainer of either package
        if trainer.sanity_checking:
            return False
        if trainer.state.fn == "validate" and self._drawn_at == trainer.global_step:
            return False  # the fit ended with this picture
        self._validations += 1
        if self.every_n_validations is not None:
            return (self._validations - 1) % self.every_n_validations == 0
        epoch = trainer.current_epoch
        if self._epoch is not None and epoch - self._epoch < self.every_n_epochs:
            return False
        self._epoch = epoch
        return True

    def _look(self, trainer: Any, pl_module: Any, place: int) -> list[Scene]:  # noqa: ANN401
        """Find boxes in the frames of a batch, by the teachers (once) and the student."""
        batch = self._batches[place]
        with isolate_rng(), torch.no_grad(), trainer.precision_plugin.val_step_context():
            scenes = read_frames(batch, self.batch_view, self.points)
            if place == len(self._teachers):
                self._teachers.append({})
                with self._harmless("the teacher's boxes cannot be drawn"):
                    self._teachers[place] = find_by_teachers(trainer, batch, len(scenes))
            taught = self._teachers[place]
            own = find(self.predict, pl_module, batch, len(scenes))
        found = {**taught, ("student" if taught else "detector"): own}
        return [
            replace(scene, found={name: self._sure(boxes[i]) for name, boxes in found.items()})
            for i, scene in enumerate(scenes)
        ]

    def _sure(self, found: Detections) -> Detections:
        keep = found.scores >= self.min_score
        return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])

    def _draw(
        self,
        trainer: Any,  # noqa: ANN401 - a Trainer of either package
        pl_module: Any,  # noqa: ANN401 - of either package
        scenes: Sequence[Scene],
        folder: Path,
    ) -> None:
        step = trainer.global_step
        classes = self.classes if self.classes is not None else class_names(pl_module)
        with isolate_rng():
            for place, scene in enumerate(scenes):
                path = folder / f"step_{step:07d}_frame_{place}.png"
                save_bev(
                    path,
                    scene.points,
                    list(scene.found.items()),
                    point_cloud_range=self.point_cloud_range or point_range(pl_module, scene),
                    ground_truth=scene.ground_truth,
                    classes=classes,
                    min_score=self.min_score,
                    title=f"{scene.name}, step {step}",
                    caption=self.caption,
                )
                for logger in trainer.loggers:
                    with self._harmless(f"{type(logger).__name__} does not take the pictures"):
                        give_picture(logger, f"pictures/frame_{place}", path, step)
                    with self._harmless(f"{type(logger).__name__} does not take the scenes"):
                        if self.scenes:
                            give_scene(logger, f"scenes/frame_{place}", scene, classes, step)
            if self.recording:
                save_scene(folder / f"step_{step:07d}.rrd", scenes, classes=classes)

    def _folder_of(self, trainer: Any) -> Path:  # noqa: ANN401 - a Trainer of either package
        # log_dir speaks to all processes, so all must ask for it
        return self.folder or Path(trainer.log_dir or trainer.default_root_dir) / "pictures"

    @contextmanager
    def _harmless(self, trouble: str) -> Iterator[None]:
        """Turn any error into a warning, once for each kind of trouble."""
        try:
            yield
        except Exception as error:
            if trouble not in self._said:
                self._said.add(trouble)
                rank_zero_warn(f"kd3d: {trouble}. {type(error).__name__}: {error}")
