"""Breakdowns, levels, bird's-eye view, and what the metric gives besides AP and APH."""

import doctest
import pickle

import numpy as np
import pytest
import torch

import kd3d.metrics.functional
import kd3d.metrics.functional.counting
from kd3d.errors import ConfigError, InputError
from kd3d.metrics import WaymoDetectionMetric

BOTH = ("object_type", "range")


def cars(*xs, y=0.0, z=0.0, heading=0.0):
    """Boxes 4 m long on one line: two that are d apart have the IoU (4 - d) / (4 + d)."""
    return torch.tensor([[float(x), y, z, 4, 2, 1.5, heading] for x in xs]).reshape(-1, 7)


def preds(boxes, scores, label=0):
    labels = torch.full((len(boxes),), label)
    return {"boxes": boxes, "scores": torch.tensor(scores), "labels": labels}


def targets(boxes, label=0, **more):
    return {"boxes": boxes, "labels": torch.full((len(boxes),), label), **more}


def evaluated(predicted, real, **options):
    metric = WaymoDetectionMetric(**options)
    metric.update([predicted], [real])
    return metric


def random_frames(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    predicted, real = [], []
    for _ in range(count):
        boxes = torch.rand(12, 7, generator=generator) * torch.tensor([80, 40, 1, 1, 1, 1, 6.3])
        boxes[:, 3:6] += torch.tensor([3.5, 1.5, 1.5])
        labels = torch.randint(3, (12,), generator=generator)
        real.append({"boxes": boxes, "labels": labels})
        noise = torch.randn(12, 7, generator=generator) * 0.08
        scores = torch.rand(12, generator=generator)
        predicted.append({"boxes": boxes + noise, "labels": labels, "scores": scores})
    return predicted, real


def test_keys_of_both_breakdowns():
    metric = evaluated(preds(cars(0), [0.9]), targets(cars(0)), breakdowns=BOTH)
    result = metric.compute()
    scores = ["L1_AP", "L1_APH", "L2_AP", "L2_APH"]
    means = ["L1_mAP", "L1_mAPH", "L2_mAP", "L2_mAPH"]
    names, rings = metric.classes, ("0-30m", "30-50m", "50m-inf")
    expected = [f"{name}/{score}" for name in names for score in scores] + means
    expected += [f"{name}/{ring}/{score}" for name in names for ring in rings for score in scores]
    expected += [f"{ring}/{mean}" for ring in rings for mean in means]
    assert list(result) == expected
    assert metric.shards[:4] == ("Vehicle", "Pedestrian", "Cyclist", "Vehicle/0-30m")
    assert float(result["Vehicle/0-30m/L1_AP"]) == pytest.approx(1)
    assert float(result["0-30m/L1_mAP"]) == pytest.approx(1 / 3)
    assert float(result["50m-inf/L2_mAPH"]) == 0


def test_both_breakdowns_together_are_each_by_itself():
    frames = random_frames(6)
    metrics = [WaymoDetectionMetric(breakdowns=b) for b in (("object_type",), ("range",), BOTH)]
    for metric in metrics:
        metric.update(*frames)
    by_type, by_range, both = (metric.compute() for metric in metrics)
    assert both == by_type | by_range
    assert float(both["Vehicle/30-50m/L2_AP"]) > 0


def test_a_pair_across_a_border_matches_by_type_only():
    metric = evaluated(preds(cars(29.9), [0.9]), targets(cars(30.0)), breakdowns=BOTH)
    counts = metric.counts()
    row = metric.shards.index
    hits, alarms = counts.true_positives[:, 0], counts.false_positives[:, 0]
    assert (hits[row("Vehicle")], alarms[row("Vehicle")]) == (1, 0)
    assert (hits[row("Vehicle/0-30m")], alarms[row("Vehicle/0-30m")]) == (0, 1)
    assert counts.misses[row("Vehicle/30-50m"), 1, 0] == 1


@pytest.mark.parametrize(
    ("x", "z", "ring"),
    [(29.99, 0, "0-30m"), (30, 0, "30-50m"), (29, 8, "30-50m"), (50, 0, "50m-inf"),
     (-49.9, 0, "30-50m"), (-49.9, 4, "50m-inf"), (1e4, 0, "50m-inf")],
)  # fmt: skip
def test_rings_are_half_open_and_their_distance_is_that_in_3d(x, z, ring):
    metric = evaluated(preds(cars(), []), targets(cars(x, z=z)), breakdowns=("range",))
    missed = metric.counts().misses[:, 1, 0]
    assert [name for name, misses in zip(metric.shards, missed, strict=True) if misses] == [
        f"Vehicle/{ring}"
    ]


def test_a_data_set_without_levels():
    classes = ("car", "truck", "bus", "pedestrian", "cone")
    metric = WaymoDetectionMetric(
        classes, iou_thresholds=(0.5, 0.5, 0.5, 0.3, 0.3), levels=None, breakdowns=BOTH
    )
    few = {"num_points": torch.tensor([2, 2])}
    metric.update([preds(cars(0), [0.9], label=4)], [targets(cars(0, 20), label=4, **few)])
    result = {name: float(value) for name, value in metric.compute().items()}
    assert result["cone/AP"] == result["cone/APH"] == pytest.approx(0.5)
    assert result["mAP"] == pytest.approx(0.1)
    assert "cone/50m-inf/AP" in result
    assert not any("L2" in name for name in result)
    assert list(metric.curves())[4] == "cone"
    assert metric.recalls()["cone/recall"] == pytest.approx(0.5)


def test_one_level_alone():
    real = targets(cars(0, 10), difficulty=torch.tensor([1, 2]))
    for level, ap in ((1, 1.0), (2, 0.5)):
        result = evaluated(preds(cars(0), [0.9]), real, levels=(level,)).compute()
        assert float(result[f"Vehicle/L{level}_AP"]) == pytest.approx(ap)
        assert len(result) == 3 * 2 + 2


def test_boxes_in_birds_eye_view():
    lifted = cars(0.0, z=7)
    lifted[:, 5] = 0  # no height at all
    flat = evaluated(preds(lifted, [0.9]), targets(cars(0)), box_type="bev")
    assert float(flat.compute()["Vehicle/L1_AP"]) == pytest.approx(1)
    assert flat.box_errors()["Vehicle"].translation == 0
    assert flat.box_errors()["Vehicle"].scale == 0
    assert evaluated(preds(lifted, [0.9]), targets(cars(0))).counts().true_positives.sum() == 0
    thin = cars(0)
    thin[:, 4] = 0.01
    thin = evaluated(preds(thin, [0.9]), targets(thin), box_type="bev")
    assert thin.counts().true_positives.sum() == 0


def test_curves():
    # The better prediction is wrong: precision 1/2 at full recall, nothing found above.
    metric = evaluated(preds(cars(0, 40), [0.5, 0.8]), targets(cars(0)))
    curve = metric.curves()["Vehicle/L1"]
    np.testing.assert_array_equal(curve.recall, [1] * 51 + [0] * 50)
    np.testing.assert_array_equal(curve.precision[:51], np.full(51, 0.5, np.float32))
    assert curve.cutoffs[29] == np.float32(0.29)
    assert curve.precision.dtype == np.float32
    assert list(metric.curves())[:3] == ["Vehicle/L1", "Vehicle/L2", "Pedestrian/L1"]


def test_recall_at_a_precision():
    # Without false alarms half is found; with the last prediction all, at precision 2/3.
    metric = evaluated(preds(cars(0, 20, 40), [0.9, 0.3, 0.3]), targets(cars(0, 20)))
    assert metric.recalls()["Vehicle/L1_recall"] == pytest.approx(0.5)
    assert metric.recalls(0.66)["Vehicle/L2_recall"] == pytest.approx(1)
    nothing = evaluated(preds(cars(40), [0.9]), targets(cars(0)))
    assert nothing.recalls()["Vehicle/L1_recall"] == 0


def test_errors_of_matched_boxes():
    off = cars(0.3, y=0.4, heading=-0.1)
    off[0, 2:6] = torch.tensor([0.0, 4.0, 2.0, 1.2])  # 4/5 of the height
    predicted = preds(torch.cat((off, cars(20))), [0.9, 0.05])
    real = targets(cars(0, 20))
    metric = evaluated(predicted, real, iou_thresholds=(0.3,) * 3)
    errors = metric.box_errors()["Vehicle"]
    assert errors.matches == 1
    assert errors.translation == pytest.approx(0.5, abs=1e-6)
    assert errors.scale == pytest.approx(0.2, abs=1e-6)
    assert errors.heading == pytest.approx(0.1, abs=1e-6)
    both = metric.box_errors(0.0)["Vehicle"]
    assert (both.matches, both.translation) == (2, pytest.approx(0.25, abs=1e-6))
    assert np.isnan(metric.box_errors()["Cyclist"].translation)
    assert np.isnan(metric.box_errors()["Cyclist"].heading)
    with pytest.raises(ConfigError, match=r"All score cutoffs are below 1\.5"):
        metric.box_errors(1.5)


def states(metric):
    return [getattr(metric, name) for name in sorted(metric._defaults)]


@pytest.mark.parametrize("processes", [2, 4])
def test_states_of_processes_add_up_to_the_same_bits(processes):
    predicted, real = random_frames(9)
    options = {"breakdowns": BOTH}
    whole = WaymoDetectionMetric(**options)
    whole.update(predicted, real)
    parts = [WaymoDetectionMetric(**options) for _ in range(processes)]
    for rank, metric in enumerate(parts):
        metric.update(predicted[rank::processes], real[rank::processes])
    for together, *alone in zip(states(whole), *map(states, parts), strict=True):
        assert together.dtype == torch.int64
        assert together.sum() > 0
        assert torch.equal(together, sum(alone))
    added = sum((metric.counts() for metric in parts[1:]), start=parts[0].counts())
    assert pickle.dumps(added) == pickle.dumps(whole.counts())


def test_an_interrupted_evaluation_goes_on():
    predicted, real = random_frames(6)
    whole, first, resumed = (WaymoDetectionMetric(breakdowns=BOTH) for _ in range(3))
    whole.update(predicted, real)
    first.persistent(True)
    first.update(predicted[:2], real[:2])
    resumed.persistent(True)
    resumed.load_state_dict(first.state_dict())
    resumed.update(predicted[2:], real[2:])
    assert resumed.compute() == whole.compute()
    assert resumed.box_errors(0.0) == whole.box_errors(0.0)


def test_the_state_of_another_metric_is_refused():
    first = WaymoDetectionMetric(breakdowns=BOTH)
    first.persistent(True)
    other = WaymoDetectionMetric(breakdowns=("object_type",))
    with pytest.raises(InputError, match=r"true_positives.* 3 x 101.* 12 x 101"):
        other.load_state_dict(first.state_dict())


def test_frames_have_names():
    predicted, real = random_frames(2)
    metric = WaymoDetectionMetric()
    metric.update(predicted, real, frame_ids=["a:1", "a:2"])
    with pytest.raises(InputError, match="frame 'a:1' is there twice"):
        metric.update(predicted, real, frame_ids=["a:1", "a:1"])
    with pytest.raises(InputError, match="2 frames but 1 frame_ids"):
        metric.update(predicted, real, frame_ids=["a:1"])
    predicted[1]["scores"] = predicted[1]["scores"] + 2
    with pytest.raises(InputError, match=r"preds\['a:2'\]\['scores'\]: scores must be in"):
        metric.update(predicted, real, frame_ids=["a:1", "a:2"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"breakdowns": ()}, "breakdowns"),
        ({"breakdowns": "range"}, "not a list of different breakdowns"),
        ({"breakdowns": ("range", "range")}, "There are: object_type, range"),
        ({"breakdowns": ("size",)}, "breakdowns"),
        ({"levels": ()}, "not a list of difficulty levels"),
        ({"levels": (1, 3)}, "levels"),
        ({"levels": (2, 2)}, "levels"),
        ({"box_type": "2d"}, "neither '3d' nor 'bev'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        WaymoDetectionMetric(**options)


@pytest.mark.parametrize(
    "module", [kd3d.metrics.functional, kd3d.metrics.functional.counting], ids=lambda m: m.__name__
)
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
