"""What a run leaves in its folder: tables, pictures, the report."""

import csv
import datetime
import io
from dataclasses import dataclass, field
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from kd3d.cli.environment import describe_machine, describe_versions
from kd3d.cli.report import Picture, ReportContext, write_report
from kd3d.cli.results import RunResult
from kd3d.cli.stages import learning_curve
from kd3d.data import WaymoDataModule
from kd3d.detectors import Detector
from kd3d.errors import ConfigError
from kd3d.files import write_text
from kd3d.structures import Detections, PointBatch
from kd3d.visualize import save_bev, save_curves

__all__ = ["Outcome", "write_outcome"]

_CURVE = "val/L2_mAPH"


@dataclass
class Outcome:
    """The finished stages of a run, in order."""

    results: list[RunResult] = field(default_factory=list)
    detectors: list[Detector] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def add(self, result: RunResult, detector: Detector, folder: Path) -> None:
        """Add a finished stage."""
        self.results.append(result)
        self.detectors.append(detector)
        self.folders.append(folder)


def write_outcome(config: DictConfig, folder: Path, command: str, outcome: Outcome) -> None:
    """Write ``metrics.csv``, pictures, ``report.md`` and ``metrics.json``.

    ``metrics.json`` comes last: its presence says that the run is finished.
    """
    write_text(folder / "metrics.csv", _as_csv(outcome.results))
    pictures = [*_draw_frame(config, folder, outcome), *_draw_curves(folder, outcome)]
    context = ReportContext(
        title=f"{config.student.name}: {len(outcome.results)} runs side by side",
        command=command,
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        machine=describe_machine(),
        versions=describe_versions(),
        data=_describe_data(config),
        notes=_notes(config, outcome.results),
        pictures=pictures,
    )
    write_report(folder, outcome.results, context)


def _as_csv(results: list[RunResult]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "metric", "value"])
    for result in results:
        writer.writerows([result.name, name, value] for name, value in result.metrics.items())
    return text.getvalue()


def _validation_frame(data: WaymoDataModule, index: int) -> PointBatch:
    """Find one frame of the validation set as a batch of its own."""
    seen = 0
    for batch in data.val_dataloader():
        if seen + len(batch) > index:
            return _single(batch, index - seen)
        seen += len(batch)
    raise ConfigError(
        f"there is no frame {index}, the validation set has {seen}.", where="report.picture_frame"
    )


def _single(batch: PointBatch, i: int) -> PointBatch:
    present = batch.labels[i] >= 0
    return PointBatch.from_points(
        [batch.points_of(i)],
        boxes=[batch.boxes[i][present]],
        labels=[batch.labels[i][present]],
        num_points=[batch.num_points[i][present]],
        difficulty=[batch.difficulty[i][present]],
        frame_ids=[batch.frame_ids[i]],
    )


def _draw_frame(config: DictConfig, folder: Path, outcome: Outcome) -> list[Picture]:
    if config.report.picture_frame is None:
        return []
    data: WaymoDataModule = instantiate(config.data, _convert_="all")
    data.setup("validate")
    frame = _validation_frame(data, config.report.picture_frame)
    labelled = frame.num_points[0] != 0
    truth = Detections(
        boxes=frame.boxes[0][labelled],
        scores=torch.ones(int(labelled.sum())),
        labels=frame.labels[0][labelled],
    )
    panels: list[tuple[str, Detections]] = []
    for result, detector in zip(outcome.results, outcome.detectors, strict=True):
        found = detector.predict(frame.points)
        assert isinstance(found, Detections)
        panels.append((result.name, found))
    save_bev(
        folder / "bev.png",
        frame.points,
        panels,
        point_cloud_range=list(config.student.point_cloud_range),
        ground_truth=truth,
        classes=list(config.classes),
        title=f"validation frame {config.report.picture_frame}",
        caption="  ".join(filter(None, (frame.frame_ids[0], config.report.attribution))),
    )
    return [Picture("bev.png", "One validation frame from above")]


def _draw_curves(folder: Path, outcome: Outcome) -> list[Picture]:
    curves = {
        result.name: learning_curve(stage, _CURVE)
        for result, stage in zip(outcome.results, outcome.folders, strict=True)
    }
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return []
    percent = {name: [(x, 100 * y) for x, y in points] for name, points in curves.items()}
    save_curves(folder / "curves.png", percent, metric="L2 mAPH (validation, %)")
    return [Picture("curves.png", "L2 mAPH on the validation set while training")]


def _describe_data(config: DictConfig) -> str:
    if config.simulate is None:
        return f"{config.data.root}, every frame {config.data.frame_interval} of each segment"
    made = config.simulate
    if made.get("preset") is not None:
        from kd3d.simulate import preset

        one = preset(made.preset)
        return (
            f"simulated: {one.name}, version {one.version}: {one.scenes} training, "
            f"{one.val_scenes} validation and {one.test_scenes} test segments of "
            f"{one.frames} frames"
        )
    return (
        f"simulated: {made.scenes} training and {made.val_scenes} validation segments of "
        f"{made.frames} frames, resolution {made.resolution:g}, seed {made.seed}"
    )


def _notes(config: DictConfig, results: list[RunResult]) -> list[str]:
    notes = [
        f"{result.skipped_frames} damaged records were left out in the run of the {result.name}."
        for result in results
        if result.skipped_frames
    ]
    notes += [
        f"{result.replaced_frames} training frames without a box were replaced by others in the run"
        f" of the {result.name}."
        for result in results
        if result.replaced_frames
    ]
    if any(result.name == "initialised student" for result in results):
        notes.append(
            "The initialised student starts where the distilled one starts and trains without a "
            "teacher: what distillation adds is the difference to it. Both began with the "
            "teacher's trained weights, the plain student with random ones."
        )
    if config.data.object_range is not None:
        low, high = config.data.object_range[:2], config.data.object_range[3:5]
        notes.append(
            f"Objects whose centre is outside x {low[0]:g} to {high[0]:g} m, "
            f"y {low[1]:g} to {high[1]:g} m were dropped, for all rows alike: "
            "not comparable with full-range numbers."
        )
    if config.simulate is not None:
        notes.append("Simulated scenes: a check of the machinery, no statement about real roads.")
    if config.data.train == config.data.val:
        notes.append("Evaluated on the frames it was trained on: shows fit, not generalisation.")
    notes.append(f"One run each (seed {config.seed}): differences include the seed's luck.")
    return notes
