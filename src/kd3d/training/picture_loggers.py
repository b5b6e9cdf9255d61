"""Handing pictures and scenes to loggers, whichever they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd3d.visualize import Scene, wandb_scene

__all__ = ["give_picture", "give_scene"]


def give_picture(logger: Any, key: str, path: Path, step: int) -> bool:  # noqa: ANN401
    """Hand a picture to a logger, if it takes any.

    That is a logger with ``log_image`` (Weights & Biases), one whose experiment has ``add_image``
    (TensorBoard), or one whose experiment keeps files of a run (MLflow).

    Args:
        logger: any logger of a trainer.
        key: the picture's name, the same at every step.
        path: a PNG file.
        step: the trainer's step.

    Returns:
        whether it took the picture.
    """
    if callable(getattr(logger, "log_image", None)):
        logger.log_image(key=key, images=[str(path)], step=step)
        return True
    experiment: Any = getattr(logger, "experiment", None)
    if callable(getattr(experiment, "add_image", None)):
        experiment.add_image(key, _pixels(path), global_step=step, dataformats="HWC")
        return True
    run = getattr(logger, "run_id", None)
    if run is not None and callable(getattr(experiment, "log_artifact", None)):
        experiment.log_artifact(run, str(path), "pictures")
        return True
    return False


def give_scene(
    logger: Any,  # noqa: ANN401 - any logger of a trainer
    key: str,
    scene: Scene,
    classes: Sequence[str],
    step: int,
) -> bool:
    """Hand a scene to a logger, if it is that of Weights & Biases.

    Args:
        logger: any logger of a trainer.
        key: the scene's name, the same at every step.
        scene: a frame.
        classes: names by class id.
        step: the trainer's step.

    Returns:
        whether it took the scene.
    """
    # by name, because there are two packages with a class of this name
    if not any(kind.__name__ == "WandbLogger" for kind in type(logger).__mro__):
        return False
    logger.log_metrics({key: wandb_scene(scene, classes=classes)}, step=step)
    return True


def _pixels(path: Path) -> Any:  # noqa: ANN401 - numpy, as the logger takes it
    """Read red, green, blue ``[H, W, 3]`` from 0 to 255."""
    from matplotlib.image import imread

    return (imread(path)[..., :3] * 255).round().astype("uint8")
