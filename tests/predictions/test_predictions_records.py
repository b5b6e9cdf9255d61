"""Labels and points straight from records."""

import numpy as np
import pytest

from kd3d.data import FrameDataset, Selection, build_index
from kd3d.errors import RecordError
from kd3d.predictions import labelled_objects, points_of_frames
from kd3d.waymo import RawFrame, RawLabel, RawLaser, write_segment


def frame(time, *, segment="s", kinds=(1, 3), x=10.0):
    image = np.full((2, 8, 4), -1.0, np.float32)
    image[..., :3] = [float(time % 7 + 3), 0.5, 0.5]
    laser = RawLaser(
        name=2,
        extrinsic=np.eye(4),
        beam_inclination_min=-0.2,
        beam_inclination_max=0.1,
        returns=(image,),
    )
    labels = [
        RawLabel(
            box=np.array([x + place, 1.0, 0.5, 4.0, 2.0, 1.6, 0.1]),
            waymo_type=kind,
            id=f"o{place}",
            num_points=7 + place,
            difficulty=place,
        )
        for place, kind in enumerate(kinds)
    ]
    return RawFrame(
        context_name=segment,
        timestamp_micros=time,
        pose=np.eye(4),
        lasers=(laser,),
        labels=tuple(labels),
    )


def dataset(root, *frames, **options):
    write_segment(root / "validation" / "s.tfrecord", frames)
    index = build_index(root, "validation/*.tfrecord", cache_dir=root / "cache")
    return FrameDataset(index, **options)


def test_labels_of_all_types_and_frames_without_any(tmp_path):
    frames = dataset(tmp_path, frame(2), frame(1, kinds=()), frame(3, kinds=(4,)))
    labels = labelled_objects(frames)
    assert labels.frame_ids == ("s/1", "s/2", "s/3")
    assert labels.frame.tolist() == [1, 1, 2]
    assert labels.types.tolist() == [1, 3, 4]
    assert labels.boxes[1].tolist() == [11.0, 1.0, 0.5, 4.0, 2.0, 1.6, 0.1]
    assert labels.num_points.tolist() == [7, 8, 7]
    assert labels.difficulty.tolist() == [0, 1, 0]
    assert labels.scores is None


def test_objects_out_of_range_are_left_out(tmp_path):
    selection = Selection(object_range=(0, -5, -5, 10.5, 5, 5))
    labels = labelled_objects(dataset(tmp_path, frame(1), selection=selection))
    assert labels.types.tolist() == [1]


def test_a_frame_twice_is_refused(tmp_path):
    frames = dataset(tmp_path, frame(1), frame(1))
    with pytest.raises(RecordError, match=r"frame s/1: the frame is there twice\. Remove one"):
        labelled_objects(frames)


@pytest.mark.parametrize("bad", [frame(2, kinds=(9,)), frame(2, x=np.nan)])
def test_damaged_records_stop_or_are_left_out(tmp_path, bad):
    frames = dataset(tmp_path, frame(1), bad)
    with pytest.raises(RecordError, match=r"s\.tfrecord.*1"):
        labelled_objects(frames)
    assert labelled_objects(frames, on_error="skip").frame_ids == ("s/1",)


def test_points_of_some_frames(tmp_path):
    frames = dataset(tmp_path, frame(1), frame(2, x=np.nan), frame(4), frame(5))
    found = dict(points_of_frames(frames, {"s/4", "s/1", "s/2", "other/1"}))
    assert sorted(found) == ["s/1", "s/4"]
    assert found["s/4"].shape == (16, 5)
    assert np.linalg.norm(found["s/4"][0, :3]) == pytest.approx(7.0, abs=1e-4)
