"""The named composition, and all logit methods together in one fit."""

import pytest
import torch
from distill_fakes import TinyModule, make_detector, make_loader, make_trainer
from logit_methods import METHODS

from kd3d.distill import KDCallback, Schedule, SparseKD
from kd3d.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore")


def test_what_it_is_made_of():
    voxel, pillar = SparseKD.for_pair("cp_voxel_s"), SparseKD.for_pair("cp_pillar_v048")
    assert list(voxel) == ["logit", "regression", "label"]
    assert list(pillar) == ["logit", "label"]
    assert voxel["regression"].space == "code"
    assert (voxel["logit"].alignment, voxel["label"].reference_order) == ("pivot", False)
    exact = SparseKD.for_pair("cp_voxel_s", reference=True)
    assert (exact["logit"].alignment, exact["label"].reference_order) == ("resize", True)


def test_its_own_weights_and_schedule():
    made = SparseKD(3.0, 0.5, {"Car": 0.4}, space="metres", schedule={"stop_after": 2})
    assert [item.weight for item in made.values()] == [3.0, 0.5, 1.0]
    assert made["regression"].space == "metres"
    assert made["label"].thresholds == {"Car": 0.4}
    assert {item.schedule for item in made.values()} == {Schedule(stop_after=2)}


def test_a_student_that_the_paper_does_not_have():
    with pytest.raises(ConfigError, match=r"no weights for 'cp_voxel_l'.*nearest is 'cp_voxel_s'"):
        SparseKD.for_pair("cp_voxel_l")
    with pytest.raises(ConfigError, match=r"PivotalLogitKD\.weight"):
        SparseKD(-1.0)


def fit(objectives, objects, cells=32):
    module = TinyModule(make_detector(0))
    callback = KDCallback(make_detector(1, cells=cells), objectives, teacher_check_frames=0)
    trainer = make_trainer(callback, gradient_clip_val=10.0)
    trainer.fit(module, make_loader(4, objects=objects))
    assert all(value.isfinite().all() for value in module.parameters())
    return trainer.callback_metrics, callback.summary()


@pytest.mark.parametrize("objects", [0, 3])
def test_it_distils(objects):
    logged, _ = fit(SparseKD(7.0, 0.2, 0.3, space="metres"), objects)
    assert (logged["kd/logit"] > 0) == (logged["kd/regression"] > 0) == bool(objects)
    assert logged["kd/teacher_boxes"] > 0


@pytest.mark.parametrize("objects", [0, 3])
def test_all_methods_in_one_fit(objects):
    """A coarse student of a fine teacher; each term is told and is a number."""
    chosen = {name: one.make() for name, one in METHODS.items() if not one.equal_grids}
    logged, summary = fit(chosen, objects)
    assert all(logged[f"kd/{name}"].isfinite() for name in chosen)
    assert torch.isclose(logged["kd/total"], sum(logged[f"kd/{name}"] for name in chosen))
    assert all(f" {name[:12]}" in summary for name in chosen)
