"""Objects to write and read."""

import json

import numpy as np
from hypothesis import strategies as st

from kd3d.predictions import FrameObjects, ObjectsBuilder


def box(x=10.0, y=0.0, heading=0.0):
    return [x, y, 1.0, 4.5, 2.0, 1.6, heading]


def few(**changes):
    """Two frames: two predictions, then one."""
    columns = {
        "frame_ids": ("a/1", "b/2"),
        "frame": np.array([0, 0, 1]),
        "boxes": np.array([box(), box(20.0), box(-5.0)]),
        "types": np.array([1, 2, 4]),
        "scores": np.array([0.9, 0.5, 0.1], np.float32),
    }
    return FrameObjects(**{**columns, **changes})


def own(**changes):
    """The same boxes of classes and frames of one's own; one class has no box."""
    facts = {
        "frame_ids": ("val/drive_0/007", "val/drive_0/scan_7"),
        "types": np.array([0, 2, 2]),
        "type_names": ("Car", "Bus", "Walker"),
    }
    return few(**{**facts, **changes})


def same(first, second):
    assert first.frame_ids == second.frame_ids
    assert first.type_names == second.type_names
    assert np.array_equal(first.frame, second.frame)
    assert first.columns().keys() == second.columns().keys()
    for name, values in first.columns().items():
        assert values.dtype == second.columns()[name].dtype, name
        assert np.array_equal(values, second.columns()[name]), name


def case(folder, name):
    """A stored case of the official metric as predictions, ground truth and expected numbers."""
    with np.load(folder / "metric_cases" / f"{name}.npz") as arrays:
        stored = {key: arrays[key] for key in arrays}
    predictions, labels = ObjectsBuilder(), ObjectsBuilder()
    for frame in range(int(stored["num_frames"])):
        mine, real = stored["pred_frame_ids"] == frame, stored["gt_frame_ids"] == frame
        predictions.add(
            f"segment/{frame}",
            boxes=stored["pred_boxes"][mine],
            types=stored["pred_types"][mine],
            scores=stored["pred_scores"][mine],
            overlaps_nlz=stored["pred_overlap_nlz"][mine],
        )
        labels.add(
            f"segment/{frame}",
            boxes=stored["gt_boxes"][real],
            types=stored["gt_types"][real],
            difficulty=stored["gt_difficulty_given"][real],
            num_points=stored["gt_num_points"][real],
        )
    expected = json.loads((folder / "metric_cases" / f"{name}.json").read_text())
    return predictions.build(), labels.build(), expected


@st.composite
def frame_objects(draw):
    """Any legal predictions or labels; every frame has a box."""
    contexts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
    keys = draw(
        st.lists(st.tuples(contexts, st.integers(-(2**63), 2**63 - 1)), unique=True, max_size=4)
    )
    counts = [draw(st.integers(1, 3)) for _ in keys]
    rows = sum(counts)

    def column(values, dtype):
        return np.array(draw(st.lists(values, min_size=rows, max_size=rows)), dtype)

    finite = st.floats(allow_nan=False, allow_infinity=False)
    boxes = column(st.tuples(*[finite] * 3, *[st.floats(0, 1e6)] * 3, finite), np.float64)
    known = draw(st.sets(st.sampled_from(["scores", "overlaps_nlz", "difficulty", "num_points"])))
    values = {
        "scores": (st.floats(0, 1, width=32), np.float32),
        "overlaps_nlz": (st.booleans(), np.bool_),
        "difficulty": (st.integers(0, 2), np.int64),
        "num_points": (st.integers(0, 2**31 - 1), np.int64),
    }
    return FrameObjects(
        frame_ids=tuple(f"{context}/{time}" for context, time in keys),
        frame=np.repeat(np.arange(len(keys)), counts),
        boxes=boxes.reshape(-1, 7),
        types=column(st.integers(0, 4), np.int64),
        # a column without rows is an unknown column once it is written
        **{name: column(*values[name]) for name in sorted(known) if rows},
    )
