"""The rules of the metric one by one, its states, and its refusals."""

import doctest
import pickle
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context

import pytest
import torch

import kd3d.metrics.detection
import kd3d.metrics.functional.curves
from kd3d.errors import ConfigError, InputError
from kd3d.metrics import WaymoDetectionMetric

NAMES = ("Vehicle", "Pedestrian", "Cyclist")


def cars(*xs, heading=0.0):
    """Boxes 4 m long on one line: two that are d apart have the IoU (4 - d) / (4 + d)."""
    return torch.tensor([[float(x), 0, 0, 4, 2, 1.5, heading] for x in xs]).reshape(-1, 7)


def preds(boxes, scores, label=0, **more):
    return {
        "boxes": boxes,
        "scores": torch.tensor(scores, dtype=torch.float32),
        "labels": torch.full((len(boxes),), label),
        **more,
    }


def targets(boxes, label=0, **more):
    return {"boxes": boxes, "labels": torch.full((len(boxes),), label), **more}


def evaluate(predicted, real, **options):
    metric = WaymoDetectionMetric(**options)
    metric.update([predicted], [real])
    return {name: float(value) for name, value in metric.compute().items()}, metric.counts()


def random_frames(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    predicted, real = [], []
    for _ in range(count):
        boxes = torch.rand(12, 7, generator=generator) * torch.tensor([40, 40, 1, 1, 1, 1, 6.3])
        boxes[:, 3:6] += torch.tensor([3.5, 1.5, 1.5])
        labels = torch.randint(3, (12,), generator=generator)
        points = torch.randint(12, (12,), generator=generator)
        real.append({"boxes": boxes, "labels": labels, "num_points": points})
        noise = torch.randn(12, 7, generator=generator) * 0.08
        found = {"boxes": boxes + noise, "labels": labels}
        predicted.append({**found, "scores": torch.rand(12, generator=generator)})
    return predicted, real


def test_keys_and_types():
    metric = WaymoDetectionMetric()
    metric.update(*random_frames(3))
    result = metric.compute()
    scores = [f"L{level}_{kind}" for level in (1, 2) for kind in ("AP", "APH")]
    means = [f"L{level}_m{kind}" for level in (1, 2) for kind in ("AP", "APH")]
    assert list(result) == [f"{name}/{score}" for name in NAMES for score in scores] + means
    assert all(value.dtype == torch.float32 and value.ndim == 0 for value in result.values())
    for mean, score in zip(means, scores, strict=True):
        values = torch.stack([result[f"{name}/{score}"] for name in NAMES])
        torch.testing.assert_close(result[mean], values.mean())


def test_the_better_overlap_wins_over_the_better_score():
    predicted = preds(cars(0.3, 0.0), [0.9, 0.2])
    _, counts = evaluate(predicted, targets(cars(0)))
    assert counts.true_positives[0, [0, 20, 21, 90, 91]].tolist() == [1, 1, 1, 1, 0]
    assert counts.false_positives[0, [0, 20, 21, 90]].tolist() == [1, 1, 0, 0]
    turned = preds(torch.cat((cars(0.3), cars(0.0, heading=torch.pi))), [0.9, 0.2])
    _, counts = evaluate(turned, targets(cars(0)))
    unit = int(counts.heading.max())
    assert counts.heading[0, [0, 20]].max() <= unit * 1e-6  # the reversed one, which fits better
    assert counts.heading[0, 21] == unit


def test_the_sum_of_overlaps_counts_not_the_number_of_matches():
    # Two perfect pairs (2.0) beat three pairs with IoU 0.6 (1.8); one object stays unmatched.
    _, counts = evaluate(preds(cars(1, 2, 3), [0.9] * 3), targets(cars(0, 1, 2)))
    assert counts.true_positives[0, 0] == 2
    options = {"classes": ("Pedestrian",)}  # threshold 0.5
    _, counts = evaluate(preds(cars(1, 2, 3), [0.9] * 3), targets(cars(0, 1, 2)), **options)
    assert counts.true_positives[0, 0] == 2
    assert counts.misses[0, 1, 0] == 1


def test_level_two_asks_for_both_levels_and_a_hit_counts_at_either():
    real = targets(cars(0, 10, 20), difficulty=torch.tensor([1, 2, 2]))
    result, counts = evaluate(preds(cars(10), [0.8]), real)
    assert counts.true_positives[0, 0] == 1
    assert counts.misses[0, :, 0].tolist() == [1, 2]
    assert result["Vehicle/L1_AP"] == pytest.approx(1 / 2)
    assert result["Vehicle/L2_AP"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("points", "difficulty", "missed"),
    [
        (0, 0, [0, 0]),  # dropped
        (0, 1, [0, 0]),  # dropped although annotated
        (1, 0, [0, 1]),
        (5, 0, [0, 1]),
        (6, 0, [1, 1]),
        (3, 1, [1, 1]),  # the annotation decides
        (99, 2, [0, 1]),
        (-1, 0, [1, 1]),  # unknown
        (-1, 2, [0, 1]),
    ],
)
def test_difficulty(points, difficulty, missed):
    real = targets(
        cars(0), num_points=torch.tensor([points]), difficulty=torch.tensor([difficulty])
    )
    _, counts = evaluate(preds(cars(), []), real)
    assert counts.misses[0, :, 0].tolist() == missed


def test_an_object_without_points_absorbs_no_prediction():
    _, counts = evaluate(preds(cars(0), [0.5]), targets(cars(0), num_points=torch.tensor([0])))
    assert (counts.true_positives[0, 0], counts.false_positives[0, 0]) == (0, 1)


def test_no_label_zones_excuse_false_alarms_only():
    zone = torch.tensor([True, True, False])
    predicted = preds(cars(0, 30, 60), [0.9, 0.9, 0.9], overlaps_nlz=zone)
    _, counts = evaluate(predicted, targets(cars(0)))
    assert (counts.true_positives[0, 0], counts.false_positives[0, 0]) == (1, 1)


def test_scores_equal_to_a_cutoff_pass_it():
    _, counts = evaluate(preds(cars(0), [0.29]), targets(cars(0)))
    assert counts.true_positives[0].tolist() == [1] * 30 + [0] * 71
    _, counts = evaluate(preds(cars(0), [1.0]), targets(cars(0)))
    assert counts.true_positives[0].tolist() == [1] * 101


def test_overlaps_equal_to_the_threshold_match():
    def hits(length, **options):
        box = torch.tensor([[0.0, 0, 0, 10, 1, 1, 0]])
        shorter = torch.tensor([[0.0, 0, 0, length, 1, 1, 0]])  # the IoU is length / 10
        return evaluate(preds(shorter, [0.9]), targets(box), **options)[1].true_positives[0, 0]

    assert hits(5.0, classes=("Pedestrian",)) == 1
    assert hits(4.999, classes=("Pedestrian",)) == 0
    assert hits(5.0, classes=("Vehicle",)) == 0
    # As float32 0.7 is 0.699999988 on both sides; it is less than the double 0.7.
    assert hits(7.0, classes=("Vehicle",)) == 1
    assert hits(7.0, classes=("A",), iou_thresholds=(0.701,)) == 0


def test_the_overlap_is_that_of_volumes():
    lifted = cars(0)
    lifted[0, 2] = 0.75  # half the height above: IoU 1 / 3 in 3D, 1 from above
    _, counts = evaluate(preds(lifted, [0.9]), targets(cars(0)))
    assert counts.true_positives[0, 0] == 0


def test_a_wrong_class_is_a_false_alarm_and_a_miss():
    _, counts = evaluate(preds(cars(0), [0.9], label=1), targets(cars(0), label=0))
    assert counts.false_positives[:, 0].tolist() == [0, 1, 0]
    assert counts.misses[:, 0, 0].tolist() == [1, 0, 0]
    assert counts.true_positives.sum() == 0


def test_frames_do_not_mix():
    metric = WaymoDetectionMetric()
    metric.update([preds(cars(0), [0.9]), preds(cars(), [])], [targets(cars()), targets(cars(0))])
    counts = metric.counts()
    assert counts.true_positives.sum() == 0
    assert counts.false_positives[0, 0] == 1
    assert counts.misses[0, 0, 0] == 1


def test_two_stronger_false_alarms():
    result, _ = evaluate(preds(cars(0, 20, 40), [0.5, 0.9, 0.9]), targets(cars(0)))
    assert result["Vehicle/L1_AP"] == pytest.approx(1 / 3)


def test_aph_weighs_precision_but_not_recall():
    result, _ = evaluate(preds(cars(0, heading=torch.pi / 2), [0.9]), targets(cars(0)))
    assert result["Vehicle/L1_AP"] == 0  # a square turn of a long box is no match
    square = cars(0)
    square[0, 3:5] = 2.0
    turned = square.clone()
    turned[0, 6] = torch.pi / 2
    result, _ = evaluate(preds(turned, [0.9]), targets(square))
    assert result["Vehicle/L1_AP"] == pytest.approx(1)
    assert result["Vehicle/L1_APH"] == pytest.approx(0.5)


def test_rows_of_no_class_are_ignored():
    real = targets(cars(0, 10))
    real["labels"] = torch.tensor([0, -1])
    padded = preds(torch.cat((cars(0), torch.full((1, 7), torch.nan))), [0.9, 0.0])
    padded["labels"] = torch.tensor([0, -1])
    padded["boxes"] = padded["boxes"].nan_to_num()
    result, counts = evaluate(padded, real)
    assert result["Vehicle/L2_AP"] == pytest.approx(1)
    assert counts.misses.sum() == counts.misses[0, :, 91:].sum()


def test_boxes_without_extent_match_nothing():
    flat = cars(0)
    flat[0, 5] = 0.01
    _, counts = evaluate(preds(flat, [0.9]), targets(flat))
    assert counts.true_positives.sum() == 0


def test_empty_inputs():
    metric = WaymoDetectionMetric()
    metric.update([], [])
    metric.update([preds(cars(), [])], [targets(cars())])
    with_nothing = metric.compute()
    assert all(float(value) == 0 for value in with_nothing.values())


def test_other_classes_and_cutoffs():
    classes = tuple("ABCDE")
    metric = WaymoDetectionMetric(classes, iou_thresholds=(0.3,) * 5, score_cutoffs=[0.1, 0.5, 0.9])
    metric.update([preds(cars(1.5), [0.6], label=4)], [targets(cars(0), label=4)])
    assert metric.counts().true_positives[4].tolist() == [1, 1, 0]
    assert float(metric.compute()["L1_mAP"]) == pytest.approx(1 / 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(dtype):
    predicted = preds(cars(0).to(dtype), [0.5])
    predicted["scores"] = predicted["scores"].to(dtype)
    result, _ = evaluate(predicted, targets(cars(0).to(dtype)))
    assert result["Vehicle/L1_AP"] == pytest.approx(1)


def test_inputs_are_not_changed():
    predicted, real = random_frames(2)
    before = pickle.dumps((predicted, real))
    WaymoDetectionMetric().update(predicted, real)
    assert pickle.dumps((predicted, real)) == before


def states(metric):
    return [getattr(metric, name) for name in ("true_positives", "false_positives", "misses")] + [
        metric.heading
    ]


def test_any_split_of_the_frames_gives_the_same_bits():
    predicted, real = random_frames(12)
    whole = WaymoDetectionMetric()
    whole.update(predicted, real)
    parts = [WaymoDetectionMetric() for _ in range(3)]
    for rank, metric in enumerate(parts):
        for frame in range(rank, 12, 3):
            metric.update(predicted[frame : frame + 1], real[frame : frame + 1])
    for values in zip(states(whole), *map(states, parts), strict=True):
        assert torch.equal(values[0], sum(values[1:]))
    assert whole.heading.sum() > 0


def test_forward_gives_the_batch_and_keeps_the_total():
    predicted, real = random_frames(6)
    metric, whole, batch = (WaymoDetectionMetric() for _ in range(3))
    metric(predicted[:2], real[:2])
    on_batch = metric(predicted[2:], real[2:])
    batch.update(predicted[2:], real[2:])
    whole.update(predicted, real)
    assert on_batch == batch.compute()
    assert metric.compute() == whole.compute()


def test_state_size_does_not_grow():
    predicted, real = random_frames(8)
    metric = WaymoDetectionMetric()
    for _ in range(5):
        metric.update(predicted, real)
    assert sum(state.numel() * state.element_size() for state in states(metric)) < 20_000


def test_pickle_reset_and_state_dict():
    predicted, real = random_frames(4)
    metric = WaymoDetectionMetric()
    metric.persistent(True)
    metric.update(predicted[:2], real[:2])
    copy = pickle.loads(pickle.dumps(metric))
    resumed = WaymoDetectionMetric()
    resumed.persistent(True)
    resumed.load_state_dict(metric.state_dict())
    for other in (metric, copy, resumed):
        other.update(predicted[2:], real[2:])
    assert metric.compute() == copy.compute()
    assert all(map(torch.equal, states(metric), states(resumed)))
    metric.reset()
    assert all(int(state.sum()) == 0 for state in states(metric))


def share_of_rank(rank, meeting_point):
    """Evaluate every other frame as one of two processes; gives the synchronised result."""
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{meeting_point}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    try:
        predicted, real = random_frames(9)
        metric = WaymoDetectionMetric()
        metric.update(predicted[rank::2], real[rank::2])
        return metric.compute()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_same_bits(tmp_path):
    meeting_point = tmp_path / "meeting_point"
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as other:
        second = other.submit(share_of_rank, 1, meeting_point)
        first = share_of_rank(0, meeting_point)
    alone = WaymoDetectionMetric()
    alone.update(*random_frames(9))
    assert first == second.result() == alone.compute()


def test_examples_in_docstrings():
    for module in (kd3d.metrics.detection, kd3d.metrics.functional.curves):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0


def wrong(field, value, of="preds"):
    predicted, real = random_frames(3)
    (predicted if of == "preds" else real)[1][field] = value
    return predicted, real


@pytest.mark.parametrize(
    ("field", "value", "of", "message"),
    [
        ("scores", torch.rand(5), "preds", r"preds\[1\]\['scores'\]: 12 boxes but scores of"),
        ("labels", torch.zeros(3).long(), "targets", r"targets\[1\]\['labels'\]: 12 boxes but"),
        ("num_points", torch.ones(3).long(), "targets", "12 boxes but num_points of shape"),
        ("boxes", torch.zeros(12, 6), "preds", r"boxes must be \[N, 7\], not \[12, 6\]"),
        ("boxes", torch.full((12, 7), torch.nan), "targets", r"targets\[1\]\['boxes'\]: .* finite"),
        ("boxes", torch.full((12, 7), torch.inf), "preds", "not finite.* row 0"),
        ("boxes", -torch.ones(12, 7), "preds", "a box has a negative side"),
        ("boxes", torch.ones(12, 7).long(), "preds", "boxes must be floating"),
        ("scores", torch.full((12,), 1.5), "preds", r"\['scores'\]: scores must be in \[0, 1\]"),
        ("scores", torch.full((12,), torch.nan), "preds", r"scores must be in \[0, 1\]"),
        ("labels", torch.full((12,), 3), "preds", "labels must be class ids from 0 to 2"),
        ("labels", torch.full((12,), -2), "targets", "labels must be class ids from 0 to 2"),
        ("labels", torch.zeros(12), "preds", "labels must be integers, not torch.float32"),
        ("difficulty", torch.full((12,), 3), "targets", "difficulty must be 0"),
        ("num_points", torch.full((12,), -5), "targets", "num_points must be -1"),
        ("scores", [0.5] * 12, "preds", "expected a tensor, got list"),
    ],
)
def test_bad_rows_are_refused_with_frame_and_field(field, value, of, message):
    metric = WaymoDetectionMetric()
    metric.update(*random_frames(1))
    before = [state.clone() for state in states(metric)]
    with pytest.raises(InputError, match=message):
        metric.update(*wrong(field, value, of))
    assert all(map(torch.equal, states(metric), before))


def test_bad_frames_are_refused():
    predicted, real = random_frames(2)
    metric = WaymoDetectionMetric()
    with pytest.raises(InputError, match="2 frames of predictions but 1 of targets"):
        metric.update(predicted, real[:1])
    del predicted[1]["scores"]
    with pytest.raises(InputError, match=r"preds\[1\]: there is no 'scores'"):
        metric.update(predicted, real)
    with pytest.raises(InputError, match=r"targets\[1\]: expected a dict, got list"):
        metric.update(random_frames(2)[0], [real[0], []])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ()}, "classes"),
        ({"classes": "Vehicle"}, "not a list of different names"),
        ({"classes": ("Vehicle", "Vehicle")}, "not a list of different names"),
        ({"classes": ("Vehicle", "Tram")}, "no IoU threshold for Tram"),
        ({"iou_thresholds": (0.7, 0.5)}, "iou_thresholds"),
        ({"iou_thresholds": (0.7, 0.5, 0.0)}, "iou_thresholds"),
        ({"score_cutoffs": ()}, "score_cutoffs"),
        ({"score_cutoffs": (0.5, 0.5)}, "score_cutoffs"),
        ({"score_cutoffs": (0.5, 1.5)}, "score_cutoffs"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        WaymoDetectionMetric(**options)
