"""Two processes on the CPU."""

import pickle

import pytest
import torch
from distill_fakes import DealtModule, FeatureKD, make_detector, make_trainer, rank_score

from kd3d.distill import KDCallback, LabelKD, PivotalLogitKD, RegressionKD

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.usefixtures("one_thread")
def test_two_processes_equal_one_that_accumulates():
    def fit(**options):
        callback = KDCallback(
            make_detector(1, cells=32),
            # an adapter that is trained, and one that waits with a weight of 0
            {
                "logit": PivotalLogitKD(5.0),
                "regression": RegressionKD(0.5),
                "label": LabelKD(0.4),
                "feature": FeatureKD(0.5),
                "later": FeatureKD(0.0),
            },
            teacher_check_frames=2 if "devices" in options else 0,
            teacher_score=rank_score,
            # the mean of 0 and 1 passes; process 0 alone would not
            teacher_min_score=0.4 if "devices" in options else None,
        )
        torch.manual_seed(0)
        module = DealtModule(make_detector(0))
        options = {"use_distributed_sampler": False, "num_sanity_val_steps": 0, **options}
        callback, module = pickle.loads(pickle.dumps((callback, module)))  # as ddp_spawn does
        make_trainer(callback, **options).fit(module)
        return module.parameters()

    both = fit(devices=2, strategy="ddp_fork")
    one = fit(accumulate_grad_batches=2)
    start = make_detector(0).parameters()
    for first, mine, theirs in zip(start, both, one, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
        assert not torch.equal(first, mine)
