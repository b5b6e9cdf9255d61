"""Teacher boxes from files: read, merged, moved with their scene, and of the right frames."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distill_fakes import CLASSES, TinyModule, make_detector, make_trainer
from torch.utils.data import DataLoader, Dataset

from kd3d.data import FrameDataset, WaymoDataModule, WorldTransform, build_index
from kd3d.distill import KDCallback, LabelKD, PredictedBoxes
from kd3d.distill.splits import training_frame_ids
from kd3d.errors import ConfigError, DatasetError, InputError, TeacherError
from kd3d.geometry import BEVGrid, fuse_boxes, move_boxes
from kd3d.predictions import ObjectsBuilder, save_objects
from kd3d.structures import Detections, PointBatch
from kd3d.waymo import RawFrame, RawLabel, RawLaser, write_segment

pytestmark = pytest.mark.filterwarnings("ignore")

CAR = [1.0, 2.0, 0.5, 4.0, 2.0, 1.5, 0.3]
WALKER = [-3.0, 1.0, 0.5, 0.8, 0.6, 1.7, 1.0]


def objects(frames, *, scores=(0.9, 0.4), types=(1, 2), shift=0.0):
    builder = ObjectsBuilder()
    for name in frames:
        boxes = np.array([CAR, WALKER]) + np.eye(7)[0] * shift
        builder.add(name, boxes=boxes, types=list(types), scores=list(scores))
    return builder.build()


@pytest.mark.parametrize("suffix", ["parquet", "bin"])
def test_a_file_gives_its_boxes_by_frame(tmp_path, suffix):
    save_objects(tmp_path / f"teacher.{suffix}", objects(["s/1", "s/2"]))
    predicted = PredictedBoxes(tmp_path / f"teacher.{suffix}", CLASSES)
    one, other = predicted.detections(["s/2", "s/1"])
    assert one.boxes[0].tolist() == pytest.approx(CAR)
    assert one.scores.tolist() == pytest.approx([0.9, 0.4])
    assert other.labels.tolist() == [0, 1]
    assert one.boxes.dtype == torch.float32
    assert predicted.frame_ids == {"s/1", "s/2"}
    assert f"teacher.{suffix}: 2 frames" in repr(predicted)


def test_results_of_openpcdet(tmp_path):
    np.savez(
        tmp_path / "result.npz",
        context_name=["s", "s"],
        timestamp_micros=[1, 2],
        count=[0, 1],
        name=["Car"],
        score=[0.7],
        boxes_lidar=[CAR],
    )
    predicted = PredictedBoxes(
        tmp_path / "result.npz", ["Truck", "Car"], class_names={"Car": "Vehicle", "Truck": "Sign"}
    )
    empty, one = predicted.detections(["s/1", "s/2"])
    assert len(empty) == 0
    assert one.labels.tolist() == [1]


def test_boxes_in_memory_keep_their_labels():
    frame = Detections(torch.tensor([WALKER, CAR]), torch.tensor([0.2, 0.8]), torch.tensor([4, 0]))
    (found,) = PredictedBoxes({"any name": frame}, list("abcde")).detections(["any name"])
    assert found.labels.tolist() == [0, 4]  # in falling order of score
    assert found.boxes.tolist() == [pytest.approx(CAR), pytest.approx(WALKER)]


def test_types_that_are_no_class_and_low_scores_are_left_out():
    source = objects(["s/1"], types=(3, 2))
    (found,) = PredictedBoxes(source, CLASSES, min_score=0.3).detections(["s/1"])
    assert found.labels.tolist() == [1]
    (found,) = PredictedBoxes(source, CLASSES, min_score=0.5).detections(["s/1"])
    assert len(found) == 0


def test_several_files_are_fused_per_class():
    sources = [
        objects(["s/1"]),
        objects(["s/1"], shift=0.3, scores=(0.6, 0.4)),
        objects(["s/1"], types=(4, 4)),
    ]
    predicted = PredictedBoxes(sources, CLASSES, weights=[2, 1, 1])
    (found,) = predicted.detections(["s/1"])
    parts = [PredictedBoxes(source, CLASSES).detections(["s/1"])[0] for source in sources]
    expected = fuse_boxes(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
        num_sources=3,
        weights=torch.tensor([2, 1, 1.0]).repeat_interleave(2) * 0.75,
    )
    assert all(map(torch.equal, (found.boxes, found.scores, found.labels), expected))
    assert sorted(found.labels.tolist()) == [0, 1, 1, 2, 2]  # walkers 0.3 m apart are two
    car = found.boxes[found.labels == 0][0]
    assert car[0] == pytest.approx(1.0 + 0.3 * 0.6 / (0.6 + 2 * 0.9), abs=1e-5)
    (apart,) = PredictedBoxes(sources, CLASSES, fusion=False).detections(["s/1"])
    assert len(apart) == 6
    assert (apart.scores.diff() <= 0).all()


def test_boxes_move_with_their_scene():
    move = WorldTransform(flip_x=True, flip_y=False, angle=0.7, scale=1.04)
    world = torch.stack((torch.eye(4), move.matrix().float()))
    still, moved = PredictedBoxes(objects(["s/1"]), CLASSES, max_missing=1).detections(
        ["s/1", "s/1"], world=world
    )
    torch.testing.assert_close(still.boxes[0], torch.tensor(CAR))
    expected = move.boxes(torch.tensor([CAR, WALKER]))
    torch.testing.assert_close(moved.boxes, expected, rtol=0, atol=1e-5)


def test_boxes_outside_the_grid_teach_nothing():
    (found,) = PredictedBoxes(objects(["s/1"]), CLASSES).detections(
        ["s/1"], within=BEVGrid(0, 0, 1, 1, 4, 4)
    )
    assert found.scores.tolist() == pytest.approx([0.9, 0.0])


def test_other_frames_are_an_error_with_counts():
    predicted = PredictedBoxes(objects([f"s/{i}" for i in range(10)]), CLASSES)
    with pytest.raises(
        TeacherError,
        match=r"predictions\[0\]: none of the 2 frames asked for is among its 10 frames.*"
        "Asked for 'other/1', it has 's/0'",
    ):
        predicted.detections(["other/1", "other/2"])
    with pytest.raises(TeacherError, match="3 of the 12 frames asked for are not among its 10"):
        predicted.check([f"s/{i}" for i in range(1, 13)])
    predicted.check([f"s/{i}" for i in range(11)])
    predicted.check([f"s/{i}" for i in range(5, 15)], max_missing=0.5)


def test_each_source_must_know_the_frames():
    sources = [objects(["s/1"]), objects(["t/1"])]
    with pytest.raises(TeacherError, match=r"predictions\[1\]: none of the 1 frames"):
        PredictedBoxes(sources, CLASSES).detections(["s/1"])


def test_a_frame_without_boxes_may_be_missing_but_not_many():
    predicted = PredictedBoxes(objects([f"s/{i}" for i in range(180)]), CLASSES)
    assert len(predicted.detections(["s/0", "empty"])[1]) == 0
    for i in range(1, 100):
        predicted.detections([f"s/{i}"])
    for i in range(19):
        predicted.detections([f"s/{i}"] * 4 + ["lost"])
    with pytest.raises(TeacherError, match=r"30 of the 206 frames asked for are not among"):
        predicted.detections(["lost"] * 10)


def test_an_empty_source_is_told():
    with pytest.raises(TeacherError, match=r"among its 0 frames\. It is empty"):
        PredictedBoxes({}, CLASSES).detections(["s/1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": []}, "no source of boxes"),
        ({"weights": [1.0, 2.0]}, "for 1 sources"),
        ({"weights": [0.0]}, "for 1 sources"),
        ({"iou_threshold": 1.5}, "threshold"),
        ({"overlap": "2d"}, "'2d' is not one of"),
        ({"min_score": -0.5}, "min_score"),
        ({"max_missing": 2.0}, "max_missing"),
        ({"class_names": {"Car": "Vehicle"}}, "'Car' is none of the classes"),
        ({"classes": ("Vehicle", "Truck")}, r"no class Truck"),
        ({"sources": "teacher.txt"}, "neither .bin nor .parquet"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        PredictedBoxes(**{"sources": objects(["s/1"]), "classes": CLASSES, **options})


def test_bad_sources(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        PredictedBoxes(tmp_path / "absent.npz", CLASSES)
    labels = ObjectsBuilder()
    labels.add("s/1", boxes=[CAR], types=[1])
    with pytest.raises(InputError, match="no scores"):
        PredictedBoxes(labels.build(), CLASSES)
    wrong = Detections(torch.tensor([CAR]), torch.tensor([0.5]), torch.tensor([3]))
    with pytest.raises(InputError, match=r"frame s/1: a label outside 0 to 2"):
        PredictedBoxes({"s/1": wrong}, CLASSES)


# --- in a run ---------------------------------------------------------------------------------


class Named(Dataset):
    """Two points per frame; tells its frames."""

    def __init__(self, names):
        self.frame_ids = tuple(names)

    def __len__(self):
        return len(self.frame_ids)

    def __getitem__(self, index):
        return self.frame_ids[index]


def collate(names):
    points = [torch.rand(20, 5) for _ in names]
    boxes, labels = [torch.tensor([CAR])] * len(names), [torch.tensor([0])] * len(names)
    return PointBatch.from_points(points, boxes=boxes, labels=labels, frame_ids=names)


def loader(names):
    return DataLoader(Named(names), batch_size=2, collate_fn=collate)


def fit(predictions, train, **options):
    module = TinyModule(make_detector(0))
    callback = KDCallback(None, [LabelKD(0.3, predictions=predictions, **options)])
    make_trainer(callback).fit(module, train)
    return module


def test_a_file_is_a_teacher(tmp_path):
    save_objects(tmp_path / "teacher.bin", objects(["s/1", "s/2"]))
    module = fit(tmp_path / "teacher.bin", loader(["s/1", "s/2"]))
    (targets,) = module.seen_targets
    assert targets.labels.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert targets.from_teacher.tolist() == [[False, True, True]] * 2


def test_a_file_of_another_split_stops_before_the_first_step(tmp_path):
    save_objects(tmp_path / "val.bin", objects(["v/1", "v/2"]))
    module = TinyModule(make_detector(0))
    callback = KDCallback(None, [LabelKD(0.3, predictions=tmp_path / "val.bin")])
    with pytest.raises(TeacherError, match=r"val\.bin: none of the 4 frames"):
        make_trainer(callback).fit(module, loader([f"s/{i}" for i in range(4)]))
    assert module.seen_targets == []


def test_other_classes_stop_before_the_first_step():
    predicted = PredictedBoxes(objects(["s/1"]), tuple(reversed(CLASSES)))
    with pytest.raises(TeacherError, match="predictions' classes"):
        fit(predicted, loader(["s/1"]))


def raw_frame(segment, number):
    """A frame with a car and a walker, seen by one small sensor."""
    random = np.random.default_rng(number)
    image = np.full((4, 40, 4), -1.0, np.float32)
    image[..., 0] = random.uniform(2, 7, (4, 40))
    image[..., 1:3] = 0.5
    laser = RawLaser(
        name=2,
        extrinsic=np.eye(4),
        beam_inclination_min=-0.2,
        beam_inclination_max=0.1,
        returns=(image,),
    )
    labels = [
        RawLabel(
            box=np.array(box) + np.eye(7)[6] * 0.1 * number,
            waymo_type=kind,
            id=name,
            num_points=5,
        )
        for box, kind, name in ((CAR, 1, "car"), (WALKER, 2, "walker"))
    ]
    return RawFrame(
        context_name=segment,
        timestamp_micros=1000 + number,
        pose=np.eye(4),
        lasers=(laser,),
        labels=tuple(labels),
    )


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    for split in ("training", "validation"):
        frames = [raw_frame(f"segment-{split}", number) for number in range(6)]
        write_segment(tmp_path / split / "segment.tfrecord", frames)
    return tmp_path


def truth_as_predictions(root, split):
    frames = FrameDataset(build_index(root, f"{split}/*.tfrecord"))
    builder = ObjectsBuilder()
    for sample in (frames[number] for number in range(len(frames))):
        builder.add(
            sample.frame_id,
            boxes=sample.boxes.numpy(),
            types=[1, 2],
            scores=[0.9, 0.8],
        )
    return builder.build()


class Watching(TinyModule):
    """Keeps its batches."""

    def training_step(self, batch, batch_idx):
        self.batches = [*getattr(self, "batches", []), batch]
        return super().training_step(batch, batch_idx)


def test_boxes_of_a_file_coincide_with_the_augmented_ground_truth(root):
    save_objects(root / "teacher.parquet", truth_as_predictions(root, "training"))
    data = WaymoDataModule(root, batch_size=3)
    module = Watching(make_detector(0))
    callback = KDCallback(None, [LabelKD(0.3, predictions=root / "teacher.parquet")])
    make_trainer(callback, max_epochs=2, limit_val_batches=0).fit(module, data)
    assert len(module.batches) == 4
    assert not torch.allclose(module.batches[0].world, torch.eye(4))  # scenes were moved
    compared = 0
    for batch in module.batches:
        targets = batch.targets
        for frame in range(len(batch)):
            taught = targets.boxes[frame][targets.from_teacher[frame]]
            for box in taught:
                error = (batch.boxes[frame] - box)[:, :6].abs().amax(dim=1)
                same = int(error.argmin())
                assert error[same] < 1e-4
                turn = float(batch.boxes[frame, same, 6] - box[6])
                assert math.cos(turn) == pytest.approx(1, abs=1e-6)
                compared += 1
    assert compared == 24
    # without the movement they would not coincide
    still = move_boxes(module.batches[0].boxes[0], module.batches[0].world[0].inverse())
    assert not torch.allclose(still, module.batches[0].boxes[0], atol=0.1)


def test_waymos_own_dataset_tells_its_frames_before_the_first_step(root):
    predictions = truth_as_predictions(root, "validation")
    data = WaymoDataModule(root, batch_size=3)
    module = Watching(make_detector(0))
    callback = KDCallback(None, [LabelKD(0.3, predictions=predictions)])
    with pytest.raises(TeacherError, match="none of the 6 frames asked for is among its 6 frames"):
        make_trainer(callback, limit_val_batches=0).fit(module, data)
    assert not hasattr(module, "batches")


def test_datasets_that_tell_nothing_are_not_asked():
    trainer = make_trainer()
    trainer.fit(TinyModule(make_detector(0)), loader(["a", "b"]))
    assert training_frame_ids(trainer) == (("a", "b"), True)

    many = {"one": loader(["a"]), "many": [loader(["b"]), [1, 2]]}
    assert training_frame_ids(SimpleNamespace(train_dataloader=many)) == (("a", "b"), True)
