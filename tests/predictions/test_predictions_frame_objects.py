"""Checked arrays of boxes, and their builder."""

import numpy as np
import pytest
from predictions_data import box, few

from kd3d.errors import ConfigError, InputError
from kd3d.predictions import ObjectsBuilder, class_ids


def test_rows_of_a_frame():
    objects = few()
    assert objects.rows(0) == slice(0, 2)
    assert objects.rows(1) == slice(2, 3)
    assert set(objects.columns()) == {"boxes", "waymo_types", "scores"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((2, 7))}, r"boxes: .*\[3, 7\]"),
        ({"scores": np.zeros(2, np.float32)}, "scores: shape"),
        ({"frame_ids": ("a/1", "a/1")}, "frame a/1: the frame is there twice"),
        ({"frame_ids": ("a/1", "b")}, "'b': is no frame id"),
        ({"frame": np.array([0, 1, 0])}, "rising list"),
        ({"frame": np.array([0, 0, 2])}, "rising list"),
        ({"boxes": np.array([box(), box(np.nan), box()])}, "frame a/1, boxes: the box is not fin"),
        ({"boxes": np.array([box(), box(), [0, 0, 0, 1, -1, 1, 0]])}, "frame b/2.*negative side"),
        ({"waymo_types": np.array([1, 1, 5])}, "frame b/2, waymo_types"),
        ({"scores": np.array([1.1, 0.5, 0.5], np.float32)}, "frame a/1, scores"),
        ({"scores": np.array([0.5, 0.5, np.nan], np.float32)}, "frame b/2, scores"),
        ({"difficulty": np.array([0, 3, 1])}, "frame a/1, difficulty"),
        ({"num_points": np.array([0, 3, -1])}, "frame b/2, num_points"),
    ],
)
def test_what_is_not_legal_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        few(**changes)


def test_classes_become_places():
    types = np.array([0, 1, 2, 3, 4])
    assert class_ids(types, ("Cyclist", "Vehicle")).tolist() == [-1, 1, -1, -1, 0]
    with pytest.raises(ConfigError, match="no class Bus"):
        class_ids(types, ("Vehicle", "Bus"))


def test_a_builder_orders_frames_and_keeps_empty_ones():
    builder = ObjectsBuilder()
    builder.add("b/2", boxes=[box(), box(1.0)], waymo_types=[1, 2])
    builder.add("a/9", boxes=[], waymo_types=[])
    other = ObjectsBuilder()
    other.add("a/1", boxes=[box(3.0)], waymo_types=[4])
    builder.extend([other])
    objects = builder.build()
    assert objects.frame_ids == ("a/1", "a/9", "b/2")
    assert objects.frame.tolist() == [0, 2, 2]
    assert objects.waymo_types.tolist() == [4, 1, 2]
    assert len(ObjectsBuilder().build()) == 0


def test_a_builder_refuses_what_does_not_fit():
    builder = ObjectsBuilder()
    builder.add("a/1", boxes=[box()], waymo_types=[1], scores=[0.5])
    with pytest.raises(InputError, match=r"frame a/2.*scores"):
        builder.add("a/2", boxes=[box()], waymo_types=[1])
    with pytest.raises(InputError, match="frame a/2, scores: 2 values for 1 boxes"):
        builder.add("a/2", boxes=[box()], waymo_types=[1], scores=[0.5, 0.5])
    with pytest.raises(InputError, match="columns"):
        ObjectsBuilder().add("a/1", boxes=[box()], waymo_types=[1], colour=[3])
    builder.add("a/1", boxes=[], waymo_types=[], scores=[])
    with pytest.raises(InputError, match="a/1: the frame is there twice"):
        builder.build()
