"""Checked arrays of boxes, and their builder."""

import numpy as np
import pytest
from predictions_data import box, few

from kd3d.errors import ConfigError, InputError
from kd3d.predictions import ObjectsBuilder, check_classes


def test_rows_of_a_frame():
    objects = few()
    assert objects.rows(0) == slice(0, 2)
    assert objects.rows(1) == slice(2, 3)
    assert set(objects.columns()) == {"boxes", "types", "scores"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((2, 7))}, r"boxes: .*\[3, 7\]"),
        ({"scores": np.zeros(2, np.float32)}, "scores: shape"),
        ({"frame_ids": ("a/1", "a/1")}, "frame a/1: the frame is there twice"),
        ({"frame_ids": ("a/1", "")}, "frame_ids: a frame has no name"),
        ({"type_names": ("A", "B", "A", "C", "D")}, "type_names: .* are not all different"),
        ({"type_names": ("A", "B", "C")}, "frame b/2, types: the type is none of 0 to 2"),
        ({"frame": np.array([0, 1, 0])}, "rising list"),
        ({"frame": np.array([0, 0, 2])}, "rising list"),
        ({"boxes": np.array([box(), box(np.nan), box()])}, "frame a/1, boxes: the box is not fin"),
        ({"boxes": np.array([box(), box(), [0, 0, 0, 1, -1, 1, 0]])}, "frame b/2.*negative side"),
        ({"types": np.array([1, 1, 5])}, "frame b/2, types"),
        ({"scores": np.array([1.1, 0.5, 0.5], np.float32)}, "frame a/1, scores"),
        ({"scores": np.array([0.5, 0.5, np.nan], np.float32)}, "frame b/2, scores"),
        ({"difficulty": np.array([0, 3, 1])}, "frame a/1, difficulty"),
        ({"num_points": np.array([-1, 3, -2])}, "frame b/2, num_points"),
    ],
)
def test_what_is_not_legal_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        few(**changes)


def test_classes_become_places():
    objects = few(types=np.array([0, 1, 4]))
    assert objects.class_ids(("Cyclist", "Vehicle", "Bus")).tolist() == [-1, 1, 0]
    check_classes(("Vehicle", "Sign"), objects)
    with pytest.raises(ConfigError, match=r"Waymo has no class Bus\. There are Vehicle, Ped"):
        check_classes(("Vehicle", "Bus"), objects)
    with pytest.raises(ConfigError, match="Waymo has no class"):
        check_classes(("",), objects)


def test_types_of_ones_own():
    own = few(frame_ids=("val/a", "val/b"), types=np.array([0, 1, 0]), type_names=("Bus", "Bike"))
    assert own.class_ids(("Bike",)).tolist() == [-1, 0, -1]
    check_classes(("Vehicle", "Bus"), few(), own)
    with pytest.raises(ConfigError, match=r"compared has no class Tram\. .*, Cyclist, Bus, Bike"):
        check_classes(("Tram",), few(), own)


def test_a_builder_orders_frames_and_keeps_empty_ones():
    builder = ObjectsBuilder()
    builder.add("b/2", boxes=[box(), box(1.0)], types=[1, 2])
    builder.add("a/9", boxes=[], types=[])
    other = ObjectsBuilder()
    other.add("a/1", boxes=[box(3.0)], types=[4])
    builder.extend([other])
    objects = builder.build()
    assert objects.frame_ids == ("a/1", "a/9", "b/2")
    assert objects.frame.tolist() == [0, 2, 2]
    assert objects.types.tolist() == [4, 1, 2]
    assert len(ObjectsBuilder().build()) == 0


def test_a_builder_refuses_what_does_not_fit():
    builder = ObjectsBuilder()
    builder.add("a/1", boxes=[box()], types=[1], scores=[0.5])
    with pytest.raises(InputError, match=r"frame a/2.*scores"):
        builder.add("a/2", boxes=[box()], types=[1])
    with pytest.raises(InputError, match="frame a/2, scores: 2 values for 1 boxes"):
        builder.add("a/2", boxes=[box()], types=[1], scores=[0.5, 0.5])
    with pytest.raises(InputError, match="columns"):
        ObjectsBuilder().add("a/1", boxes=[box()], types=[1], colour=[3])
    with pytest.raises(InputError, match=r"type_names: .*'Bus'"):
        builder.extend([ObjectsBuilder(("Bus",))])
    builder.add("a/1", boxes=[], types=[], scores=[])
    with pytest.raises(InputError, match="a/1: the frame is there twice"):
        builder.build()
