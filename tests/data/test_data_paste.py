import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kd3d.data import (
    FrameDataModule,
    FrameDataset,
    ObjectDatabase,
    ObjectPaste,
    Selection,
    WorldAugmentation,
    build_objects,
    keyed_generator,
)
from kd3d.errors import ConfigError, DatasetError, InputError
from kd3d.geometry import iou_bev, points_in_boxes

CLASSES = ("Vehicle", "Pedestrian", "Cyclist")
MANY = {"Vehicle": 9, "Pedestrian": 8, "Cyclist": 7}


def counts_of(labels):
    return torch.bincount(labels[labels >= 0], minlength=3).tolist()


def grown(boxes, by):
    return torch.cat((boxes[:, :3], boxes[:, 3:6] + by, boxes[:, 6:]), dim=1)


def without_objects(scan):
    return replace(
        scan,
        boxes=scan.boxes[:0],
        labels=scan.labels[:0],
        num_points=scan.num_points[:0],
        difficulty=scan.difficulty[:0],
    )


@pytest.fixture
def scan(make_scenes):
    """A scene that is not in the database."""
    return make_scenes((40,)).read(31)


@given(key=st.integers(0, 10_000), number=st.integers(24, 39))
@settings(deadline=None, max_examples=40)
def test_rules_of_pasting(object_folder, make_scenes, key, number):
    scan = make_scenes((40,)).read(number)
    before = scan.points.clone(), scan.boxes.clone()
    paste = ObjectPaste(object_folder, MANY, min_points=4)
    result, rows = paste.apply(scan, CLASSES, keyed_generator(key))
    new = rows >= 0
    boxes = result.boxes[new]
    recorded = scan.boxes[scan.num_points != 0]
    # Recorded objects stay as they are and come first.
    assert torch.equal(result.boxes[~new], scan.boxes)
    assert new.tolist() == sorted(new.tolist())
    # No pasted box overlaps anything.
    assert not (iou_bev(boxes, recorded) > 0).any()
    assert not (iou_bev(boxes, boxes).fill_diagonal_(0) > 0).any()
    # No class is filled beyond its limit.
    present = counts_of(scan.labels[scan.num_points != 0])
    for label, limit in enumerate(MANY.values()):
        assert int((result.labels[new] == label).sum()) <= max(limit - present[label], 0)
    assert (result.num_points[new] >= 4).all()
    # Pasted points come first, in their boxes, one object after the other.
    total = int(result.num_points[new].sum())
    owner = torch.repeat_interleave(torch.arange(len(boxes)), result.num_points[new])
    inside = points_in_boxes(result.points[:total], grown(boxes, 1e-3))
    assert inside[torch.arange(total), owner].all()
    # Of the scene, all points are left but those in pasted boxes.
    hidden = points_in_boxes(scan.points, boxes).any(dim=1)
    assert torch.equal(result.points[total:], scan.points[~hidden])
    assert torch.equal(scan.points, before[0])
    assert torch.equal(scan.boxes, before[1])


def test_points_are_taken_from_under_a_pasted_box(object_folder, scan):
    database = ObjectDatabase(object_folder)
    paste = ObjectPaste(object_folder, MANY)
    result, rows = paste.apply(scan, CLASSES, keyed_generator(1))
    boxes = database.boxes(rows[rows >= 0].numpy())
    assert points_in_boxes(scan.points, boxes).any()
    kept = result.points[int(result.num_points[rows >= 0].sum()) :]
    assert not points_in_boxes(kept, boxes).any()
    assert len(kept) < len(scan.points)


def test_rows_say_what_was_pasted(object_folder, scan):
    result, rows = ObjectPaste(object_folder, MANY).apply(scan, CLASSES, keyed_generator(2))
    new = rows >= 0
    found = ObjectDatabase(object_folder).take(rows[new].numpy())
    assert len(found.boxes) > 3
    assert torch.equal(result.boxes[new], found.boxes)
    assert torch.equal(result.difficulty[new], found.difficulty)
    assert torch.equal(result.points[: len(found.points)], found.points)


def test_an_empty_scene_is_filled_to_its_limits_at_most(object_folder, scan):
    empty = without_objects(scan)
    counts = np.array(
        [
            counts_of(
                ObjectPaste(object_folder, {"Vehicle": 2, "Pedestrian": 1})
                .apply(empty, CLASSES, keyed_generator(key))
                .scan.labels
            )
            for key in range(30)
        ]
    )
    assert counts.max(axis=0).tolist() == [2, 1, 0]
    assert (counts[:, 1] == 1).mean() > 0.7  # nearly nothing is in the way


def test_what_is_in_the_scene_counts_and_boxes_without_points_do_not(object_folder, scan):
    vehicles = int(((scan.labels == 0) & (scan.num_points != 0)).sum())
    assert vehicles >= 2
    full = ObjectPaste(object_folder, {"Vehicle": vehicles})
    assert all(len(full.draw(scan, CLASSES, keyed_generator(key))) == 0 for key in range(20))
    unseen = replace(scan, num_points=torch.zeros_like(scan.num_points))
    assert any(len(full.draw(unseen, CLASSES, keyed_generator(key))) for key in range(20))


def test_two_candidates_of_a_class_that_overlap_are_both_dropped(make_scenes, tmp_path, scan):
    source = make_scenes((1,))
    read = source.read
    box = torch.tensor([[0.0, 0, 0, 4, 2, 2, 0.3]])

    def twins(frame):
        found = read(frame)
        one = torch.ones(2).long()
        return replace(
            found, boxes=box.repeat(2, 1), labels=one * 0, num_points=one, difficulty=one
        )

    source.read = twins
    build_objects(source, tmp_path, workers=1)
    for limit, kept in ((1, 1), (2, 0)):
        paste = ObjectPaste(tmp_path, {"Vehicle": limit}, min_points=1)
        assert len(paste.draw(without_objects(scan), CLASSES, keyed_generator(0))) == kept


def test_labels_follow_the_order_of_the_scenes_classes(object_folder, scan):
    turned = ("Cyclist", "Sign", "Vehicle", "Pedestrian")
    result, rows = ObjectPaste(object_folder, {"Cyclist": 9}).apply(
        scan, turned, keyed_generator(3)
    )
    assert (rows >= 0).any()
    assert set(result.labels[rows >= 0].tolist()) == {0}


def test_draws_follow_their_key_alone(object_folder, scan):
    paste = ObjectPaste(object_folder, MANY)
    first = paste.draw(scan, CLASSES, keyed_generator("paste", 0, 3, "a"))
    torch.manual_seed(1)
    again = pickle.loads(pickle.dumps(paste))
    assert torch.equal(again.draw(scan, CLASSES, keyed_generator("paste", 0, 3, "a")), first)
    others = [
        paste.draw(scan, CLASSES, keyed_generator("paste", 0, epoch, "a")).tolist()
        for epoch in range(4, 8)
    ]
    assert first.tolist() not in others


def test_pasted_objects_move_with_the_scene_and_lead_back(make_scenes, object_folder):
    scenes = make_scenes((40,))
    frames = FrameDataset(
        scenes, training=True, augmentation=WorldAugmentation(), paste=ObjectPaste(object_folder)
    )
    sample = frames[2, 30]
    new = sample.pasted >= 0
    assert new.any()
    assert not new.all()
    found = ObjectDatabase(object_folder).take(sample.pasted[new].numpy())
    back = sample.transform.inverse()
    assert torch.allclose(back.boxes(sample.boxes)[new, :6], found.boxes[:, :6], atol=1e-4)
    there = {tuple(row) for row in sample.points[:, 3:].tolist()}
    assert {tuple(row) for row in found.points[:, 3:].tolist()} <= there
    plain = FrameDataset(scenes, training=True)[2, 30]
    assert (plain.pasted == -1).all()
    assert torch.allclose(back.boxes(sample.boxes)[~new, :6], plain.boxes[:, :6], atol=1e-4)


def test_pasted_points_are_shuffled_among_the_others(make_scenes, object_folder):
    frames = FrameDataset(make_scenes((40,)), training=True, paste=ObjectPaste(object_folder))
    sample = frames[0, 30]
    rows = sample.pasted[sample.pasted >= 0].numpy()
    features = {
        tuple(row) for row in ObjectDatabase(object_folder).take(rows).points[:, 3:].tolist()
    }
    places = [i for i, row in enumerate(sample.points[:, 3:].tolist()) if tuple(row) in features]
    assert len(places) == len(features)
    assert max(places) > len(sample.points) * 0.8


def test_classes_and_ranges_choose_among_pasted_objects_too(make_scenes, object_folder):
    bounds = (-15.0, -15.0, -9.0, 15.0, 15.0, 9.0)
    selection = Selection(classes=["Pedestrian", "Cyclist"], object_range=bounds)
    frames = FrameDataset(
        make_scenes((40,)), selection, training=True, paste=ObjectPaste(object_folder)
    )
    samples = [frames[epoch, 30] for epoch in range(5)]
    boxes = torch.cat([sample.boxes[sample.pasted >= 0] for sample in samples])
    labels = torch.cat([sample.labels for sample in samples])
    assert len(boxes) > 3
    assert (boxes[:, :2].abs() <= 15).all()
    assert set(labels.tolist()) == {0, 1}


def test_pasting_and_changes_end_after_their_last_epochs(make_scenes, object_folder):
    frames = FrameDataset(
        make_scenes((40,)),
        training=True,
        augmentation=WorldAugmentation(flip_x=0, flip_y=0, last_epoch={"rotation": 3}),
        paste=ObjectPaste(object_folder, last_epoch=1),
    )
    samples = [frames[epoch, 30] for epoch in range(6)]
    assert [bool((sample.pasted >= 0).any()) for sample in samples] == [True] * 2 + [False] * 4
    assert [sample.transform.angle != 0 for sample in samples] == [True] * 4 + [False] * 2
    assert all(sample.transform.scale != 1 for sample in samples)


def test_persistent_workers_know_the_epoch_and_give_what_one_process_gives(
    make_scenes, object_folder
):
    def epochs(workers):
        module = FrameDataModule(
            make_scenes((5, 6)),
            augmentation=WorldAugmentation(last_epoch=1),
            paste=ObjectPaste(object_folder, MANY, last_epoch=0),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
            batch_size=3,
        )
        loader = module.train_dataloader()
        for epoch in range(3):
            loader.sampler.set_epoch(epoch)
            yield list(loader)

    pasted = []
    for alone, pair in zip(epochs(0), epochs(2), strict=True):
        for one, other in zip(alone, pair, strict=True):
            assert one.frame_ids == other.frame_ids
            assert torch.equal(one.points, other.points)
            assert torch.equal(one.boxes, other.boxes)
            assert torch.equal(one.world, other.world)
        moved = [
            not torch.equal(batch.world, torch.eye(4).expand_as(batch.world)) for batch in pair
        ]
        pasted.append((max(batch.boxes.shape[1] for batch in pair) > 14, any(moved)))
    assert pasted == [(True, True), (False, True), (False, False)]


def test_it_is_made_from_a_config(object_folder, scan):
    given = {
        "_target_": "kd3d.data.ObjectPaste",
        "database": str(object_folder),
        "limits": {"Vehicle": 9},
        "last_epoch": 4,
    }
    paste = pickle.loads(pickle.dumps(instantiate(OmegaConf.create(given))))
    assert type(paste.limits) is dict
    assert paste.is_on(4)
    assert not paste.is_on(5)
    expected = ObjectPaste(object_folder, {"Vehicle": 9}).draw(scan, CLASSES, keyed_generator(5))
    assert torch.equal(paste.draw(scan, CLASSES, keyed_generator(5)), expected)


def test_validation_is_free_of_pasting(make_scenes, object_folder):
    scenes = make_scenes((4,))
    module = FrameDataModule(scenes, scenes, paste=ObjectPaste(object_folder))
    assert module.train_frames.paste is module.paste
    assert module.val_frames.paste is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": {"Bus": 3}}, "the scenes have no class 'Bus'. Name some of Vehicle, Ped"),
        ({"database": "nowhere"}, "nowhere: is no object database"),
    ],
)
def test_a_database_that_does_not_fit_is_told_before_training(
    make_scenes, object_folder, options, message
):
    paste = ObjectPaste(**{"database": object_folder, **options})
    with pytest.raises((ConfigError, DatasetError), match=message):
        _ = FrameDataModule(make_scenes(), paste=paste).train_frames


def test_a_database_of_other_classes_is_told(make_scenes, tmp_path):
    build_objects(make_scenes((1,), classes=("Car", "Bus", "Van")), tmp_path, workers=1)
    scenes = make_scenes((1,))
    with pytest.raises(ConfigError, match=r"has no class 'Vehicle'. Its classes are Car, Bus, Van"):
        _ = FrameDataModule(scenes, paste=ObjectPaste(tmp_path)).train_frames


def test_points_of_other_features_are_told(make_scenes, object_folder):
    frames = FrameDataset(
        make_scenes((40,), features=4), training=True, paste=ObjectPaste(object_folder)
    )
    with pytest.raises(InputError, match="points have 5 features, those of frame 0/30 have 4"):
        frames[0, 30]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": {"Vehicle": -1}}, "paste, Vehicle: -1 is below 0"),
        ({"min_points": -2}, "paste, min_points: -2 is below 0"),
        ({"last_epoch": -1}, "paste.last_epoch: -1 is no epoch"),
        ({"last_epoch": 2.5}, "paste.last_epoch: 2.5 is no epoch"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        ObjectPaste("objects", **options)
