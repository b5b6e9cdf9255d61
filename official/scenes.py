"""Random scenes that exercise every rule of the detection metric at once."""

import numpy as np

from kd3d.metrics.functional import Objects, Predictions

SIZES = np.array([[4.7, 2.1, 1.7], [0.9, 0.86, 1.73], [0.6, 0.1, 0.8], [1.78, 0.84, 1.78]])
SPREAD = np.array([0.25, 0.08, 0.02, 0.1])
"""Shift of a prediction in metres by class: overlaps fall on both sides of the threshold."""


def draw_scene(seed: int, frames: int = 20, objects: int = 40) -> tuple[Predictions, Objects]:
    """Draw objects all over 90 m and predictions that find, miss, repeat and invent them.

    Some predictions are turned by pi, have headings beyond pi, another type, or a no-label-zone
    flag; some frames have no objects or no predictions.

    Args:
        seed: of everything drawn.
        frames: how many.
        objects: per frame.

    Returns:
        rows whose shards are positions in `kd3d.metrics.official.OFFICIAL_CLASSES`.
    """
    rng = np.random.default_rng(seed)
    count = frames * objects
    classes = rng.choice(4, count, p=[0.45, 0.3, 0.1, 0.15])
    boxes = draw_boxes(rng, classes)
    frame = np.arange(count) // objects

    source = rng.choice(count, int(1.3 * count))
    invented = draw_boxes(rng, classes[source])
    found = boxes[source] + rng.normal(size=(len(source), 7)) * 0.03
    found[:, :2] += rng.normal(size=(len(source), 2)) * SPREAD[classes[source], None]
    found[:, 3:6] = np.maximum(found[:, 3:6], 0.05)
    found[:, 6] += rng.choice([0, np.pi, np.pi / 2, 2 * np.pi, -4 * np.pi], len(source))
    predicted = np.where(rng.random(len(source))[:, None] < 0.2, invented, found)
    types = np.where(
        rng.random(len(source)) < 0.05, rng.integers(4, size=len(source)), classes[source]
    )

    real = rng.random(count) < 0.95
    real[frame == 0] = False
    told = frame[source] != 1
    return (
        Predictions(
            predicted[told].astype(np.float32),
            rng.random(len(source))[told].astype(np.float32),
            frame[source][told],
            types[told],
            rng.random(len(source))[told] < 0.1,
        ),
        Objects(
            boxes[real].astype(np.float32),
            frame[real],
            classes[real],
            rng.integers(1, 3, size=count)[real],
        ),
    )


def draw_boxes(rng: np.random.Generator, classes: np.ndarray) -> np.ndarray:
    """Draw a box of the usual size for each class."""
    places = rng.uniform(-65, 65, size=(len(classes), 2))
    heights = rng.uniform(0, 2, size=(len(classes), 1))
    sizes = SIZES[classes] * rng.uniform(0.8, 1.2, size=(len(classes), 3))
    headings = rng.uniform(-np.pi, np.pi, size=(len(classes), 1))
    return np.concatenate((places, heights, sizes, headings), axis=1)
