"""``kd3d-eval``: score a checkpoint, or a file of predictions, with the Waymo metric."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd3d.cli.folders import check_folders, require_root
from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten

if TYPE_CHECKING:
    from kd3d.data import FrameDataset
    from kd3d.metrics import WaymoDetectionMetric
    from kd3d.predictions import Evaluation, FrameObjects

__all__ = ["main"]

register_job_name()


@clear_errors
def main() -> None:
    """Run ``kd3d-eval``."""
    check_folders(sys.argv[1:])
    evaluate()


@hydra.main(version_base="1.3", config_path="pkg://kd3d.conf", config_name="evaluate")
@clear_errors
def evaluate(config: DictConfig) -> float | None:
    """Score ``checkpoint`` or ``predictions``; the value is the L2 mAPH."""
    quieten()
    _check_sources(config)
    compared = _from_checkpoint(config) if config.checkpoint else _from_file(config)
    if compared is None:
        return None  # the first process goes on alone
    predictions, ground_truth, classes = compared

    from kd3d.cli.scores import notes_of, print_scores, write_scores
    from kd3d.cli.worst import write_worst_frames

    evaluation = _evaluate(config, predictions, ground_truth, classes)
    folder = Path(HydraConfig.get().runtime.output_dir)
    scores = {name: float(value) for name, value in evaluation.metric.compute().items()}
    print_scores(scores, evaluation.metric.classes)
    for note in notes_of(evaluation, dataset=config.ground_truth is None):
        print(f"note: {note}")
    written = write_scores(folder, scores, evaluation)
    if config.worst.frames:
        frames = None if config.data.root is None else _frames(config, classes)
        count = config.worst.frames
        written.append(
            write_worst_frames(folder, evaluation, predictions, ground_truth, frames, count=count)
        )
    print("written: " + ", ".join(map(str, written)))
    if config.official:
        from kd3d.cli.official import compare_files, print_comparison

        print_comparison(compare_files(predictions, ground_truth, scores))
    return scores["L2_mAPH"]


def _check_sources(config: DictConfig) -> None:
    """Refuse what does not say what to compare with what."""
    from kd3d.errors import ConfigError

    if bool(config.checkpoint) == bool(config.predictions):
        given = "both are given" if config.checkpoint else "neither is given"
        raise ConfigError(
            f"{given}.",
            where="checkpoint, predictions",
            hint="Name one: checkpoint=FILE.ckpt, or predictions=FILE.bin.",
        )
    if config.checkpoint or config.ground_truth is None:
        require_root(config, "val")
    if config.official:
        from kd3d.metrics.official import find_official

        find_official()  # says how to install it, before hours of work


def _from_checkpoint(
    config: DictConfig,
) -> "tuple[FrameObjects, FrameObjects, tuple[str, ...]] | None":
    """Run the checkpoint; nothing for all processes but the first."""
    from kd3d.cli.detect import collect_detections, open_data
    from kd3d.detectors import Detector
    from kd3d.predictions import load_objects

    labels = None
    if config.ground_truth:
        labels = load_objects(config.ground_truth, scattered=config.scattered)
    detector = Detector.from_checkpoint(config.checkpoint)
    _metric(config, detector.classes)  # says what is missing, before hours of work
    collector, first = collect_detections(config, open_data(config, detector), detector)
    if not first:
        return None
    return collector.predictions.build(), labels or collector.ground_truth.build(), detector.classes


def _from_file(config: DictConfig) -> "tuple[FrameObjects, FrameObjects, tuple[str, ...]]":
    """Read predictions, and labels from a file or from the dataset."""
    from kd3d.predictions import WAYMO_TYPE_NAMES, labelled_objects, load_objects
    from kd3d.waymo import CLASSES

    predictions = load_objects(config.predictions, scattered=config.scattered)
    own = CLASSES if predictions.type_names == WAYMO_TYPE_NAMES else predictions.type_names
    classes = tuple(config.classes or own)
    _metric(config, classes)
    if config.ground_truth:
        labels = load_objects(config.ground_truth, scattered=config.scattered)
    else:
        frames = _frames(config, classes)
        labels = labelled_objects(frames, on_error=config.data.on_error, progress=True)
    return predictions, labels, classes


def _frames(config: DictConfig, classes: Sequence[str]) -> "FrameDataset":
    """Give the validation frames that the configuration names."""
    from hydra.utils import get_class, instantiate

    from kd3d.data import WaymoDataModule
    from kd3d.waymo import CLASSES

    waymo = issubclass(get_class(config.data._target_), WaymoDataModule)
    # Labels of Waymo records are of all types, signs included, whatever is chosen here.
    chosen = list(CLASSES if waymo else classes)
    frames: FrameDataset = instantiate(config.data, classes=chosen, _convert_="all").val_frames
    return frames


def _metric(config: DictConfig, classes: Sequence[str]) -> "WaymoDetectionMetric":
    from kd3d.errors import ConfigError
    from kd3d.metrics import WaymoDetectionMetric
    from kd3d.metrics.official import OFFICIAL_CLASSES

    others = [name for name in classes if name not in OFFICIAL_CLASSES]
    if config.official and others:
        raise ConfigError(
            f"the original evaluator does not know {', '.join(others)}.",
            where="official",
            hint=f"It knows {', '.join(OFFICIAL_CLASSES)}: leave official=true out.",
        )
    return WaymoDetectionMetric(
        classes,
        iou_thresholds=config.iou_thresholds,
        breakdowns=("object_type", "range"),
        # the frames of all processes are here, and the other processes have ended
        distributed_available_fn=lambda: False,
    )


def _evaluate(
    config: DictConfig,
    predictions: "FrameObjects",
    ground_truth: "FrameObjects",
    classes: tuple[str, ...],
) -> "Evaluation":
    from rich.progress import Progress

    from kd3d.predictions import evaluate_objects

    with Progress(transient=True) as bar:
        task = bar.add_task("Matching", total=None)
        return evaluate_objects(
            predictions,
            ground_truth,
            metric=_metric(config, classes),
            min_score=config.worst.min_score,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


if __name__ == "__main__":
    main()
